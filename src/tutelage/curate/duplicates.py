"""Near-duplicates by MinHash."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from tutelage.curate.candidates import Candidate, Fault
from tutelage.curate.config import DuplicatesStep
from tutelage.errors import MissingExtra
from tutelage.store import TraceStore
from tutelage.trace import Trace

WORDS = 3  # of a group
PERMUTATIONS = 128  # the estimate of a similarity s has a standard error of sqrt(s (1 - s) / 128): 0.03 at 0.9


def near_duplicates(
    step: DuplicatesStep, candidates: Sequence[Candidate], store: TraceStore, advance: Callable[[], None]
) -> dict[str, Fault]:
    """The faults of those that are nearly the same as a better one, which is named, by trace."""
    try:
        from datasketch import MinHashLSH
    except ImportError as error:
        raise MissingExtra("datasketch", "curate") from error
    # Weights: a pair that the index misses is lost, one too many is only compared in vain.
    index = MinHashLSH(threshold=step.threshold, num_perm=PERMUTATIONS, weights=(0.1, 0.9))
    kept: dict[str, Any] = {}
    faults = {}
    for candidate in sorted(candidates, key=lambda each: (not each.spoken_for, each.rank())):
        signature = _signature(content(candidate.trace(store)))
        candidate.forget()
        alike = {id: signature.jaccard(kept[id]) for id in index.query(signature)}
        nearest = max(alike, key=lambda id: alike[id], default=None)
        if nearest is not None and alike[nearest] >= step.threshold and not candidate.spoken_for:
            detail = f"it is {alike[nearest]:.0%} the same as {nearest[:10]}, which stays"
            faults[candidate.id] = Fault("near-duplicate", detail)
        else:
            kept[candidate.id] = signature
            index.insert(candidate.id, signature)
        advance()
    return faults


def content(trace: Trace) -> str:
    """What was asked, called, returned and answered; not the system prompt, which traces share, nor reasoning."""
    parts: list[str] = []
    for message in trace.messages:
        if message.role == "system":
            continue
        parts += [message.content or "", *(f"{call.name} {call.arguments}" for call in message.tool_calls)]
    return "\n".join(parts)


def _signature(text: str) -> Any:
    from datasketch import MinHash

    words = re.findall(r"\w+", text.casefold())
    groups = {" ".join(words[start : start + WORDS]) for start in range(max(1, len(words) - WORDS + 1))}
    signature = MinHash(num_perm=PERMUTATIONS)
    signature.update_batch([group.encode(errors="surrogatepass") for group in sorted(groups)])
    return signature
