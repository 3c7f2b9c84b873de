"""A small store of hand-made traces, in a project of its own."""

from collections.abc import Sequence

import pytest
from dataset_examples import PRICE, SETTINGS, Record, conversation
from hub_server import hub
from pydantic import JsonValue

from tutelage.store import TraceStore
from tutelage.trace import Message, Step, StopReason, Task, now
from tutelage.world import Reward

__all__ = ["hub"]


@pytest.fixture
def toml() -> str:
    return SETTINGS


@pytest.fixture
def record(store: TraceStore) -> Record:
    def record(
        product: str,
        *,
        reward: float | None = 1.0,
        task: Task | None = None,
        attempt: int = 0,
        run: str = "collect",
        messages: Sequence[Message] | None = None,
        stop_reason: StopReason | None = StopReason.ANSWER,
        finish_reasons: Sequence[str] = (),
        metadata: dict[str, JsonValue] | None = None,
    ) -> str:
        task = task or Task(id=f"task-{product}", turns=(f"What does {product} cost?",), kind="price")
        recording = store.begin(
            run=run, task=task, attempt=attempt, model="teacher", tools=[PRICE], metadata=metadata or {}
        )
        reasons = list(finish_reasons)
        for index, message in enumerate(messages or conversation(product)):
            if message.role == "assistant":
                reason = reasons.pop(0) if reasons else "stop"
                recording.step(Step(seen=index, started=now(), seconds=0.1, finish_reason=reason), message)
            else:
                recording.message(message)
        if stop_reason:
            recording.finish(stop_reason, Reward(reward, "as the test wants") if reward is not None else None)
        return recording.id

    return record
