"""How far a judging model and persons agree, beyond chance."""

from collections.abc import Sequence

from pydantic import BaseModel


class Agreement(BaseModel):
    traces: int  # that both judged
    same: int  # on which both said the same
    kappa: float | None  # Cohen's; None where chance alone explains everything: somebody always says the same

    def sentence(self) -> str:
        if not self.traces:
            return "No trace that it scored was judged by a person."
        kappa = "not defined: one of the two always says the same" if self.kappa is None else f"{self.kappa:.2f}"
        return f"It agrees with persons on {self.same} of {self.traces} traces; Cohen's kappa {kappa}."


def agreement(pairs: Sequence[tuple[bool, bool]]) -> Agreement:
    """Of what each of two said of the same traces, good or not."""
    count = len(pairs)
    same = sum(one == other for one, other in pairs)
    if not count:
        return Agreement(traces=0, same=0, kappa=None)
    good = [sum(pair[who] for pair in pairs) / count for who in (0, 1)]
    chance = good[0] * good[1] + (1 - good[0]) * (1 - good[1])
    if chance > 1 - 1e-12 or len({one for one, _ in pairs}) < 2 or len({other for _, other in pairs}) < 2:
        return Agreement(traces=count, same=same, kappa=None)
    return Agreement(traces=count, same=same, kappa=(same / count - chance) / (1 - chance))
