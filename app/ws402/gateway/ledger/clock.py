"""The ledger's clock: all gateways of one ledger count the same milliseconds, whatever their own clocks say.

What processes write into the ledger and compare with one another's (when a session opened, when its server last
reported) is told by the database's clock. Between two looks at it the time goes on at the pace of CLOCK_MONOTONIC,
which nobody sets, and it never goes back.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

SLEW: Final = 2
"""A clock that is ahead goes slower by this divisor until it is right again; it is never turned back."""


class LedgerClock:
    """Milliseconds since the epoch. `wall` and `monotonic` are in nanoseconds."""

    def __init__(
        self, *, wall: Callable[[], int] = time.time_ns, monotonic: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._monotonic = monotonic
        self._set_at = monotonic()
        self._time = self._reference = wall()
        self._told = False
        self.skew_ms = 0
        """By how much the reference was ahead of what this clock told, at the last look."""

    def now_ms(self) -> int:
        """Now; never less than what it told before."""
        self._told = True
        return self._now(self._monotonic()) // 1_000_000

    def reference_ms(self) -> int:
        """Now as the reference has it, to be compared with what others date, such as blocks; it may go back."""
        return (self._reference + self._monotonic() - self._set_at) // 1_000_000

    def mark(self) -> int:
        """What `set` wants: a moment before the reference is asked."""
        return self._monotonic()

    def set(self, reference_ms: int, asked: int, *, least_ms: int = 0) -> None:
        """The reference answered so between `asked` and now; time has come to `least_ms` at least.

        What was told before stays true; before that, this machine's own clock counts for nothing.
        """
        now = self._monotonic()
        told = reference_ms * 1_000_000 + (now - asked) // 2
        here = self._now(now)
        self.skew_ms = (told - here) // 1_000_000
        self._set_at, self._reference = now, told
        self._time = max(told, here if self._told else 0, least_ms * 1_000_000)

    def _now(self, at: int) -> int:
        passed = at - self._set_at
        # As long as it is ahead, only a part of the time counts.
        return self._time + passed - min(passed // SLEW, self._time - self._reference)
