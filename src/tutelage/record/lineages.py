"""Which conversation a request belongs to: told by the messages that it shows, for nothing else is sent.

A lineage is a conversation whose messages are only ever added to; it becomes one trace. A request that shows a
lineage's whole history and more goes on with it. One that shows part of it, or a sign of it, starts a lineage of its
own beside it, in the same session:

- retry: the same request again, while its answer had not been gone on from;
- edited: the history is the same up to a message and then another, or the model or the tools are others;
- compacted: it shows what a lineage's model wrote (a step, or a long text as its summary) after another beginning;
- sub-agent: its prompt is, for the most part, a text in the arguments of a call which a lineage waits for.

Anything else starts a session.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from itertools import islice

from tutelage.dialect.identity import chain, digest, digest_of
from tutelage.trace import Message, Tool, ToolCall, canonical

LONG = 200  # characters that tell by themselves: of an answer a summary, of an argument a sub-agent's prompt
TELLING = 20  # characters of an argument that may be a sub-agent's prompt, or of an answer that tell a step
FIRST = 4  # messages in which a sub-agent's prompt or the summary of a compacted context would stand
RECENT = 500  # lineages whose last message may tell a sub-agent or a summary: those that were gone on with last


class Kind(StrEnum):
    """How a lineage came about; also the kind of its trace's task."""

    RECORDED = "recorded"  # the first of its session
    RETRY = "retry"
    EDITED = "edited"
    COMPACTED = "compacted"
    SUB_AGENT = "sub-agent"


@dataclass
class Lineage:
    """A conversation so far."""

    id: str  # the trace's
    session: str  # the id of the session's first trace
    root: str  # digest of model and tools
    kind: Kind = Kind.RECORDED
    messages: list[Message] = field(default_factory=list)
    chain: list[str] = field(default_factory=list)  # digest of the messages up to and including each
    steps: dict[int, datetime] = field(default_factory=dict)  # place of each message that the model gave -> when

    def extend(self, messages: Sequence[Message]) -> None:
        self.messages += messages
        self.chain += chain(messages, self.chain[-1] if self.chain else "")

    @property
    def waits_for(self) -> tuple[ToolCall, ...]:
        return self.messages[-1].tool_calls if self.messages else ()


@dataclass(frozen=True)
class Place:
    """Where a request belongs."""

    lineage: Lineage  # which it goes on with, or beside which it starts another
    shared: int  # messages that both have from the beginning on
    kind: Kind | None  # None: it goes on with it


