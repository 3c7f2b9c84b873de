"""What `tutelage collect` shows while it runs."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tutelage.cli.common import progress

if TYPE_CHECKING:
    from tutelage.collect.progress import Progress

EVERY_SECONDS = 1.0  # a line of JSON


@contextmanager
def shown(*, as_json: bool) -> Iterator[tuple[Callable[["Progress"], None], Callable[[str], None]]]:
    """Where progress goes, and notices: a bar with lines above it; or, for scripts, JSON lines on standard error."""
    if as_json:
        yield _Lines().progress, _notice
        return
    with progress() as bar:
        line = bar.add_task("collect", total=None, note="")

        def advance(now: "Progress") -> None:
            bar.update(line, completed=now.done, total=now.rollouts, note=now.sentence())

        yield advance, lambda text: bar.console.print(text, markup=False, highlight=False)


class _Lines:
    def __init__(self) -> None:
        self._last = float("-inf")

    def progress(self, now: "Progress") -> None:
        over = not now.running and now.done + now.failed == now.rollouts
        if over or time.monotonic() - self._last >= EVERY_SECONDS:
            self._last = time.monotonic()
            print(json.dumps({"progress": now.as_dict()}), file=sys.stderr, flush=True)


def _notice(text: str) -> None:
    print(json.dumps({"notice": text}, ensure_ascii=False), file=sys.stderr, flush=True)
