"""Prompts and rows: exactly what the engine shows the student, followed by exactly what the student should emit."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tutelage.render.engine import CannotExpress, Engine, engine_message, engine_tool
from tutelage.render.student import Tokenizer
from tutelage.render.template import Template
from tutelage.trace import Message, Tool


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
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        template: str,
        thinking: bool = True,
        *,
        send_reasoning: bool = True,
        engine: Engine = Engine.LLAMA_CPP,
    ) -> None:
        self.tokenizer = tokenizer
        self.template = Template(template)
        self.thinking = thinking
        self.send_reasoning = send_reasoning
        self.engine = engine

    def prompt_text(self, messages: Sequence[Message], tools: Sequence[Tool]) -> str:
        """What the engine shows the model for a request with `messages`. Raises CannotExpress."""
        if not messages or messages[-1].role == "assistant":
            raise CannotExpress("a prompt does not end with an assistant message: the engine would continue it")
        return self._render(self._history(messages), tools, add_generation_prompt=True)

    def prompt_tokens(self, messages: Sequence[Message], tools: Sequence[Tool]) -> list[int]:
        return self.tokenizer.encode(self.prompt_text(messages, tools))

    def completion_text(self, messages: Sequence[Message], tools: Sequence[Tool]) -> str:
        """What the model should emit after `messages[:-1]`: the last message, to its end-of-turn token included."""
        return self._completion(self.prompt_text(messages[:-1], tools), messages, tools)

    def row(self, messages: Sequence[Message], tools: Sequence[Tool]) -> TokenRow:
        """The row that teaches the last of `messages`. Raises CannotExpress with the reason where there is none."""
        prompt_text = self.prompt_text(messages[:-1], tools)
        completion = self.tokenizer.encode(self._completion(prompt_text, messages, tools))
        prompt = self.tokenizer.encode(prompt_text)
        weights = [0.0] * len(prompt) + [messages[-1].weight] * len(completion)
        return TokenRow(prompt + completion, weights, len(prompt))

    def _history(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        reasoning = self.thinking and self.send_reasoning
        return [engine_message(message, self.engine, reasoning=reasoning) for message in messages]

    @cached_property
    def _special_tokens(self) -> list[str]:
        added = self.tokenizer.inner.get_added_tokens_decoder().values()
        return [token.content for token in added if token.special]

    def _completion(self, prompt: str, messages: Sequence[Message], tools: Sequence[Tool]) -> str:
        answer = messages[-1]
        if answer.role != "assistant":
            raise CannotExpress("the last message is not the assistant's")
        _check_answer(answer, tools)
        learnt = engine_message(_as_emitted(answer), self.engine, reasoning=self.thinking, exact=True)
        full = self._render([*self._history(messages[:-1]), learnt], tools, add_generation_prompt=False)
        if not full.startswith(prompt):
            raise CannotExpress("the template renders the history otherwise once the answer follows it")
        return self._cut(full[len(prompt) :])

    def _cut(self, completion: str) -> str:
        """`completion` to its end-of-turn token, the last special one; the template's text after it isn't learnt."""
        ends = [(completion.rfind(token), token) for token in self._special_tokens if token in completion]
        if not ends:
            raise CannotExpress("the template ends the answer with no special token of the tokenizer")
        position, end_of_turn = max(ends)
        if completion[position + len(end_of_turn) :].strip():
            raise CannotExpress("the template writes more than white space after the end-of-turn token", end_of_turn)
        if completion.find(end_of_turn) != position:
            raise CannotExpress("the answer's text holds the end-of-turn token", end_of_turn)
        return completion[: position + len(end_of_turn)]

    def _render(self, messages: list[dict[str, Any]], tools: Sequence[Tool], *, add_generation_prompt: bool) -> str:
        return self.template.render(
            messages,
            [engine_tool(tool, self.engine) for tool in tools],
            add_generation_prompt=add_generation_prompt,
            thinking=self.thinking,
        )


def _as_emitted(answer: Message) -> Message:
    """The engine's parser leaves in the content the newline that the template puts before a call: take one off."""
    if answer.tool_calls and answer.content and answer.content.endswith("\n"):
        return answer.model_copy(update={"content": answer.content[:-1]})
    return answer


def _check_answer(answer: Message, tools: Sequence[Tool]) -> None:
    """Refuse what the engine's parser would read otherwise than it was meant."""
    if "</think>" in (answer.reasoning_content or "") or "</think>" in (answer.content or ""):
        raise CannotExpress("the answer's text holds </think>, which ends the reasoning")
    if "<tool_call>" in (answer.content or ""):
        raise CannotExpress("the answer's text holds <tool_call>: it is a call that was not parsed")
    if not (answer.content or "").strip() and not answer.tool_calls:
        raise CannotExpress("the answer is empty")
    offered = {tool.name for tool in tools}
    for call in answer.tool_calls:
        if call.name not in offered:
            raise CannotExpress("a call of a tool that is not offered", call.name)
        if call.arguments and not call.arguments.lstrip().startswith("{"):
            raise CannotExpress("arguments that are no JSON object", f"{call.name}: {call.arguments[:80]!r}")
