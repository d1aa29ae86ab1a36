"""One answer for all who ask within a short time, so that strangers cannot make a server ask on and on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from ws402.limits import Clock

T = TypeVar("T")


class Shared(Generic[T]):
    """The answer of `ask`, or its error, is given out again for so many seconds."""

    def __init__(self, ask: Callable[[], Awaitable[T]], seconds: float, clock: Clock = time.monotonic) -> None:
        self._ask = ask
        self._seconds = seconds
        self._clock = clock
        self._until = 0.0
        self._latest: asyncio.Task[T] | None = None

    async def __call__(self) -> T:
        """The answer. Raises what `ask` raised."""
        if self._latest is None or (self._latest.done() and self._clock() >= self._until):
            self._latest = asyncio.create_task(self._fetch())
            self._latest.add_done_callback(_seen)
        asked = self._latest
        await asyncio.wait([asked])  # who goes away ends it for nobody
        return asked.result()

    async def _fetch(self) -> T:
        try:
            return await self._ask()
        finally:
            self._until = self._clock() + self._seconds


def _seen(done: asyncio.Task[T]) -> None:
    """Whoever asked may have gone before the error came: it is given to the next one, and is no error of the loop's."""
    if not done.cancelled():
        done.exception()
