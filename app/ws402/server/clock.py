"""The clock of a server's sessions: it stands still while the process does.

A process that is stopped, or a virtual machine that is frozen, serves nobody, hears nobody and must charge nobody: all
deadlines, meters and pings read this clock and count on from where they were.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

LONGEST_STEP_MS: Final = 2_000
"""The wheel looks at the clock twenty times a second; whoever looks so much later than the last time has slept."""

logger = logging.getLogger(__name__)


def monotonic_ms() -> int:
    """Milliseconds of the monotonic clock: never set back, the same for all sessions of this process."""
    return time.monotonic_ns() // 1_000_000


class AwakeClock:
    """Milliseconds of `source`, less those in which nobody looked, once `watch` has said that somebody looks often."""

    __slots__ = ("_last", "_slept", "_source", "_watched")

    def __init__(self, source: Callable[[], int] = monotonic_ms) -> None:
        self._source = source
        self._slept = 0
        self._last = source()
        self._watched = False

    def watch(self) -> None:
        """From now on, long steps are sleep."""
        self()
        self._watched = True

    def __call__(self) -> int:
        """Now; after a sleep, the moment at which it began."""
        now = self._source()
        step = now - self._last
        self._last = now
        if step > LONGEST_STEP_MS and self._watched:
            self._slept += step
            logger.warning("this process stood still for %.1f s; no session is charged for that", step / 1000)
        return now - self._slept
