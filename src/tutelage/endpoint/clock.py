"""A rollout's clock, which stands still while an endpoint keeps it waiting or a person thinks."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stopped(clock: asyncio.Timeout | None) -> Iterator[None]:
    """What happens in here takes none of the clock's time; None: there is no clock."""
    due = clock.when() if clock else None
    if clock is None or due is None:
        yield
        return
    began = asyncio.get_running_loop().time()
    clock.reschedule(None)
    try:
        yield
    finally:
        clock.reschedule(due + asyncio.get_running_loop().time() - began)


def give_back(clock: asyncio.Timeout | None, since: float) -> None:
    """Let the time from `since`, of the event loop's, to now not have passed."""
    due = clock.when() if clock else None
    if clock is not None and due is not None:
        clock.reschedule(due + asyncio.get_running_loop().time() - since)
