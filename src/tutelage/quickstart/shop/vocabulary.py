"""The words that tasks are made of, split so that training and evaluation share none of them.

Each is one token of SmolLM2's vocabulary, both after a space and after a quotation mark: what a small model copies
from a sentence into a call's arguments then looks the same in both places.
"""

from dataclasses import dataclass
from typing import Literal

Split = Literal["train", "evaluate"]

ORIGINS = ("Peru", "Spain", "Italy", "Japan", "China", "India", "Kenya", "Chile", "Norway", "Sweden", "Canada", "Egypt")
WARRANTIES = (6, 12, 18, 24, 30, 36, 48, 60)  # months
OPEN_STATUSES = ("new", "paid", "packed")
CLOSED_STATUSES = ("shipped", "delivered")  # too late to cancel


@dataclass(frozen=True)
class Vocabulary:
    adjectives: tuple[str, ...]
    nouns: tuple[str, ...]
    customers: tuple[str, ...]
    product_ids: tuple[str, ...]
    order_ids: tuple[str, ...]


def vocabulary(split: Split) -> Vocabulary:
    return VOCABULARIES[split]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _ids(letter: str, numbers: range, parity: int) -> tuple[str, ...]:
    """Every other number, by the parity of its digit sum: each digit occurs in each place on both sides."""
    return tuple(f"{letter}{number}" for number in numbers if sum(map(int, str(number))) % 2 == parity)


VOCABULARIES: dict[Split, Vocabulary] = {
    "train": Vocabulary(
        adjectives=_words(
            """amber classic forest river solar polar mighty bright mini grand urban iron storm magnetic blue green
            white orange soft warm fresh smart heavy slow deep wide round flat smooth dry natural global basic standard
            micro metal stone plastic water wind ice moon earth flower lake castle bridge family magic double hidden
            wild winter spring rich fine rare north east inner"""
        ),
        nouns=_words(
            """chair hat wallet clock mouse printer rug oven brush folder hose robot phone lock box shirt cap chain
            board book case pan jar door wheel pipe wire switch motor kit button arrow mask sock bed seat mat screen
            drive horn cart rod"""
        ),
        customers=_words(
            """Anna Peter James Robert Paul George Henry Jack Ali Maya Martin Samuel Adam Ben Sam Tim Nick Edward Louis
            Sarah Neil Luke Joseph William Michael Lee Josh Grant Bob Jim Anne Emily Rose Stephen Will Matt"""
        ),
        product_ids=_ids("P", range(10, 100), 0),
        order_ids=_ids("R", range(10, 100), 0),
    ),
    "evaluate": Vocabulary(
        adjectives=_words(
            """modern ocean arctic quiet dark tiny prime electric red black yellow hard cool light fast strong
            long thin square sharp clean organic local simple super wood glass paper fire snow sun star sky tree sea
            city tower hero dream single secret summer great south outer"""
        ),
        nouns=_words(
            """table belt watch camera monitor router plate fan comb bucket ball bench key bag coat ring frame card pen
            pot cup bin window tube plug sensor thread bow shield boot tie filter radio disk bell net"""
        ),
        customers=_words(
            """Maria John Mary David Mark Frank Alice Max Daniel Simon Victor Jane Alex Chris Tom Dan Andrew Arthur
            Charles Carl Scott Matthew Thomas Richard Kim Taylor Ross Ray Bill Ann Elizabeth Lily Marie Fred"""
        ),
        product_ids=_ids("P", range(10, 100), 1),
        order_ids=_ids("R", range(10, 100), 1),
    ),
}
