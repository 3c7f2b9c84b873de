"""Prompts and rows: exactly what the engine shows the student, followed by exactly what the student should emit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any

from tutelage.render.answer_format import QUESTION, AnswerFormat
from tutelage.render.engine import CannotExpress, Engine, Written, engine_message, engine_tool, to_json
from tutelage.render.marks import Marked, shown
from tutelage.render.outline import OTHERWISE, Outline, outline
from tutelage.render.student import Tokenizer
from tutelage.render.template import Template
from tutelage.trace import Message, Tool, has_reasoning


@dataclass(frozen=True)
class TokenRow:
    """One training example in tokens."""

    input_ids: list[int]  # (length,) the prompt's, then the completion's, tokenised apart
    weights: list[float]  # (length,) target weight of each token: 0 in the prompt
    prompt_length: int


class Renderer:
    """Renders for one student: its tokenizer, its template, and how it is served.

    `thinking` off renders with `enable_thinking` false and without any reasoning. `send_reasoning` is the agent's:
    whether reasoning goes back to the model with the history (the template may still drop it from earlier turns).
    `day` is what templates that name the date take for today; None: today.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        template: str,
        thinking: bool = True,
        *,
        send_reasoning: bool = True,
        engine: Engine = Engine.LLAMA_CPP,
        day: date | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.template = Template(template, engine, tokenizer.bos, tokenizer.eos, day)
        self.thinking = thinking
        self.send_reasoning = send_reasoning
        self.engine = engine

    def prompt_text(self, messages: Sequence[Message], tools: Sequence[Tool]) -> str:
        """What the engine shows the model for a request with `messages`. Raises CannotExpress."""
        return self._render(self._history(messages), self._tools(tools), True)

    def prompt_tokens(self, messages: Sequence[Message], tools: Sequence[Tool]) -> list[int]:
        return self.tokenizer.encode(self.prompt_text(messages, tools))

    def completion_text(self, messages: Sequence[Message], tools: Sequence[Tool]) -> str:
        """What the model should emit after `messages[:-1]`: the last message, to its end-of-turn token included."""
        return self._texts(messages, tools)[1]

    def row(self, messages: Sequence[Message], tools: Sequence[Tool], *, teach_empty_thinking: bool = True) -> TokenRow:
        """The row that teaches the last of `messages`. Raises CannotExpress with the reason where there is none.

        With `teach_empty_thinking` off, what the template writes in the place of missing reasoning carries no loss.
        """
        texts = self._texts(messages, tools)
        prompt, completion = map(self.tokenizer.encode, texts)
        masked = not teach_empty_thinking and not has_reasoning(messages[-1])
        block = self._format.empty_thinking(texts[1]) if masked else ""
        untaught = self._tokens_within(len(block), texts[1], completion) if block else 0
        weights = [0.0] * (len(prompt) + untaught) + [messages[-1].weight] * (len(completion) - untaught)
        return TokenRow(prompt + completion, weights, len(prompt))

    def _tokens_within(self, characters: int, text: str, ids: Sequence[int]) -> int:
        """How many of the tokens `ids` of `text` lie within its first so many characters. Raises CannotExpress."""
        encoded = self.tokenizer.inner.encode(text, add_special_tokens=False)
        if encoded.ids != ids:
            raise CannotExpress("the empty think block cannot be told from the rest of the answer, token by token")
        return sum(end <= characters for _, end in encoded.offsets)

    def _texts(self, messages: Sequence[Message], tools: Sequence[Tool]) -> tuple[str, str]:
        """Prompt and completion: exact, or CannotExpress says what the template cannot do."""
        answer, history, offered = messages[-1], self._history(messages[:-1]), self._tools(tools)
        prompt = self._render(history, offered, True)
        if answer.role != "assistant":
            raise CannotExpress("the last message is not the assistant's")
        _check_answer(answer, tools)
        learnt = self._message(answer, reasoning=self.thinking, exact=True)
        found, completion = self._write([*history, learnt], offered)
        if not prompt.endswith(found.opening):
            raise CannotExpress(OTHERWISE)
        self._format.check(learnt, found.leaves, offered)
        return prompt, completion

    def _write(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Written]) -> tuple[Outline, str]:
        """How the template writes the last of `messages`, the answer: in outline, and in full."""
        messages = [self._as_taken(message) for message in messages]
        found = outline(self._render, messages, tools, self._special_tokens)
        for leaf in found.leaves:
            held = next((token for token in self._special_tokens if token in leaf.text), None)
            if held:
                raise CannotExpress("the answer's text holds a special token", held)
        return found, found.find(self._render([*messages[:-1], {**messages[-1], **found.content}], tools, False))

    @cached_property
    def _format(self) -> AnswerFormat:
        return AnswerFormat(self._write, self.engine)

    @cached_property
    def _special_tokens(self) -> list[str]:
        added = self.tokenizer.inner.get_added_tokens_decoder().values()
        return [token.content for token in added if token.special]

    def _history(self, messages: Sequence[Message]) -> list[Mapping[str, Any]]:
        """`messages` as a request's. Raises CannotExpress where they ask for no answer."""
        if not messages or messages[-1].role == "assistant":
            raise CannotExpress("a prompt does not end with an assistant message: the engine would continue it")
        reasoning = self.thinking and self.send_reasoning
        return [
            self._as_taken(self._message(message, reasoning=reasoning), [call.arguments for call in message.tool_calls])
            for message in messages
        ]

    def _message(self, message: Message, *, reasoning: bool, exact: bool = False) -> dict[str, Any]:
        return engine_message(message, self.engine, reasoning=reasoning, exact=exact)

    def _tools(self, tools: Sequence[Tool]) -> list[Written]:
        return [engine_tool(tool, self.engine) for tool in tools]

    @cached_property
    def _takes_text(self) -> bool:
        """Whether a call's arguments go to the template as JSON text, as llama.cpp does where it writes no object."""
        if self.engine is Engine.VLLM:
            return False
        call = {"id": "p", "type": "function", "function": {"name": "probe", "arguments": {"probe": "probe"}}}
        marked = Marked.of([QUESTION, {"role": "assistant", "content": "", "tool_calls": [call]}], [])
        try:
            text = self.template.render(marked.messages, [], add_generation_prompt=False, thinking=self.thinking)
        except CannotExpress:
            return True
        return len(marked.leaves) - 1 not in shown(text)

    def _as_taken(self, message: Mapping[str, Any], written: Sequence[str] = ()) -> Mapping[str, Any]:
        """`message` with its calls' arguments as the template takes them; `written` is the text of each."""
        calls = message.get("tool_calls")
        if not calls or not self._takes_text:
            return message
        texts = written or [_text(call["function"]["arguments"]) for call in calls]
        functions = [{**call["function"], "arguments": text} for call, text in zip(calls, texts, strict=True)]
        return {
            **message,
            "tool_calls": [{**call, "function": function} for call, function in zip(calls, functions, strict=True)],
        }

    def _render(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]], prompt: bool) -> str:
        return self.template.render(messages, tools, add_generation_prompt=prompt, thinking=self.thinking)


def _text(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else to_json(arguments)


def _check_answer(answer: Message, tools: Sequence[Tool]) -> None:
    """Refuse what is no answer that a model can give."""
    if not (answer.content or "").strip() and not answer.tool_calls:
        raise CannotExpress("the answer is empty")
    offered = {tool.name for tool in tools}
    for call in answer.tool_calls:
        if call.name not in offered:
            raise CannotExpress("a call of a tool that is not offered", call.name)
        if call.arguments and not call.arguments.lstrip().startswith("{"):
            raise CannotExpress("arguments that are no JSON object", f"{call.name}: {call.arguments[:80]!r}")
