"""Waiting that is fair to whoever was asleep: a suspended machine, a stopped process, a loop that stood still.

A deadline passes while nobody looks, and asyncio then cancels even what has its result waiting in the socket's buffer.
Here only the time counts in which this process could have noticed an answer, and a result that is there is the answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import Any, Final, TypeVar

SLICE_SECONDS: Final = 2.0
"""How often a wait looks at the clock."""
STALL_SECONDS: Final = 0.5
"""A look that comes this much too late was slept through; less is a busy machine."""

T = TypeVar("T")


class _Asleep:
    """Seconds that this process has slept through, each counted once however many waits noticed it."""

    seconds = 0.0
    until = 0.0


def awake() -> float:
    """A monotonic clock, seconds, that leaves out what was slept through while something waited here."""
    return time.monotonic() - _Asleep.seconds


async def within(seconds: float, work: Awaitable[T]) -> T:
    """The result of `work`, which may take this long while the process is awake. Raises TimeoutError."""
    task = asyncio.ensure_future(work)
    end = awake() + seconds
    try:
        while not task.done() and (left := end - awake()) > 0:
            await _look({task}, min(left, SLICE_SECONDS))
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
    if task.cancelled():
        raise TimeoutError
    return task.result()


async def wait_any(seconds: float, *futures: asyncio.Future[Any]) -> None:
    """Until one of the futures is done, or this long of being awake; cancels none of them."""
    end = awake() + seconds
    while not any(each.done() for each in futures) and (left := end - awake()) > 0:
        await _look(set(futures), min(left, SLICE_SECONDS))


async def nap(seconds: float) -> None:
    """Sleep, and tell `awake` when it took much longer."""
    began = time.monotonic()
    await asyncio.sleep(seconds)
    _noticed(began + seconds)


async def _look(futures: set[asyncio.Future[Any]], seconds: float) -> None:
    began = time.monotonic()
    await asyncio.wait(futures, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    _noticed(began + seconds)


def _noticed(due: float) -> None:
    now = time.monotonic()
    if now - due > STALL_SECONDS:
        _Asleep.seconds += now - max(due, _Asleep.until)
        _Asleep.until = now
