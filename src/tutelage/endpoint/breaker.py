"""A circuit breaker: while an endpoint is down, a run pauses, and its calls are kept and made again.

A call that fails twice while others are answered is its own trouble, and fails; once, it may have begun before the last
answer of an endpoint that went down then. Where nobody's calls are answered, all wait: each pause is twice as long as
the one before it, and at its end one small request tells whether the endpoint is back.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tutelage.endpoint.clock import give_back, stopped
from tutelage.endpoint.errors import EndpointError, EndpointUnreachable, Outage

FAILURES = 5  # calls in a row, none answered between them, each of them retried by the client
Answer = TypeVar("Answer")


class GivenUp(EndpointUnreachable):
    """The endpoint stayed down for longer than a run waits."""


class Breaker:
    """Shared by all calls of a run."""

    def __init__(self, first_seconds: float, pauses: int, notice: Callable[[str], None]) -> None:
        """Pause at most `pauses` times for one outage, the first time for `first_seconds`; `notice` tells of each."""
        self._first_seconds, self._pauses, self._notice = first_seconds, pauses, notice
        self._pausing = asyncio.Lock()  # held during a pause
        self._answered = 0  # calls
        self._failures = 0  # in a row
        self._outages = 0  # that are over

    async def call(
        self,
        ask: Callable[[], Awaitable[Answer]],
        probe: Callable[[], Awaitable[object]],
        clock: asyncio.Timeout | None = None,
    ) -> Answer:
        """What `ask` gives, in the end; `probe` asks whether the endpoint is back.

        `clock` stands still in pauses, and what failed before them takes none of its time.

        An endpoint that has not answered yet fails at once: it is not down, but wrong or not started. Raises what `ask`
        raises, and GivenUp.
        """
        proven = suspect = False  # that the endpoint answers, and this call all the same fails; that it may be so
        while True:
            if self._pausing.locked():
                with stopped(clock):
                    async with self._pausing:
                        pass
            answered, began = self._answered, asyncio.get_running_loop().time()
            try:
                answer = await ask()
            except Outage as error:
                if proven or not answered or (suspect and self._answered > answered):
                    raise
                give_back(clock, began)
                if self._answered > answered:
                    suspect = True
                    continue
                with stopped(clock):
                    proven = await self._failed(error, probe)
                continue
            self._answered += 1
            self._failures = 0
            return answer

    async def _failed(self, error: Outage, probe: Callable[[], Awaitable[object]]) -> bool:
        """Count a failure, and wait where it is one too many; whether the endpoint was seen to answer since."""
        self._failures += 1
        if self._failures < FAILURES:
            return False
        outages = self._outages
        async with self._pausing:
            if self._outages == outages:  # else another call waited for the end of this one
                await self._wait_for_the_end(error, probe)
        return True

    async def _wait_for_the_end(self, error: Outage, probe: Callable[[], Awaitable[object]]) -> None:
        waited = 0.0
        for number in range(self._pauses):
            seconds = self._first_seconds * 2**number
            waited += seconds
            self._notice(f"{error} The run pauses for {seconds:g} s ({number + 1} of {self._pauses}).")
            await asyncio.sleep(seconds)
            try:
                await probe()
            except Outage as again:
                error = again
                continue
            except EndpointError:
                pass  # it answers; what it says of the probe is not the run's business
            self._outages += 1
            self._failures = 0
            self._notice("The endpoint answers again; the run goes on.")
            return
        raise GivenUp(
            f"{error} The run paused {self._pauses} times, {waited:g} s in all, and stops. The tasks that were under "
            "way are undone, not failed: run the same command again once the endpoint answers."
        )
