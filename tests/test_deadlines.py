"""A result that is there beats a deadline that is past."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest

from ws402.deadlines import within


async def answer(after: float = 0.0) -> str:
    await asyncio.sleep(after)
    return "the answer"


async def test_what_is_in_time_is_answered() -> None:
    assert await within(5, answer()) == "the answer"


async def test_what_is_too_late_is_cancelled() -> None:
    cancelled = []

    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    with pytest.raises(TimeoutError):
        await within(0.02, slow())
    assert cancelled == [True]


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


async def test_a_loop_that_was_late_gives_no_answer_twice_the_time_and_no_more() -> None:
    times = iter([0.0, 90.0, 90.0, 90.1])  # the first wait ends 90 s late, the second in time
    with pytest.raises(TimeoutError):
        await within(0.05, asyncio.Event().wait(), clock=lambda: next(times))
    assert list(times) == []


async def test_an_error_of_the_work_is_its_own() -> None:
    async def fail() -> None:
        raise ValueError("its own")

    with pytest.raises(ValueError, match="its own"):
        await within(1, fail())


async def test_who_is_cancelled_cancels_the_work() -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    waiting = asyncio.ensure_future(within(60, work()))
    await started.wait()
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
