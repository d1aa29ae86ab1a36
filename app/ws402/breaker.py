"""A circuit breaker: when a service cannot be reached again and again, calls fail at once for a while instead of
piling up. What it answers, good or bad, shows that it can be reached.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from ws402.backoff import doubled, spread
from ws402.errors import UnavailableError

FAILURES: Final = 5
"""In a row, before the breaker opens."""

FIRST_SECONDS: Final = 0.5
MAX_SECONDS: Final = 10.0


class Breaker:
    """Closed: calls pass. Open: they are refused. After a pause one call passes and decides."""

    def __init__(self, refusal: Callable[[], UnavailableError], *, failures: int = FAILURES) -> None:
        """`refusal`: the error of a call that is refused."""
        self._refusal = refusal
        self._limit = failures
        self._failed = 0
        self._until = 0.0
        self._probing = False

    @property
    def open(self) -> bool:
        """Whether calls are refused now."""
        return self._failed >= self._limit and (self._probing or time.monotonic() < self._until)

    def enter(self) -> None:
        """Before a call. Raises the refusal when the breaker is open."""
        if self._failed < self._limit:
            return
        if self.open:
            raise self._refusal()
        self._probing = True

    def succeeded(self) -> None:
        """The service answered."""
        self._failed = 0
        self._probing = False

    def left(self) -> None:
        """The call was given up, which tells nothing; the next one may probe."""
        self._probing = False

    def failed(self) -> None:
        """The service did not answer."""
        self._failed += 1
        self._probing = False
        if self._failed >= self._limit:
            pause = doubled(self._failed - self._limit, first=FIRST_SECONDS, most=MAX_SECONDS)
            self._until = time.monotonic() + spread(pause / 2, pause)
