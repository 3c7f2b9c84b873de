"""Steps that choose among traces: the best of a task, a balance of kinds or tools. Best first, then by lot."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence

from tutelage.curate.candidates import Candidate, Fault
from tutelage.curate.config import BalanceStep, BestStep

NO_TOOL = "(no tool)"


def best(step: BestStep, candidates: Sequence[Candidate]) -> dict[str, Fault]:
    """The faults of those that are not among the best of their task, by trace."""
    tasks: dict[str, list[Candidate]] = {}
    for candidate in sorted(candidates, key=lambda each: (not each.spoken_for, each.rank())):
        tasks.setdefault(candidate.summary.task_id, []).append(candidate)
    faults = {}
    for ranked in tasks.values():
        for worse in ranked[step.count :]:
            if not worse.spoken_for:
                detail = f"{ranked[0].id[:10]} is a better trace of its task"
                faults[worse.id] = Fault("not the best of its task", detail)
    return faults


def balance(step: BalanceStep, candidates: Sequence[Candidate], seed: int) -> dict[str, Fault]:
    """The faults of those of which there are too many, by trace. The same seed takes out the same ones."""
    counts = Counter(name for candidate in candidates for name in _names(step, candidate))
    most = step.most if step.most is not None else int((step.ratio or 1) * min(counts.values(), default=0))
    kept: Counter[str] = Counter()
    faults = {}
    order = sorted(
        candidates,
        key=lambda each: (
            not each.spoken_for,
            min(counts[name] for name in _names(step, each)),  # rare ones first: they come with common ones
            each.rank()[:3],
            _lot(seed, each.id),
        ),
    )
    for candidate in order:
        names = _names(step, candidate)
        if candidate.spoken_for or any(kept[name] < most for name in names):
            kept.update(names)
        else:
            of = " and ".join(sorted(names))
            faults[candidate.id] = Fault(f"enough of a {step.by}", f"there are {most} traces of {step.by} {of} already")
    return faults


def _names(step: BalanceStep, candidate: Candidate) -> Iterable[str]:
    return [candidate.summary.kind] if step.by == "kind" else candidate.tools or [NO_TOOL]


def _lot(seed: int, id: str) -> bytes:
    return hashlib.sha256(f"{seed}:{id}".encode()).digest()
