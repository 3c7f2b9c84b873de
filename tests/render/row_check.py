"""Checks rows against others' renderings and readings: llama.cpp's, Transformers', TRL's."""

import ast
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jinja2 import TemplateError
from judge import Judge, JudgeRefuses
from random_chats import Chat
from stock import STOCK, Stock
from transformers import PreTrainedTokenizerFast
from transformers.utils.chat_template_utils import render_jinja_template
from trl.chat_template_utils import add_response_schema

from tutelage.render.engine import CannotExpress, Engine
from tutelage.render.renderer import Renderer
from tutelage.render.serving import Serving
from tutelage.settings import ToolResults
from tutelage.trace import Message, Tool

NEXT = ("<|user|>", "<|observation|>")  # with them the next message begins, and GLM's answers end
REASONING = ("reasoning_content", "reasoning", "thinking")


@dataclass
class Outcome:
    """What came of the rows that were checked; refusals are those for llama.cpp."""

    rows: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    mismatches: list[str] = field(default_factory=list)

    def __iadd__(self, other: "Outcome") -> "Outcome":
        self.rows += other.rows
        self.refused += other.refused
        self.mismatches += other.mismatches
        return self


class RowCheck:
    """Checks conversations for one template."""

    def __init__(self, stock: Stock, judge: Judge) -> None:
        self.stock = stock
        self._judge = judge
        self._tokenizer = stock.tokenizer()
        self._renderers = {
            (engine, thinking): Renderer(self._tokenizer, stock.text, thinking, engine=engine)
            for engine in Engine
            for thinking in (True, False)
        }
        known = next(other for other in STOCK if other.name == (stock.like or stock.name))
        self._reader = PreTrainedTokenizerFast(tokenizer_object=self._tokenizer.inner, chat_template=known.text)
        try:
            add_response_schema(self._reader)
        except ValueError:  # TRL cannot read this template's answers: they are content alone
            self._reader = None

    def check(self, chat: Chat, thinking: bool) -> Outcome:
        """Each assistant message of `chat` as a row, for both engines."""
        outcome = Outcome()
        for step in chat.steps():
            messages = chat.messages[: step + 1]
            outcome.rows += 1
            for engine in Engine:
                refusal, found = self._row(messages, chat.tools, engine, thinking)
                outcome.mismatches += [f"{self.stock.name}, {engine.value}, {thinking=}: {text}" for text in found]
                if refusal and engine is Engine.LLAMA_CPP:
                    outcome.refused[refusal] += 1
        return outcome

    def _row(
        self, messages: Sequence[Message], tools: Sequence[Tool], engine: Engine, thinking: bool
    ) -> tuple[str, list[str]]:
        """The reason for which the row is refused, if it is; what is wrong with it."""
        renderer = self._renderers[engine, thinking]
        wrong = self.prompt_mismatches(messages[:-1], tools, engine, thinking)
        try:
            row = renderer.row(messages, tools)
        except CannotExpress as refusal:
            return refusal.reason, wrong
        prompt = self._tokenizer.decode(row.input_ids[: row.prompt_length])
        completion = self._tokenizer.decode(row.input_ids[row.prompt_length :])
        if prompt != renderer.prompt_text(messages[:-1], tools):
            wrong.append("the row's prompt is another one")
        wrong += self._reading_mismatches(prompt, completion, messages[-1], tools, thinking)
        if engine is Engine.VLLM or ("<|channel|>" in self.stock.text and not messages[-1].tool_calls):
            # gpt-oss has no rows for vLLM, and llama.cpp writes a call's numbers in its own way
            wrong += self._trl_mismatches(prompt, completion, messages, tools, thinking)
        return "", wrong

    def prompt_mismatches(
        self, messages: Sequence[Message], tools: Sequence[Tool], engine: Engine, thinking: bool
    ) -> list[str]:
        """Ours against what the engine shows; vLLM renders with Transformers."""
        theirs = self._llama_cpp if engine is Engine.LLAMA_CPP else self._transformers
        try:
            ours = self._renderers[engine, thinking].prompt_text(messages, tools)
        except CannotExpress:
            return []  # counted as refused
        try:
            expected = theirs(messages, tools, thinking)
        except (JudgeRefuses, TemplateError) as error:
            return [f"the engine refuses a prompt that is rendered here: {error}"]
        if ours == expected:
            return []
        at = next((at for at, (a, b) in enumerate(zip(ours, expected, strict=False)) if a != b), -1)
        return [f"prompt {ours[at - 20 : at + 40]!r} is {expected[at - 20 : at + 40]!r}"]

    def _llama_cpp(self, messages: Sequence[Message], tools: Sequence[Tool], thinking: bool) -> str:
        sent = [message.to_openai(reasoning=thinking) for message in messages]
        return self._judge.prompt(sent, [tool.to_openai() for tool in tools], chat_template_kwargs=_told(thinking))

    def _transformers(self, messages: Sequence[Message], tools: Sequence[Tool], thinking: bool) -> str:
        rendered, _ = self._render(self.stock.text, messages, tools, thinking, add_generation_prompt=True)
        return rendered

    def _render(
        self, template: str, messages: Sequence[Message], tools: Sequence[Tool], thinking: bool, **more: Any
    ) -> tuple[str, list[tuple[int, int]]]:
        """Transformers' rendering, with what it marks as the model's: [(start, end)] in the text."""
        sent = [message.to_openai(reasoning=thinking) for message in messages]
        for message in sent:
            for call in message.get("tool_calls", ()):
                call["function"]["arguments"] = json.loads(call["function"]["arguments"])
        tokens = {"bos_token": self._tokenizer.bos, "eos_token": self._tokenizer.eos}
        definitions = [tool.to_openai() for tool in tools] or None
        (text,), marks = render_jinja_template(
            [sent], definitions, chat_template=template, **_told(thinking), **tokens, **more
        )
        return text, list(marks[0]) if marks else []

    def _reading_mismatches(
        self, prompt: str, completion: str, answer: Message, tools: Sequence[Tool], thinking: bool
    ) -> Iterator[str]:
        """The completion, read by TRL's response templates, holds the answer and nothing else."""
        if self._reader is None:
            if completion.removesuffix(self._end(completion)).strip() != (answer.content or "").strip():
                yield f"{completion!r} is not the content {answer.content!r}"
            return
        text = completion.removesuffix(self._end(completion)) if self._end(completion) in NEXT else completion
        definitions = [tool.to_openai() for tool in tools]
        outside, *calls = re.split(r"<\|tool_call_start\|>(.*)<\|tool_call_end\|>", text, flags=re.DOTALL)
        read = self._reader.parse_response("".join([outside, *calls[1:]]), prefix=prompt, tools=definitions)
        if calls:  # Python's: TRL does not read their escapes, and ends a call at the first ")" of a text
            read["tool_calls"] = list(_python_calls(calls[0]))
        expected = _plain(answer.to_openai(reasoning=thinking))
        if _plain(read) != expected:
            yield f"{completion!r} is read as {_plain(read)}, not as {expected}"

    def _end(self, completion: str) -> str:
        return next(token for token in self.stock.special if completion.endswith(token))

    def _trl_mismatches(
        self, prompt: str, completion: str, messages: Sequence[Message], tools: Sequence[Tool], thinking: bool
    ) -> Iterator[str]:
        """TRL's generation marks cover the completion, and before it nothing but what the server writes.

        Its templates for training keep earlier reasoning, so only the last answer is compared. Its mark may begin in
        the prompt (an opened or empty think block) and end with a line break; it lacks the token with which a model
        ends whose template writes none.
        """
        if self.stock.training is None:
            return
        text, marks = self._render(self.stock.training, messages, tools, thinking, return_assistant_tokens_mask=True)
        marked = text[slice(*marks[-1])].rstrip("\n")
        ours = completion if self._end(completion) in marked else completion.removesuffix(self._end(completion))
        if not (marked.endswith(ours.rstrip("\n")) and (prompt + ours).rstrip("\n").endswith(marked)):
            yield f"TRL teaches {marked!r}, we {ours!r}"


