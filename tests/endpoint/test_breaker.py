"""The breaker, with calls that a test answers; its pauses are a few hundredths of a second."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tutelage.endpoint.breaker import FAILURES, Breaker, GivenUp
from tutelage.endpoint.clock import stopped
from tutelage.endpoint.errors import EndpointDown, EndpointError, NoCompletion

DOWN = EndpointDown("nobody answers.")


class Endpoint:
    """Up until it is switched off."""

    def __init__(self, breaker: Breaker) -> None:
        self.breaker, self.up, self.asked, self.probes = breaker, True, 0, 0
        self.back_at_probe = 1

    async def call(self) -> str:
        return await self.breaker.call(self.ask, self.probe)

    async def ask(self) -> str:
        self.asked += 1
        await asyncio.sleep(0)
        if not self.up:
            raise DOWN
        return "hello"

    async def probe(self) -> None:
        self.probes += 1
        if self.probes < self.back_at_probe:
            raise DOWN
        self.up = True


def run(test: Callable[[Endpoint], Awaitable[None]], pauses: int = 3) -> list[str]:
    """The notices."""
    said: list[str] = []
    asyncio.run(test(Endpoint(Breaker(0.01, pauses, said.append))))  # type: ignore[arg-type]
    return said


def test_calls_wait_for_an_endpoint_that_is_down_and_are_made_again() -> None:
    async def test(endpoint: Endpoint) -> None:
        await endpoint.call()
        endpoint.up, endpoint.back_at_probe = False, 2
        assert await asyncio.gather(*(endpoint.call() for _ in range(8))) == ["hello"] * 8
        assert endpoint.probes == 2

    said = run(test)
    assert said == [
        "nobody answers. The run pauses for 0.01 s (1 of 3).",
        "nobody answers. The run pauses for 0.02 s (2 of 3).",
        "The endpoint answers again; the run goes on.",
    ]


def test_a_call_that_began_before_the_last_answer_waits_for_the_end_of_the_outage_too() -> None:
    async def test(endpoint: Endpoint) -> None:
        await endpoint.call()
        tries = 0

        async def ask() -> str:
            nonlocal tries
            tries += 1
            if tries == 1:
                await endpoint.call()  # another's answer, the last one
                endpoint.up = False
            return await endpoint.ask()

        assert await endpoint.breaker.call(ask, endpoint.probe) == "hello"
        assert tries == 1 + FAILURES + 1

    assert run(test)[-1] == "The endpoint answers again; the run goes on."


def test_after_so_many_pauses_the_run_is_given_up() -> None:
    async def test(endpoint: Endpoint) -> None:
        await endpoint.call()
        endpoint.up, endpoint.back_at_probe = False, 9
        with pytest.raises(GivenUp, match=r"paused 3 times, 0\.07 s in all.*undone, not failed"):
            await endpoint.call()
        assert endpoint.asked == 1 + FAILURES

    run(test)


def test_an_endpoint_that_never_answered_fails_at_once() -> None:
    async def test(endpoint: Endpoint) -> None:
        endpoint.up = False
        with pytest.raises(EndpointDown):
            await endpoint.call()

    assert run(test) == []


def test_a_call_that_fails_while_others_are_answered_fails_alone() -> None:
    async def test(endpoint: Endpoint) -> None:
        await endpoint.call()

        async def cut_off() -> str:
            await endpoint.call()
            raise NoCompletion("half an answer")

        with pytest.raises(NoCompletion):
            await endpoint.breaker.call(cut_off, endpoint.probe)
        assert endpoint.probes == 0

    assert run(test) == []


def test_the_last_call_of_a_run_is_told_from_an_outage_by_the_probe() -> None:
    async def test(endpoint: Endpoint) -> None:
        await endpoint.call()

        async def cut_off() -> str:
            raise NoCompletion("half an answer")

        with pytest.raises(NoCompletion):
            await endpoint.breaker.call(cut_off, endpoint.probe)
        assert endpoint.probes == 1

    assert len(run(test)) == 2


def test_what_is_wrong_with_a_request_is_no_outage() -> None:
    async def test(endpoint: Endpoint) -> None:
        await endpoint.call()

        async def wrong() -> str:
            raise EndpointError("422")

        for _ in range(FAILURES + 1):
            with pytest.raises(EndpointError, match="422"):
                await endpoint.breaker.call(wrong, endpoint.probe)

    assert run(test) == []


def test_an_outage_takes_none_of_the_clocks_time() -> None:
    async def test(endpoint: Endpoint) -> None:
        await endpoint.call()
        endpoint.up = False

        async def slowly() -> str:
            if not endpoint.up:
                await asyncio.sleep(0.1)
            return await endpoint.ask()

        async with asyncio.timeout(0.3) as clock:
            assert await endpoint.breaker.call(slowly, endpoint.probe, clock) == "hello"

    run(test)


def test_a_clock_that_is_stopped_does_not_run_out() -> None:
    async def test() -> None:
        async with asyncio.timeout(0.2) as clock:
            with stopped(clock):
                await asyncio.sleep(0.4)
            await asyncio.sleep(0)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01) as clock:
                with stopped(clock):
                    await asyncio.sleep(0.02)
                await asyncio.sleep(30)

    asyncio.run(test())
