"""One paid session on this server: metered use of one resource over one socket, from acceptance to its end.

A session ends once. From then on its meter stands still, and what is told to the gateway is fixed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ws402.money import wire_amount
from ws402.observability.tracing import Span
from ws402.prices import BYTES
from ws402.protocol import (
    BalanceExhausted,
    Checkpoint,
    EndReason,
    ErrorMessage,
    MaxDurationReached,
    Message,
    ReleaseRequest,
    SettleRequest,
    SettleResponse,
    UsageUpdate,
)
from ws402.server.sessions.balance import Balance
from ws402.server.sessions.http_line import HttpLine
from ws402.server.sessions.meter import Meter
from ws402.server.sessions.notices import RESUME_LATER, count_end, lost, refund_issued, session_end, settlement_news
from ws402.server.sockets.frames import TEXT, frame
from ws402.server.sockets.socket import ABNORMAL, Socket

if TYPE_CHECKING:
    from ws402.server.resources.base import Resource
    from ws402.server.sessions.context import SessionContext

SETTLE_SECONDS: Final = 5
"""How long a socket stays open for the news of its settlement."""

logger = logging.getLogger(__name__)

_encode = msgspec.json.Encoder().encode
_update = UsageUpdate(
    session_id="", elapsed_seconds=0, consumed_amount=0, remaining_balance=0, bytes_transferred=0, message_count=0
)


class Session(Balance):
    """Also the `Stream` that its resource sees, and what the wheel and the checkpointer call."""

    __slots__ = (
        "asset",
        "bytes_transferred",
        "epoch",
        "http_token",
        "message_count",
        "metered_from",
        "network",
        "resource",
        "resumable",
        "span",
        "state",
        "top_ups",
        "user_id",
    )

    def __init__(
        self,
        context: SessionContext,
        socket: Socket | HttpLine,
        resource: Resource,
        meter: Meter,
        *,
        session_id: str,
        epoch: int,
        network: str | None,
        asset: str | None,
        bytes_transferred: int = 0,
        message_count: int = 0,
    ) -> None:
        self.context = context
        self.socket = socket
        self.resource = resource
        self.meter = meter
        self.id = session_id
        self.epoch = epoch
        self.network = network
        self.asset = asset
        self.user_id = socket.user_id
        self.resumable = "resumable=1" in socket.query.split("&")
        self.bytes_transferred = bytes_transferred
        self.message_count = message_count
        self.http_token: str | None = None
        self.state: Any = None
        self.top_ups: list[Any] | None = None
        self.ended = False
        self.span: Span | None = None
        """The session in its trace, if that is sampled."""
        self.metered_from = (0, 0, 0, 0)
        """Milliseconds, units, bytes and messages that it had used before it came here."""
        self.due_tick = self.low_at = self.next_update = self.next_ping = self.next_event = 0

    # --- what the resource sees ----------------------------------------------------------------------------------

    @property
    def query(self) -> str:
        """The query string with which the client opened its socket."""
        return self.socket.query

    @property
    def subprotocol(self) -> str | None:
        """The WebSocket subprotocol that the client was promised."""
        return self.socket.subprotocol

    @property
    def paused(self) -> bool:
        """The client reads too slowly."""
        return self.socket.paused

    @property
    def live(self) -> bool:
        """Whether the session still runs."""
        return not self.ended

    def send(self, message: str | bytes) -> None:
        """A message of the resource."""
        if not self.ended:
            self.socket.send_message(message)
            if self.meter.units is not None:
                self._passed(len(message if isinstance(message, bytes) else message.encode()))

    def end(self, code: int = 1000, reason: str = "") -> None:
        """The resource has no more to give."""
        self.finish(EndReason.RESOURCE_ENDED, code=code, text=reason)

    def fail(self, message: str, *, unused: bool = False) -> None:
        """The resource broke, or we did."""
        notice = ErrorMessage(code="server_error", message=message)
        self.finish(EndReason.SERVER_ERROR, notice, code=1011, text="internal error", unused=unused)

    def pause_reading(self) -> None:
        """Take no more messages from the client for now."""
        if not self.ended:
            self.socket.hold(True)

    def resume_reading(self) -> None:
        """Take messages again."""
        if not self.ended:
            self.socket.hold(False)

    def count(self, size: int) -> None:
        """Bytes that went by HTTP."""
        self.bytes_transferred += size
        self.charge(size, BYTES)

    # --- the socket's side ---------------------------------------------------------------------------------------

    def start(self, now: int) -> None:
        """The meter runs; the first update comes after one interval."""
        if used := self.meter.elapsed_ms(now):
            self.metered_from = (used, self.meter.consumed(now), self.bytes_transferred, self.message_count)
        self.next_update = now + self.context.update_interval
        self.next_ping = now + self.context.ping_interval
        self._watch_balance()
        self._tell_resource(self.resource.opened)

    def received(self, message: str | bytes, size: int) -> None:
        """A message of the client for the resource."""
        if self.ended:
            return
        self.message_count += 1
        self.bytes_transferred += size
        if self.meter.units is not None and not self._passed(size):
            return
        self._tell_resource(self.resource.received, message)

    def writable(self) -> None:
        """The client reads again."""
        if not self.ended:
            self._tell_resource(self.resource.writable)

    def read_too_slowly(self) -> None:
        """The client let too much pile up, and was cut off."""
        self.finish(EndReason.SLOW_READER)

    def client_left(self, code: int) -> None:
        """The socket is closed or lost. A lost one is kept for a resume when the client asked for that."""
        lost = code == ABNORMAL and (self.resumable or self.context.is_draining())
        if code == RESUME_LATER or lost:
            self.hand_over(client_code=code)
        else:
            self.finish(EndReason.CLIENT_CLOSED, client_code=code)

    def _tell_resource(self, callback: Callable[..., None], *more: str | bytes) -> None:
        try:
            callback(self, *more)
        except Exception:
            logger.exception("resource %s failed", self.resource.settings.id)
            self.fail("The resource failed; what was not used is refunded.")

    # --- the wheel's side ----------------------------------------------------------------------------------------

    def tick(self, now: int) -> None:
        """Something is due: mostly an update, seldom the end, a warning or a ping."""
        if now >= self.next_event and not self._event(now):
            return
        if now >= self.next_update:
            if not self.socket.paused:
                self._send_update(now)
            interval = self.context.update_interval
            self.next_update += interval
            if self.next_update <= now:  # a busy loop: leave out what was missed
                self.next_update = now + interval
        self._schedule()

    def _event(self, now: int) -> bool:
        """The rare steps; answers whether the session goes on."""
        if now >= self.meter.stops_at:
            self._run_out(now)
            return False
        if self.low_at and now >= self.low_at:
            self._warn(now)
        if now >= self.next_ping:
            self.next_ping = now + self.context.ping_interval
            if not self.socket.ping():
                self.client_left(ABNORMAL)
                self.socket.abort()
                return False
        self._plan()
        return True

    def broken(self) -> None:
        """`tick` raised."""
        self.fail("The server failed; what was not used is refunded.")

    # --- money ---------------------------------------------------------------------------------------------------

    def checkpoint(self, now: int) -> Checkpoint:
        """The use so far, for the gateway."""
        return Checkpoint(
            session_id=self.id,
            epoch=self.epoch,
            elapsed_ms=self.meter.elapsed_ms(now),
            bytes_transferred=self.bytes_transferred,
            message_count=self.message_count,
            units=self.meter.units,
        )

    def topped_up(self, amount: int) -> None:
        """More was paid."""
        self.meter.add(amount)
        self._watch_balance()

    def finish(
        self,
        reason: EndReason,
        notice: Message | None = None,
        *,
        code: int = 1000,
        text: str = "",
        client_code: int | None = None,
        unused: bool = False,
    ) -> None:
        """End and settle. `notice` goes out first, then the news of the settlement, then the close frame.

        `unused`: the resource was not delivered on this socket, which therefore costs nothing.
        """
        if self.ended:
            return
        now = self.context.wheel.clock()
        if unused:
            self.meter.begin(now)
        request = SettleRequest(
            session_id=self.id,
            epoch=self.epoch,
            elapsed_ms=self.meter.stop(now),
            bytes_transferred=self.bytes_transferred,
            message_count=self.message_count,
            units=self.meter.units,
            reason=reason,
        )
        self._leave(now, reason, code if client_code is None else client_code)
        if notice is not None:
            self.socket.send(notice)
        self.socket.await_close(code, text, SETTLE_SECONDS)
        self.context.ends.deliver(request, self._settled, self.span)

    def hand_over(self, *, client_code: int | None = None) -> None:
        """Stop the meter and give the session back: it can be resumed on any server for a while."""
        if self.ended:
            return
        now = self.context.wheel.clock()
        request = ReleaseRequest(
            session_id=self.id,
            epoch=self.epoch,
            elapsed_ms=self.meter.stop(now),
            bytes_transferred=self.bytes_transferred,
            message_count=self.message_count,
            units=self.meter.units,
        )
        self._leave(now, EndReason.SERVER_DRAINING, 1012 if client_code is None else client_code)
        self.context.ends.deliver(request, self._settled, self.span)
        self.socket.await_close(1012, "resume on another socket", SETTLE_SECONDS)

    def move(self) -> None:
        """The server goes away: hand the session over, or settle it if its client has not said that it can resume."""
        if self.resumable:
            self.hand_over()
        else:
            self.finish(EndReason.SERVER_DRAINING, code=1012, text="the server goes away")

    def lose(self, reason: EndReason | None) -> None:
        """The gateway ended the session or gave it to another server: stop, and settle nothing."""
        if self.ended:
            return
        now = self.context.wheel.clock()
        self.meter.stop(now)
        code, text, notice = lost(reason)
        self._leave(now, reason or EndReason.SERVER_ERROR, code)
        self.socket.send(notice)
        self.socket.close(code, text)

    def _leave(self, now: int, reason: EndReason, code: int) -> None:
        self.ended = True
        self.context.forget(self)
        try:
            self.resource.closed(self, code)
        except Exception:
            logger.exception("resource %s failed at the end of a session", self.resource.settings.id)
        count_end(self, reason, now)
        if self.span is not None:
            self.span.set({"ws402.end_reason": reason.value, "ws402.elapsed_ms": self.meter.elapsed_ms(now)})
            self.span.end()
        self.context.callbacks.session_end(lambda: session_end(self, reason, now))

    def _settled(self, request: SettleRequest | ReleaseRequest, answer: SettleResponse | None) -> None:
        if answer is not None and isinstance(request, SettleRequest):
            if self.socket.open:
                self.socket.send(settlement_news(request, answer))
            if int(answer.refund):
                self.context.callbacks.refund_issued(lambda: refund_issued(self, answer))
        self.socket.close(*self.socket.close_with)

    # --- timed steps ---------------------------------------------------------------------------------------------

    def _run_out(self, now: int) -> None:
        if self.meter.is_exhausted(now):
            notice: Message = BalanceExhausted(message="All that was paid is used.")
            self.finish(EndReason.BALANCE_EXHAUSTED, notice, text="balance exhausted")
        else:
            notice = MaxDurationReached(message="The session is as long as one may be; the rest is refunded.")
            self.finish(EndReason.MAX_DURATION, notice, text="maximum duration reached")

    def _send_update(self, now: int) -> None:
        """One reused message for all sessions; the meter runs, and its end is not reached."""
        meter = self.meter
        elapsed, consumed = meter.reading(now)
        _update.session_id = self.id
        _update.elapsed_seconds = elapsed // 1000
        _update.consumed_amount = wire_amount(consumed)
        _update.remaining_balance = wire_amount(meter.paid - consumed)
        _update.bytes_transferred = self.bytes_transferred
        _update.message_count = self.message_count
        units = meter.units
        _update.units = msgspec.UNSET if units is None else units
        self.context.updates += 1
        self.socket.transport.write(frame(TEXT, _encode(_update)))
