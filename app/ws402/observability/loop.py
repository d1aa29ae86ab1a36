"""How late the event loop is: when it does not come round in time, everything waits."""

from __future__ import annotations

import asyncio
from typing import Final

from ws402.observability import metrics

PERIOD_SECONDS: Final = 0.5


class LoopLag:
    """Asks to be woken twice a second, and notes how much later it was."""

    def __init__(self) -> None:
        self._timer: asyncio.TimerHandle | None = None
        self._series = metrics.LOOP_LAG.of()

    def start(self) -> None:
        """Begin, on the running loop."""
        self._plan(asyncio.get_running_loop())

    def close(self) -> None:
        """End."""
        if self._timer is not None:
            self._timer.cancel()

    def _plan(self, loop: asyncio.AbstractEventLoop) -> None:
        due = loop.time() + PERIOD_SECONDS
        self._timer = loop.call_at(due, self._woken, loop, due)

    def _woken(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        self._series.observe(max(0.0, loop.time() - due))
        self._plan(loop)
