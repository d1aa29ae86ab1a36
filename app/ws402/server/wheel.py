"""The one timer of a server: all that must happen later (usage updates, exhaustion, deadlines, pings) waits here.

A timer, task or queue for each session would cost more than the session. Instead, a session stands in the bucket of its
next due moment; every `TICK_MS` the bucket that is due is emptied.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Protocol

from ws402.server.clock import AwakeClock

TICK_MS: Final = 50
"""How late something may happen. What is charged does not depend on it (see `Meter`)."""

logger = logging.getLogger(__name__)


class Timed(Protocol):
    """Something that waits in a wheel. `due_tick` belongs to the wheel and starts as 0."""

    due_tick: int

    def tick(self, now: int) -> None:
        """It is time; schedule the next moment if there is one."""

    def broken(self) -> None:
        """`tick` raised, which is a bug: end what this stands for."""


class Wheel:
    """Buckets by tick, one timer for all."""

    def __init__(self, clock: Callable[[], int] | None = None) -> None:
        self.clock = clock or AwakeClock()
        self._buckets: dict[int, set[Timed]] = {}
        self._next = self.clock() // TICK_MS
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to turn, on the running loop."""
        if self._timer is None:
            if isinstance(self.clock, AwakeClock):
                self.clock.watch()
            self._turn(asyncio.get_running_loop())

    def stop(self) -> None:
        """Turn no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def schedule(self, item: Timed, at: int) -> None:
        """Call `item.tick` at this moment or up to a tick later; replaces the moment that it waited for before."""
        tick = max(-(-at // TICK_MS), self._next)
        old = item.due_tick
        if old == tick:
            return
        if old:
            self._remove(item, old)
        item.due_tick = tick
        bucket = self._buckets.get(tick)
        if bucket is None:
            self._buckets[tick] = {item}
        else:
            bucket.add(item)

    def cancel(self, item: Timed) -> None:
        """Forget what the item waits for."""
        if item.due_tick:
            self._remove(item, item.due_tick)
            item.due_tick = 0

    def _remove(self, item: Timed, tick: int) -> None:
        bucket = self._buckets.get(tick)
        if bucket is not None:
            bucket.discard(item)

    def turn(self, now: int) -> None:
        """Run everything that is due."""
        current = now // TICK_MS
        while self._next <= current:
            tick = self._next
            self._next += 1
            for item in self._buckets.pop(tick, ()):
                if item.due_tick != tick:  # an earlier step of this bucket cancelled it
                    continue
                item.due_tick = 0
                try:
                    item.tick(now)
                except Exception:
                    logger.exception("a timed step failed; its session ends")
                    item.broken()

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(TICK_MS / 1000, self._turn, loop)
        self.turn(self.clock())