class Lineages:
    """The lineages that may be gone on with."""

    def __init__(self) -> None:
        self.open: dict[str, Lineage] = {}  # the one gone on with last stands last
        self._tips: dict[tuple[str, str], list[Lineage]] = defaultdict(list)  # (root, whole history) -> who ends so
        self._prefixes: dict[str, Lineage] = {}  # a beginning that holds a user message -> the last to have it
        self._seen: dict[tuple[str, str], tuple[Lineage, int]] = {}  # (root, what a step saw) -> whose, and where
        self._said: dict[str, Lineage] = {}  # digest of a telling step -> whose

    def add(self, lineage: Lineage, since: int = 0) -> None:
        """Make a lineage findable, from its message `since` on; before that it was."""
        self.open.pop(lineage.id, None)
        self.open[lineage.id] = lineage
        if since:
            self._drop(self._tips, (lineage.root, lineage.chain[since - 1]), lineage)
        self._tips[lineage.root, lineage.chain[-1]].append(lineage)
        asked = False
        for index, message in enumerate(lineage.messages):
            asked = asked or message.role == "user"
            if index < since:
                continue
            if asked:
                self._prefixes[lineage.chain[index]] = lineage
            if index in lineage.steps:
                self._seen[lineage.root, lineage.chain[index - 1] if index else ""] = lineage, index
                if is_telling(message):
                    self._said[digest(message)] = lineage

    def close(self, lineage: Lineage) -> None:
        self.open.pop(lineage.id, None)
        self._drop(self._tips, (lineage.root, lineage.chain[-1]), lineage)
        for prefix in lineage.chain:
            if self._prefixes.get(prefix) is lineage:
                del self._prefixes[prefix]
        for index in lineage.steps:
            key = (lineage.root, lineage.chain[index - 1] if index else "")
            if key in self._seen and self._seen[key][0] is lineage:
                del self._seen[key]
            if self._said.get(digest(lineage.messages[index])) is lineage:
                del self._said[digest(lineage.messages[index])]

    def place(self, root: str, messages: Sequence[Message], started: datetime) -> Place | None:
        """Where a request belongs; None where it starts a session."""
        links = chain(messages)
        for count in range(len(links), 0, -1):
            if found := self._tips.get((root, links[count - 1])):
                return Place(found[0], count, None)
        again = self._seen.get((root, links[-1] if links else ""))
        if again:
            return Place(again[0], len(links), Kind.RETRY) if _is_retry(*again, messages, started) else None
        # Agents may begin all their conversations with the same messages: only a history tells that it was edited.
        first = next((index for index, message in enumerate(messages) if message.role == "assistant"), len(links))
        for count in range(len(links), max(first, 1) - 1, -1):
            if first < len(links) and (lineage := self._prefixes.get(links[count - 1])):
                return Place(lineage, count, Kind.EDITED)
        return self._related(messages)

    def said(self, message: Message) -> Message | None:
        """A step that is recorded, with its reasoning, where `message` repeats it."""
        lineage = self._said.get(digest(message))
        if lineage is None:
            return None
        return next((found for found in lineage.messages if digest(found) == digest(message)), None)

    def _related(self, messages: Sequence[Message]) -> Place | None:
        for message in messages:
            if message.role == "assistant" and (lineage := self._said.get(digest(message))):
                return Place(lineage, 0, Kind.COMPACTED)
        recent = list(islice(reversed(self.open.values()), RECENT))
        asked = [message.content or "" for message in messages[:FIRST] if message.role == "user"]
        for lineage in recent:
            texts = (text for call in lineage.waits_for for text in _texts(call.arguments))
            if any(_is_prompt(text, message) for text in texts for message in asked):
                return Place(lineage, 0, Kind.SUB_AGENT)
        prompt = "\n".join(message.content or "" for message in messages[:FIRST] if message.role != "assistant")
        for lineage in recent:
            last = (lineage.messages[-1].content or "").strip()
            if len(last) >= LONG and last in prompt:
                return Place(lineage, 0, Kind.COMPACTED)
        return None

    @staticmethod
    def _drop(index: dict[tuple[str, str], list[Lineage]], key: tuple[str, str], lineage: Lineage) -> None:
        left = [each for each in index.get(key, ()) if each is not lineage]
        if left:
            index[key] = left
        else:
            index.pop(key, None)


def root(model: str, tools: Sequence[Tool]) -> str:
    return digest_of([model, [tool.definition for tool in tools]])


def is_telling(message: Message) -> bool:
    """Whether it is unlikely that another conversation holds the same: ids of calls are drawn at random."""
    return bool(message.tool_calls) or len((message.content or "").strip()) >= TELLING


def _is_retry(lineage: Lineage, index: int, messages: Sequence[Message], started: datetime) -> bool:
    """With a history it is one for certain. A first prompt may also be asked anew, or by many at once."""
    if any(message.role == "assistant" for message in messages):
        return True
    return index == len(lineage.messages) - 1 and started >= lineage.steps[index]


def _is_prompt(text: str, message: str) -> bool:
    """Whether `text` is what `message` asks: an agent may put more around it, but a path or a word is no prompt."""
    return (len(text) >= LONG or 2 * len(text) >= len(message)) and text in message


def _texts(arguments: str) -> Iterator[str]:
    """The long texts in a call's arguments."""
    waiting = [canonical(arguments)]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str) and len(value.strip()) >= TELLING:
            yield value.strip()
        elif isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
