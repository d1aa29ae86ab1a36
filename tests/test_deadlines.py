"""Time that was slept through does not count, and a result that is there beats a deadline that is past."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest

from ws402 import deadlines
from ws402.deadlines import awake, nap, wait_any, within

STALL = 0.3


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadlines, "SLICE_SECONDS", 0.1)
    monkeypatch.setattr(deadlines, "STALL_SECONDS", 0.1)


async def forever(ended: asyncio.Event) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        ended.set()


async def test_what_is_in_time_is_answered() -> None:
    async def answer() -> str:
        await asyncio.sleep(0)
        return "the answer"

    assert await within(5, answer()) == "the answer"


async def test_a_result_that_lay_in_the_socket_during_a_stall_is_taken() -> None:
    here, there = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=here)
    with there:
        waiting = asyncio.ensure_future(within(0.1, reader.readline()))
        await asyncio.sleep(0.02)
        there.send(b"the answer\n")
        time.sleep(0.8)
        assert await waiting == b"the answer\n"
        writer.close()
        await writer.wait_closed()


@pytest.mark.usefixtures("quick")
async def test_a_stall_gives_no_answer_more_than_its_time_awake() -> None:
    ended = asyncio.Event()
    waiting = asyncio.create_task(within(0.1, forever(ended)))
    await asyncio.sleep(0.02)
    time.sleep(STALL)
    began = awake()
    with pytest.raises(TimeoutError):
        await waiting
    assert ended.is_set()
    assert awake() - began <= 0.1 + deadlines.STALL_SECONDS


@pytest.mark.usefixtures("quick")
async def test_an_answer_that_came_while_nobody_was_awake_is_the_answer() -> None:
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=ours)

    async def two_steps() -> bytes:
        # More than one turn of the loop lies between the socket's being readable and the result.
        first = await reader.readexactly(3)
        await asyncio.sleep(0)
        return first + await reader.readexactly(3)

    with theirs:
        waiting = asyncio.create_task(within(STALL / 2, two_steps()))
        await asyncio.sleep(0.01)
        theirs.send(b"onetwo")
        time.sleep(STALL)
        assert await waiting == b"onetwo"
        writer.close()


@pytest.mark.usefixtures("quick")
async def test_what_was_slept_through_counts_once_for_all_who_wait() -> None:
    began, awake_then = time.monotonic(), awake()
    naps = [asyncio.create_task(nap(0.01)) for _ in range(3)]
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    waits = [asyncio.create_task(wait_any(0.05, future)) for _ in range(3)]
    await asyncio.sleep(0)
    time.sleep(STALL)
    await asyncio.gather(*naps, *waits)
    slept = (time.monotonic() - began) - (awake() - awake_then)
    assert STALL / 2 < slept <= STALL + 0.1


async def test_silence_while_awake_is_a_timeout_and_the_work_is_ended() -> None:
    ended = asyncio.Event()
    with pytest.raises(TimeoutError):
        await within(0.05, forever(ended))
    assert ended.is_set()


async def test_an_error_of_the_work_is_told_and_a_cancelled_wait_cancels_the_work() -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await within(1, fail())
    ended = asyncio.Event()
    waiting = asyncio.create_task(within(60, forever(ended)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert ended.is_set()


async def test_a_result_during_the_cancellation_counts() -> None:
    async def stubborn() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "after all"
        return "never"

    assert await within(0.02, stubborn()) == "after all"