def _told(thinking: bool) -> dict[str, bool]:
    """What our agent tells the template with each request, and nothing else."""
    return Serving(thinking=thinking, send_reasoning=True, tool_results=ToolResults()).template_fields


def _plain(message: Mapping[str, Any]) -> dict[str, Any]:
    """What is said, without the white space around texts, which templates set and TRL's readers take off."""
    calls = [call["function"] for call in message.get("tool_calls") or ()]
    return {
        "content": (message.get("content") or "").strip(),
        "reasoning": next((message[key] for key in REASONING if message.get(key)), "").strip(),
        "calls": [(call["name"], _arguments(call.get("arguments") or {})) for call in calls],
    }


def _arguments(arguments: Any) -> dict[str, Any]:
    values = json.loads(arguments) if isinstance(arguments, str) else arguments
    return {key: value.strip() if isinstance(value, str) else value for key, value in values.items()}


def _python_calls(text: str) -> Iterator[dict[str, Any]]:
    """`[name(key='value', …)]`, where JSON's true, false and null may stand too."""
    names = {"true": True, "false": False, "null": None}

    class Constants(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.AST:
            return ast.Constant(names[node.id]) if node.id in names else node

    for call in ast.parse(text.strip(), mode="eval").body.elts:  # type: ignore[attr-defined]
        values = {keyword.arg: ast.literal_eval(Constants().visit(keyword.value)) for keyword in call.keywords}
        yield {"function": {"name": call.func.id, "arguments": values}}
