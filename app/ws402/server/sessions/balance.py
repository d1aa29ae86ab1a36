"""How long a session's balance lasts, as time passes and units are charged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ws402.errors import InvalidRequestError
from ws402.money import MAX_JSON_INTEGER, wire_amount
from ws402.prices import BYTES, MESSAGES
from ws402.protocol import BalanceLow
from ws402.server.sessions.http_line import HttpLine
from ws402.server.sessions.meter import Meter
from ws402.server.sockets.socket import Socket

if TYPE_CHECKING:
    from ws402.server.sessions.context import SessionContext

LOW_SECONDS: Final = 30
"""`balance_low` is sent when the balance lasts this long, or a fifth of what was paid if that is less."""


class Balance:
    """The part of a session that knows when its money ends."""

    __slots__ = (
        "context",
        "due_tick",
        "ended",
        "id",
        "low_at",
        "meter",
        "next_event",
        "next_ping",
        "next_update",
        "socket",
    )

    context: SessionContext
    due_tick: int
    ended: bool
    id: str
    low_at: int
    meter: Meter
    next_event: int
    next_ping: int
    next_update: int
    socket: Socket | HttpLine

    if TYPE_CHECKING:

        def tick(self, now: int) -> None:
            """See `Session`."""

        def broken(self) -> None:
            """See `Session`."""

        def _run_out(self, now: int) -> None: ...

    def charge(self, count: int, unit: str) -> bool:
        """So many units were used: a unit that has no price is free. Whether the session goes on."""
        if type(count) is not int or not 0 <= count <= MAX_JSON_INTEGER:
            raise InvalidRequestError(f"{count!r} {unit} cannot be charged.", remedy="Charge a whole number from 0 on.")
        if self.meter.units is not None and self.next_update and not self.ended:
            now = self.context.wheel.clock()
            self.meter.charge(now, unit, count)
            self._look(now)
        return not self.ended

    def _passed(self, size: int) -> bool:
        """A message of this many bytes, either way. Whether the session goes on."""
        now = self.context.wheel.clock()
        self.meter.charge(now, MESSAGES, 1)
        self.meter.charge(now, BYTES, size)
        self._look(now)
        return not self.ended

    def _look(self, now: int) -> None:
        """What was charged brings the end nearer."""
        if now >= self.meter.stops_at:
            self._run_out(now)
        elif self.low_at:
            self._watch_balance()
        elif self.meter.stops_at < self.next_event:
            self._plan()
            self._schedule()

    def _watch_balance(self) -> None:
        """When to warn that the balance runs low; 0 for never."""
        moment = self.meter.exhausts_at()
        self.low_at = 0
        if moment is not None:
            lasts_ms = self.meter.price.lasts_ms(self.meter.paid)
            self.low_at = moment - min(LOW_SECONDS * 1000, lasts_ms // 5)
        self._plan()
        self._schedule()

    def _plan(self) -> None:
        self.next_event = min(self.meter.stops_at, self.next_ping, self.low_at or self.next_ping)

    def _warn(self, now: int) -> None:
        self.low_at = 0
        remaining = self.meter.remaining(now)
        self.socket.send(
            BalanceLow(
                session_id=self.id,
                remaining_balance=wire_amount(remaining),
                remaining_seconds=max(0, self.meter.stops_at - now) // 1000,
            )
        )

    def _schedule(self) -> None:
        self.context.wheel.schedule(self, min(self.next_update, self.next_event))
