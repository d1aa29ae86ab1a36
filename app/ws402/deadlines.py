"""Deadlines that do not punish a stall: a result that is there beats a deadline that is past.

When a process has stood still (suspended, starved, a long step of its loop), its timers are due before what came
meanwhile has been read. A deadline that is noticed late therefore gives the answer a moment more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

LATE_SECONDS: Final = 0.5
"""A timer that fires so much too late means that the loop stood still."""
MORE_SECONDS: Final = 1.0
"""What the answer gets then."""

Result = TypeVar("Result")


async def within(seconds: float, work: Awaitable[Result], *, clock: Callable[[], float] | None = None) -> Result:
    """The result of `work`, which is cancelled after this many seconds in which the loop ran. Raises TimeoutError.

    `clock` is the loop's by default.
    """
    now = clock or asyncio.get_running_loop().time
    task = asyncio.ensure_future(work)
    try:
        wait = seconds
        while True:
            due = now() + wait
            await asyncio.wait([task], timeout=wait)
            if task.done():
                return task.result()
            if now() - due < LATE_SECONDS:
                break
            wait = min(seconds, MORE_SECONDS)
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait([task])
        raise
    task.cancel()
    await asyncio.wait([task])
    if task.cancelled():
        raise TimeoutError
    return task.result()
