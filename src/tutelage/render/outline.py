"""Where a template puts what: a conversation of marks rendered, and a real rendering laid along it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tutelage.render.engine import CannotExpress, Written, to_json
from tutelage.render.llama_cpp import WHITE_SPACE
from tutelage.render.marks import MARK, Kind, Leaf, Marked, shown

Render = Callable[[Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]], bool], str]  # True: a prompt

ONE_OF_SEVERAL = "the template writes one call of several"
OTHERWISE = "the template opens the answer otherwise than the prompt does"
UNLIKE = "the template writes the answer otherwise than its other answers, because of its text"


@dataclass(frozen=True)
class Outline:
    """How the template writes an answer: its own text around the answer's, which stands there as leaves."""

    opening: str  # what the prompt ends with, after its last text
    pieces: list[str]  # the template's text: pieces[i] before leaves[i], the last one to the end-of-turn token
    leaves: list[Leaf]
    end: str  # of the last piece, what the template itself does not write at the end of a conversation

    @property
    def content(self) -> dict[str, str]:
        """The answer's content as the model emits it, where the template writes one."""
        contents = [leaf.text for leaf in self.leaves if leaf.kind is Kind.CONTENT]
        return {"content": contents[0]} if contents else {}

    def find(self, full: str) -> str:
        """The answer in a real rendering of the same conversation. Raises CannotExpress where it is not like this."""
        last = self.pieces[-1].removesuffix(self.end)
        start = full.rindex(last) if full.rstrip().endswith(last.rstrip()) and last in full else -1
        if start < 0:
            raise CannotExpress(UNLIKE)
        end = start
        before = [self.opening + self.pieces[0], *self.pieces[1:-1]]
        for piece, leaf in zip(reversed(before), reversed(self.leaves), strict=True):
            for text in writings(leaf):
                if full.endswith(piece + text, 0, start):
                    break
            else:
                raise CannotExpress(UNLIKE, f"{leaf.kind}: {leaf.text[:80]!r}")
            start -= len(piece + text)
        return full[start + len(self.opening) : end] + self.pieces[-1]


def outline(
    render: Render,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Written],
    specials: Sequence[str],
) -> Outline:
    """How the template writes the last of `messages`, the answer; `specials` are the tokenizer's special tokens.

    Raises CannotExpress where the template leaves out what the conversation holds, or cannot be followed.
    """
    marked, answer = Marked.of(messages, tools), len(messages) - 1
    prompt = render(marked.messages[:-1], marked.tools, True)
    full = render(marked.messages, marked.tools, False)
    _check_nothing_is_lost(marked, prompt, full)
    *earlier, opening = MARK.split(prompt)  # text, number of a mark, text, … text
    parts = MARK.split(full)
    texts, numbers = parts[::2], [int(number) for number in parts[1::2]]
    first = next(at for at, number in enumerate(numbers) if marked.leaves[number].message == answer)
    if not texts[first].startswith(opening) or int(earlier[-1]) != numbers[first - 1]:
        raise CannotExpress(OTHERWISE)
    leaves = [marked.leaves[number] for number in numbers[first:]]
    ranks = [(leaf.message != answer, *_rank(leaf)) for leaf in leaves]
    if ranks != sorted(ranks) or ranks[-1][0] or len(set(numbers[first:])) < len(leaves):
        raise CannotExpress("the template writes the answer's parts in another order, or twice")
    last, end = _end(render, marked, texts[-1], numbers[-1], specials)
    pieces = [texts[first][len(opening) :], *texts[first + 1 : -1], last]
    return Outline(opening, pieces, list(map(_emitted, leaves, pieces[1:])), end)


def _emitted(leaf: Leaf, after: str) -> Leaf:
    """A content without the white space that the template puts after it: engines' parsers leave that in the content.

    It is taken off once, since the model may have written more of it.
    """
    space = after[: len(after) - len(after.lstrip())]
    return replace(leaf, text=leaf.text.removesuffix(space)) if leaf.kind is Kind.CONTENT else leaf


def _rank(leaf: Leaf) -> tuple[int, bool]:
    """Where a text belongs among an answer's; arguments may stand in any order."""
    before = {Kind.REASONING: -2, Kind.CONTENT: -1}.get(leaf.kind, leaf.call)
    return before, leaf.kind is Kind.ARGUMENT


def writings(leaf: Leaf) -> list[str]:
    """How a template may write the text of `leaf`, longest first; it may set the white space around reasoning."""
    escaped = to_json(leaf.text)[1:-1]
    single = leaf.text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\r", "\\r")
    texts = {leaf.text, escaped, single, leaf.text.replace("\\", "\\\\").replace("'", "\\'")}
    if leaf.kind in (Kind.REASONING, Kind.CONTENT):
        for characters in ("\n", WHITE_SPACE, None):
            texts |= {leaf.text.strip(characters), leaf.text.lstrip(characters), leaf.text.rstrip(characters)}
    return sorted(texts, key=lambda text: (-len(text), text))


def _check_nothing_is_lost(marked: Marked, prompt: str, full: str) -> None:
    """Everything is shown but the reasoning of earlier turns, which templates drop by design."""
    answer = len(marked.messages) - 1
    turn = max((at for at, message in enumerate(marked.messages) if message["role"] == "user"), default=0)
    in_prompt, in_full = shown(prompt), shown(full)
    for number, leaf in enumerate(marked.leaves):
        if leaf.message == answer:
            if number not in in_full:
                raise CannotExpress(ONE_OF_SEVERAL if leaf.call else _LOST[leaf.kind])
        elif number not in in_prompt and (leaf.kind is not Kind.REASONING or leaf.message > turn):
            raise CannotExpress(ONE_OF_SEVERAL if leaf.call else _LOST_EARLIER[leaf.kind])


_LOST = {
    Kind.REASONING: "the template does not write the answer's reasoning",
    Kind.CONTENT: "the template does not write the answer's content",
    Kind.NAME: "the template does not write calls",
    Kind.ARGUMENT: "the template does not write a call's arguments",
}
_LOST_EARLIER = {
    Kind.TOOL: "the template does not show the tools",
    Kind.TEXT: "the template does not show what was said or found earlier",
    Kind.REASONING: "the template does not show earlier reasoning of the turn",
    Kind.CONTENT: "the template does not show the content of an earlier answer",
    Kind.NAME: "the template does not show an earlier call",
    Kind.ARGUMENT: "the template does not show an earlier call's arguments",
}


def _end(render: Render, marked: Marked, text: str, last_mark: int, specials: Sequence[str]) -> tuple[str, str]:
    """The template's text after the answer's last leaf, to the end-of-turn token; and how much of it is added.

    Some templates write no such token: there the model ends with the one that opens the next message.
    """
    last = max((text.rfind(token) + len(token) for token in specials if token in text), default=0)
    if last:
        if text[last:].strip():
            raise CannotExpress("the template writes more than white space after the end-of-turn token")
        return text[:last], ""
    calls = marked.messages[-1].get("tool_calls")
    following = {"role": "tool", "tool_call_id": calls[0]["id"]} if calls else {"role": "user"}
    more = render([*marked.messages, {**following, "content": "next"}], marked.tools, False)
    _, _, rest = more.rpartition(f"qzmark{last_mark}zq")
    begin = min((rest.find(token) for token in specials if token in rest), default=-1)
    if begin < 0 or rest[:begin].rstrip() != text.rstrip():
        raise CannotExpress("the template ends the answer with no special token of the tokenizer")
    token = next(token for token in sorted(specials, key=len, reverse=True) if rest.startswith(token, begin))
    return rest[:begin] + token, token
