"""What the owner of a server is told: callbacks of `create_server`, plain or async. One that raises is logged."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from ws402.protocol import EndReason

logger = logging.getLogger(__name__)


class PaymentVerified(msgspec.Struct, frozen=True, kw_only=True):
    """A proof was accepted: it opened a session, or topped one up (`top_up`). Amounts are smallest units of `asset`."""

    session_id: str
    user_id: str
    resource_id: str
    amount: int
    payer: str | None
    network: str | None
    asset: str | None
    top_up: bool = False


class RefundIssued(msgspec.Struct, frozen=True, kw_only=True):
    """The gateway recorded what it owes to the payer at the end of a session; it will be delivered."""

    session_id: str
    user_id: str
    resource_id: str
    amount: int
    refund_id: str | None


class SessionEnd(msgspec.Struct, frozen=True, kw_only=True):
    """A session ended on this server. `consumed` is what the use costs by this server's meter."""

    session_id: str
    user_id: str
    resource_id: str
    reason: EndReason
    elapsed_ms: int
    paid: int
    consumed: int
    bytes_transferred: int
    message_count: int
    units: dict[str, int] = {}


Event = TypeVar("Event")
Callback = Callable[[Event], Awaitable[None] | None]


@dataclass(slots=True)
class Callbacks:
    """What to call when; `spawn` runs the async ones."""

    on_payment_verified: Callback[PaymentVerified] | None = None
    on_refund_issued: Callback[RefundIssued] | None = None
    on_session_end: Callback[SessionEnd] | None = None
    spawn: Callable[[Coroutine[Any, Any, None]], None] = field(default=lambda coroutine: coroutine.close())

    def payment_verified(self, event: Callable[[], PaymentVerified]) -> None:
        """A proof was accepted. Events are made only if there is somebody to tell."""
        if self.on_payment_verified is not None:
            self._call(self.on_payment_verified, event())

    def refund_issued(self, event: Callable[[], RefundIssued]) -> None:
        """A refund is recorded."""
        if self.on_refund_issued is not None:
            self._call(self.on_refund_issued, event())

    def session_end(self, event: Callable[[], SessionEnd]) -> None:
        """A session ended."""
        if self.on_session_end is not None:
            self._call(self.on_session_end, event())

    def _call(self, callback: Callback[Any], event: msgspec.Struct) -> None:
        try:
            answer = callback(event)
        except Exception:
            logger.exception("the callback for %s failed", type(event).__name__)
            return
        if inspect.isawaitable(answer):
            self.spawn(_await(answer, type(event).__name__))


async def _await(answer: Awaitable[None], name: str) -> None:
    try:
        await answer
    except Exception:
        logger.exception("the callback for %s failed", name)
