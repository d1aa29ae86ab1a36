"""A circuit breaker: when the gateway cannot be reached again and again, calls fail at once for a while instead of
piling up. What it answers, good or bad, shows that it can be reached.
"""

from __future__ import annotations

import time
from typing import Final

from ws402.backoff import doubled, spread
from ws402.errors import UnavailableError

FAILURES: Final = 5
"""In a row, before the breaker opens."""

FIRST_SECONDS: Final = 0.5
MAX_SECONDS: Final = 10.0


class Breaker:
    """Closed: calls pass. Open: they are refused. After a pause one call passes and decides."""

    def __init__(self, *, failures: int = FAILURES) -> None:
        self._limit = failures
        self._failed = 0
        self._until = 0.0
        self._probing = False

    @property
    def open(self) -> bool:
        """Whether calls are refused now."""
        return self._failed >= self._limit and (self._probing or time.monotonic() < self._until)

    def enter(self) -> None:
        """Before a call. Raises UnavailableError when the breaker is open."""
        if self._failed < self._limit:
            return
        if self.open:
            raise UnavailableError(
                "The payment gateway fails; not asking it for some seconds.",
                remedy="Check that GATEWAY_URL is right and that the gateway runs.",
                code="gateway_unavailable",
            )
        self._probing = True

    def succeeded(self) -> None:
        """The gateway answered."""
        self._failed = 0
        self._probing = False

    def left(self) -> None:
        """The call was given up, which tells nothing; the next one may probe."""
        self._probing = False

    def failed(self) -> None:
        """The gateway did not answer."""
        self._failed += 1
        self._probing = False
        if self._failed >= self._limit:
            pause = doubled(self._failed - self._limit, first=FIRST_SECONDS, most=MAX_SECONDS)
            self._until = time.monotonic() + spread(pause / 2, pause)
