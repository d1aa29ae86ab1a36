"""The payer's own view of a session's meter: what it shows, and whether it can be true."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import msgspec

from ws402.money import parse_amount
from ws402.prices import BYTES, MESSAGES, Price
from ws402.protocol import EndReason, SessionStarted, UsageUpdate, stated_price

CLOCK_SLACK_MS: Final = 2_000
"""How far a server's meter may run ahead of ours: clocks, and the time that a message takes."""


_CLOCK: Final[int | None] = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))


def now() -> float:
    """Seconds on a clock that goes on while the machine sleeps: the server's meter does (Linux: CLOCK_BOOTTIME)."""
    return time.monotonic() if _CLOCK is None else time.clock_gettime(_CLOCK)


def started_price(started: SessionStarted) -> Price:
    """What a session charges, as its server says at the start. Raises PriceError, AmountError."""
    price = stated_price(started.price_per_second, started.price)
    assert price is not None  # noqa: S101 - the message has one
    return price


@dataclass(frozen=True, slots=True)
class Usage:
    """Use so far, as the server last said. Amounts are smallest units."""

    elapsed_seconds: int = 0
    consumed: int = 0
    remaining: int = 0
    bytes_transferred: int = 0
    message_count: int = 0
    units: dict[str, int] = field(default_factory=dict)
    """How much was used of what has a price beside time."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """A session's end. Amounts are smallest units; paid = consumed + refund."""

    paid: int
    """Top-ups included."""
    consumed: int
    """What was used of it, and is not given back."""
    refund: int
    """What goes back to the payer."""
    refund_id: str | None = None
    """By which the refund's state can be asked."""
    reason: EndReason | None = None
    """Why it ended."""
    exact: bool = True
    """False: the server did not say (stock servers do not); `consumed` is by our own clock."""


@dataclass(frozen=True, slots=True)
class Refund:
    """Where the refund is. `seen`: the chain, by our own node, shows that `tx_hash` paid it; None: nobody asked."""

    amount: int
    state: str
    tx_hash: str | None = None
    seen: bool | None = None


class Meter:
    """Counts along. The server's figures count, but never more than our own clock, and what passed here, allow.

    Messages and bytes are those of the session's sockets, both ways; what was lost with a socket, or went by HTTP, is
    the server's to say, and so is what the resource charges. The spending cap covers all of it.
    """

    def __init__(self, *, price: Price, paid: int, started_ms_ago: int = 0, resumed: bool = False) -> None:
        self.price = price
        self.paid = paid
        self.usage = Usage(remaining=paid)
        self._began = now() - started_ms_ago / 1000
        self._updated = now()
        self._passed = dict.fromkeys({MESSAGES, BYTES} & set(price.units), 0)
        self._unseen = resumed
        """Messages may have passed that we know nothing of: take the server's next figures for them."""
        self.over_http = False
        """Bytes go past our sockets."""

    def passed(self, message: str | bytes) -> None:
        """A message of the session, either way."""
        if self._passed:
            size = len(message if isinstance(message, bytes) else message.encode())
            for unit, count in ((MESSAGES, 1), (BYTES, size)):
                if unit in self._passed:
                    self._passed[unit] += count

    def resumed(self) -> None:
        """A socket was lost, and maybe messages with it."""
        self._unseen = True

    def update(self, message: UsageUpdate) -> None:
        """Take the server's figures. Raises AmountError."""
        consumed = parse_amount(message.consumed_amount, zero=True)
        self.usage = Usage(
            elapsed_seconds=message.elapsed_seconds,
            consumed=consumed,
            remaining=parse_amount(message.remaining_balance, zero=True),
            bytes_transferred=message.bytes_transferred,
            message_count=message.message_count,
            units={} if message.units is msgspec.UNSET else message.units,
        )
        self._updated = now()

    def fair(self, consumed: int, units: Mapping[str, int]) -> bool:
        """Whether this much can have been consumed by now."""
        if self._unseen:
            self._unseen = False
            self._passed = {unit: max(count, units.get(unit, 0)) for unit, count in self._passed.items()}
        elapsed = self._elapsed_ms() + CLOCK_SLACK_MS
        return consumed <= self.price.cost(elapsed, self.price.charged(self._allowed(units)))

    def _allowed(self, units: Mapping[str, int]) -> dict[str, int]:
        """As the server says, but of messages and bytes no more than passed here."""
        seen = {MESSAGES: self._passed.get(MESSAGES, 0)} if self.over_http else self._passed
        return {unit: min(count, seen.get(unit, count)) for unit, count in units.items()}

    def balance(self, remaining: int) -> None:
        """The server said what is left, without the rest."""
        self.usage = replace(self.usage, remaining=remaining)
        self._updated = now()

    @property
    def remaining(self) -> int:
        """What is left now: the last figure, less what the time since then costs."""
        since = int((now() - self._updated) * 1000)
        return max(self.usage.remaining - self.price.cost(since), 0)

    def estimate(self) -> Settlement:
        """The settlement by our own clock and count."""
        charged = self.price.charged(self.usage.units | self._passed)
        consumed = min(max(self.price.cost(self._elapsed_ms(), charged), self.usage.consumed), self.paid)
        return Settlement(paid=self.paid, consumed=consumed, refund=self.paid - consumed, exact=False)

    def _elapsed_ms(self) -> int:
        return int((now() - self._began) * 1000)
