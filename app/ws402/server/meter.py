"""What a session has used and what that costs: integers on a monotonic clock, no clock of its own."""

from __future__ import annotations

from ws402.money import price


class Meter:
    """Times are milliseconds of any one monotonic clock, amounts are smallest units.

    The meter never counts past the moment at which all that was paid is used, nor past `limit_ms` of use: whoever looks
    late (the ticker, a busy loop) does not make the payer pay for it.
    """

    __slots__ = ("_base_ms", "_exhausted_ms", "_limit_ms", "_started_at", "_stopped_ms", "paid", "price_per_second")

    def __init__(self, *, paid: int, price_per_second: int, now: int, limit_ms: int, used_ms: int = 0) -> None:
        """Start at `now`; `used_ms` is what the session used before, on other sockets."""
        self.paid = paid
        self.price_per_second = price_per_second
        self._base_ms = used_ms
        self._started_at = now
        self._limit_ms = limit_ms
        self._exhausted_ms = _lasts_ms(paid, price_per_second)
        self._stopped_ms: int | None = None

    def begin(self, now: int) -> None:
        """Count from here: what came before was preparation."""
        self._started_at = now

    def elapsed_ms(self, now: int) -> int:
        """Use so far: final once stopped."""
        if self._stopped_ms is not None:
            return self._stopped_ms
        elapsed = self._base_ms + now - self._started_at
        return min(elapsed, self._exhausted_ms, self._limit_ms)

    def consumed(self, now: int) -> int:
        """What the use so far costs; never more than was paid."""
        return min(self.paid, price(self.elapsed_ms(now), self.price_per_second))

    def remaining(self, now: int) -> int:
        """What is left of what was paid."""
        return self.paid - self.consumed(now)

    def stops_at(self) -> int:
        """The moment at which the session must end if nothing is added."""
        return self._started_at - self._base_ms + min(self._exhausted_ms, self._limit_ms)

    def exhausts_at(self) -> int | None:
        """The moment at which all that was paid is used; None when the limit of use comes first."""
        if self._exhausted_ms > self._limit_ms:
            return None
        return self._started_at - self._base_ms + self._exhausted_ms

    def is_exhausted(self, now: int) -> bool:
        """Whether all that was paid is used; False when the limit of use comes first."""
        moment = self.exhausts_at()
        return moment is not None and now >= moment

    def add(self, amount: int) -> None:
        """More was paid."""
        self.paid += amount
        self._exhausted_ms = _lasts_ms(self.paid, self.price_per_second)

    def stop(self, now: int, *, unused: bool = False) -> int:
        """Make the use final and answer it in milliseconds; stopping again changes nothing.

        `unused`: nothing was delivered since the start, so nothing is charged for it.
        """
        if self._stopped_ms is None:
            self._stopped_ms = self._base_ms if unused else self.elapsed_ms(now)
        return self._stopped_ms


def _lasts_ms(paid: int, price_per_second: int) -> int:
    """The least number of milliseconds that costs `paid` or more."""
    return -(-paid * 1000 // price_per_second)
