"""One answer for all who ask."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from ws402.server.web.shared import Shared


async def test_who_goes_away_ends_it_for_nobody_else() -> None:
    go = asyncio.Event()

    async def ask() -> int:
        await go.wait()
        return 7

    shared = Shared(ask, 60)
    hasty, patient = asyncio.create_task(shared()), asyncio.create_task(shared())
    await asyncio.sleep(0)
    hasty.cancel()
    go.set()
    assert await patient == 7
    assert hasty.cancelled()


async def test_an_error_that_nobody_waits_for_any_more_is_no_error_of_the_loops() -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    go = asyncio.Event()

    async def ask() -> int:
        await go.wait()
        raise OSError

    shared = Shared(ask, 60)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await shared()
    go.set()
    for _ in range(5):
        await asyncio.sleep(0)
    with pytest.raises(OSError):  # noqa: PT011 - the error of before
        await shared()

    again = Shared(ask, 60)
    go.clear()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await again()
    go.set()
    for _ in range(5):
        await asyncio.sleep(0)
    del again
    gc.collect()
    assert told == []
