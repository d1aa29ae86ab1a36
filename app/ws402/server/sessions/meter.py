"""What a session has used and what that costs: integers on a monotonic clock, no clock of its own."""

from __future__ import annotations

from collections.abc import Mapping

from ws402.money import MAX_JSON_INTEGER
from ws402.prices import Price


class Meter:
    """Times are milliseconds of any one monotonic clock, amounts are smallest units.

    The meter never counts past the moment at which all that was paid is used, nor past `limit_ms` of use: whoever looks
    late (the ticker, a busy loop) does not make the payer pay for it. What is charged once nothing is left is free.
    """

    __slots__ = (
        "_charged",
        "_exhausted_ms",
        "_limit_ms",
        "_stopped_ms",
        "_used_ms",
        "_zero",
        "paid",
        "price",
        "stops_at",
        "units",
    )

    def __init__(
        self,
        *,
        paid: int,
        price: Price,
        now: int,
        limit_ms: int,
        used_ms: int = 0,
        units: Mapping[str, int] | None = None,
    ) -> None:
        """Start at `now`; `used_ms` and `units` are what the session used before, on other sockets."""
        self.paid = paid
        self.price = price
        self.units: dict[str, int] | None = None
        """How many of each unit that has a price were used; None where only time has one."""
        self._charged = 0
        if price.units:
            self.units = {unit: (units or {}).get(unit, 0) for unit in price.units}
            self._charged = price.charged(self.units)
        self._used_ms = used_ms
        self._limit_ms = limit_ms
        self._stopped_ms: int | None = None
        self.begin(now)

    def begin(self, now: int) -> None:
        """Count from here: the time before, on this socket, was no use."""
        self._zero = now - self._used_ms
        """The moment at which the session would have begun without any pause."""
        self._exhausted_ms = self._used_ms if self._charged else 0  # what was charged may have used it all
        self._plan()

    def reading(self, now: int) -> tuple[int, int]:
        """Use in milliseconds and its price, while the meter runs and before `stops_at`: what updates need, fast."""
        elapsed = now - self._zero
        return elapsed, self.price.cost(elapsed, self._charged)

    def elapsed_ms(self, now: int) -> int:
        """Use so far: final once stopped."""
        if self._stopped_ms is not None:
            return self._stopped_ms
        return min(now - self._zero, self._exhausted_ms, self._limit_ms)

    def consumed(self, now: int) -> int:
        """What the use so far costs; never more than was paid."""
        return min(self.paid, self.price.cost(self.elapsed_ms(now), self._charged))

    def remaining(self, now: int) -> int:
        """What is left of what was paid."""
        return self.paid - self.consumed(now)

    def exhausts_at(self) -> int | None:
        """The moment at which all that was paid is used; None when the limit of use comes first."""
        if self._exhausted_ms > self._limit_ms:
            return None
        return self._zero + self._exhausted_ms

    def is_exhausted(self, now: int) -> bool:
        """Whether all that was paid is used; False when the limit of use comes first."""
        moment = self.exhausts_at()
        return moment is not None and now >= moment

    def charge(self, now: int, unit: str, count: int) -> None:
        """So many units were used. One that has no price is free, and a meter that stands still counts nothing."""
        units = self.units
        if units is None or unit not in units or self._stopped_ms is not None or now >= self.stops_at:
            return
        count = min(count, MAX_JSON_INTEGER - units[unit])
        units[unit] += count
        self._charged += self.price.units[unit] * count
        self._exhausted_ms = now - self._zero  # never before what is used already
        self._plan()

    def add(self, amount: int) -> None:
        """More was paid."""
        self.paid += amount
        self._plan()

    def stop(self, now: int) -> int:
        """Make the use final and answer it in milliseconds; stopping again changes nothing."""
        if self._stopped_ms is None:
            self._stopped_ms = self.elapsed_ms(now)
        return self._stopped_ms

    def _plan(self) -> None:
        """When it must stop: at the least number of milliseconds that costs what was paid, or at the limit."""
        self._exhausted_ms = max(self._exhausted_ms, self.price.exhausts_ms(self.paid, self._charged))
        self.stops_at = self._zero + min(self._exhausted_ms, self._limit_ms)
        """The moment at which the session must end if nothing is added."""
