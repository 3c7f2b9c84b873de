"""The real model behind the proxy: what its client saw is what is recorded."""

from typing import Any

import openai
import pytest
from record_helpers import drained, recording

from tutelage.endpoint.embedded import EmbeddedEndpoint
from tutelage.record.spool import Spool
from tutelage.render.student import embedded_gguf, load_template
from tutelage.settings import Student
from tutelage.store import TraceStore

TOOL: Any = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}


@pytest.mark.slow
def test_two_turns_with_the_embedded_model_streamed_and_not(spool: Spool, store: TraceStore) -> None:
    template = load_template(Student().template, spool.folder)
    saw: list[list[dict[str, Any]]] = []
    with (
        EmbeddedEndpoint(embedded_gguf(), template, context=512, parallel=1) as endpoint,
        recording(endpoint.url, spool) as url,
        openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client,
    ):
        for stream in (False, True):
            messages: list[Any] = []
            for question in ("What is the capital of France?", "And of Italy?"):
                messages.append({"role": "user", "content": f"{question} ({'streamed' if stream else 'whole'})"})
                given: dict[str, Any] = {"model": "student", "messages": messages, "tools": [TOOL], "max_tokens": 24}
                if stream:
                    with client.chat.completions.stream(**given) as events:
                        for _ in events:
                            pass
                        # Not the final completion: that raises where the model was cut short.
                        answer: Any = events.current_completion_snapshot.choices[0].message
                else:
                    answer = client.chat.completions.create(**given).choices[0].message
                messages.append(answer.model_dump(exclude_none=True, exclude={"parsed"}))
            saw.append(messages)
    traces = drained(spool, store)
    assert len(traces) == 2
    for trace, messages in zip(traces, saw, strict=True):
        assert [message.content or "" for message in trace.messages] == [m.get("content") or "" for m in messages]
        assert [message.reasoning_content for message in trace.messages] == [
            message.get("reasoning_content") for message in messages
        ]
        assert all(message.weight == 1 for message in trace.messages)
        assert [step.completion_tokens is None or step.completion_tokens > 0 for step in trace.steps] == [True, True]
