"""Conversations that grow too long: the oldest tool results give way to a notice.

The dataset and the agent that serves the student call the same function with the same numbers, so that the student
meets in use what it was trained on.
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Literal

from pydantic import Field

from tutelage.trace import Message, Plain

NOTICE = "[an earlier result of {characters} characters, no longer shown]"

CountTokens = Callable[[Sequence[Message]], int]  # tokens of the prompt that the engine makes of messages


class CutResults(Plain):
    """The policy with its numbers, as it stands in a build and in an adapter's folder."""

    policy: Literal["cut_results"] = "cut_results"
    prompt_tokens: int = Field(gt=0)  # a prompt with more is cut
    notice: str = NOTICE


def fit(messages: Sequence[Message], count: CountTokens, policy: CutResults) -> tuple[Message, ...]:
    """`messages` with as few of the oldest tool results cut as make the prompt fit; as many messages as before.

    Results that answer the last calls stay, and so do those that the notice would not shorten. Where cutting all
    others is not enough, all others are cut. Raises what `count` raises.
    """
    old = [index for index in _before_the_last_answer(messages) if _is_cut(messages[index], policy)]

    def shown(cuts: int) -> tuple[Message, ...]:
        cut = set(old[:cuts])
        return tuple(_cut(message, policy) if index in cut else message for index, message in enumerate(messages))

    fewest = bisect_left(range(len(old)), True, key=lambda cuts: count(shown(cuts)) <= policy.prompt_tokens)
    return shown(fewest)


def _before_the_last_answer(messages: Sequence[Message]) -> range:
    answers = [index for index, message in enumerate(messages) if message.role == "assistant"]
    return range(answers[-1] if answers else 0)


def _is_cut(message: Message, policy: CutResults) -> bool:
    return message.role == "tool" and len(_cut(message, policy).content or "") < len(message.content or "")


def _cut(message: Message, policy: CutResults) -> Message:
    notice = policy.notice.replace("{characters}", str(len(message.content or "")))
    return message.model_copy(update={"content": notice})


def results_cut(messages: Sequence[Message], policy: CutResults) -> int:
    """How many of the results of `messages`, as `fit` gave them, are a notice."""
    notice = re.compile(re.escape(policy.notice).replace(re.escape("{characters}"), "[0-9]+"))
    return sum(message.role == "tool" and bool(notice.fullmatch(message.content or "")) for message in messages)
