"""From a proof or a resume token to a live session, and top-ups of live ones: the gateway calls that clients cause."""

from __future__ import annotations

import logging
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Final

from ws402.errors import CALLER_REFUSED, ConflictError, RateLimitedError, UnavailableError, WS402Error
from ws402.limits import PerMinute
from ws402.money import parse_amount, wire_amount
from ws402.observability import metrics, tracing
from ws402.observability.context import session_id
from ws402.prices import Price
from ws402.protocol import (
    BalanceUpdated,
    EndReason,
    ErrorMessage,
    HttpAccessGranted,
    Message,
    PaymentProofMessage,
    PaymentRejected,
    RejectCode,
    ResumeMessage,
    ResumeRequest,
    SessionStarted,
    VerifyRequest,
    VerifyResponse,
    price_terms,
    stated_price,
)
from ws402.provider.base import PaymentProvider
from ws402.server.calls import Calls
from ws402.server.catalog import Catalog
from ws402.server.events import PaymentVerified
from ws402.server.resources.base import Resource, ResourceUnavailableError
from ws402.server.sessions.context import SessionContext
from ws402.server.sessions.live import Live
from ws402.server.sessions.meter import Meter
from ws402.server.sessions.session import Session
from ws402.server.sockets.socket import Socket
from ws402.settings import ServerSettings

MAX_TOP_UPS: Final = 4
"""Top-ups of one session that may wait for the gateway."""

FREE_OF_COST: Final = frozenset(
    {
        RejectCode.UNKNOWN_INVOICE,
        RejectCode.TRANSFER_NOT_FOUND,
        RejectCode.TRANSFER_FAILED,
        RejectCode.TRANSFER_TOO_OLD,
        RejectCode.WRONG_RECIPIENT,
        RejectCode.SENDER_MISMATCH,
        RejectCode.BINDING_REQUIRED,
        RejectCode.BINDING_INVALID,
    }
)
"""Refusals that cost whoever causes them nothing: only these are counted. The others took a payment to us."""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Grant:
    """What the gateway says about a session that may begin here."""

    session_id: str
    epoch: int
    resource: Resource
    paid: int
    price: Price
    resume_token: str | None
    network: str | None
    asset: str | None
    used_ms: int = 0
    bytes_transferred: int = 0
    message_count: int = 0
    units: dict[str, int] | None = None
    resumed: bool = False


class Opening:
    """Opens, resumes and tops up."""

    def __init__(
        self,
        settings: ServerSettings,
        provider: PaymentProvider,
        catalog: Catalog,
        live: Live,
        calls: Calls,
        context: SessionContext,
        *,
        server_id: str,
    ) -> None:
        """`server_id` names this process to the gateway; `context` is for the sessions that begin."""
        self._settings = settings
        self._provider = provider
        self._catalog = catalog
        self._live = live
        self._calls = calls
        self._context = context
        self._server_id = server_id
        self._seconds = metrics.SESSION_OPEN_SECONDS.of()
        self._refused = PerMinute(settings.refused_proofs_per_minute)

    def begin(self, socket: Socket, work: Coroutine[Any, Any, bool]) -> None:
        """Start verifying, unless too much that came from there was refused; what the client sends meanwhile waits."""
        payer = socket.address or ""
        try:
            self._refused.check(payer)
        except RateLimitedError as error:
            work.close()
            metrics.PROOFS_REFUSED.inc(error.code)
            socket.send(ErrorMessage(code=error.code, message=str(error)))
            socket.close(1013, "too many refused proofs")
            return
        socket.verifying()
        self._calls.spawn(self._guard(socket, work, payer))

    async def _guard(self, socket: Socket, work: Coroutine[Any, Any, bool], payer: str) -> None:
        """No failure leaves a client waiting."""
        begun = time.perf_counter()
        try:
            if await work:
                self._seconds.observe(time.perf_counter() - begun)
        except (UnavailableError, RateLimitedError, *CALLER_REFUSED) as error:
            metrics.PROOFS_REFUSED.inc(error.code)
            logger.warning("a payment could not be verified: %s", error.code)
            socket.send(
                ErrorMessage(
                    code=error.code, message="The payment gateway does not answer now. Try again with this proof."
                )
            )
            socket.close(1011, "gateway unavailable")
        except WS402Error as error:
            self._refused.count(payer)
            reject(socket, str(error), error.code)
        except Exception:
            logger.exception("opening a session failed")
            metrics.PROOFS_REFUSED.inc("server_error")
            socket.close(1011, "internal error")

    async def pay(self, socket: Socket, message: PaymentProofMessage) -> bool:
        """Verify a proof and open the session that it pays for; whether one began."""
        span = tracing.begin("ws402.session open", tracing.SERVER, message.traceparent)
        if span is None:
            return await self._pay(socket, message, None)
        began = False
        try:
            with tracing.use(span):
                began = await self._pay(socket, message, span)
        finally:
            span.end(None if began else "refused")
        return began

    async def _pay(self, socket: Socket, message: PaymentProofMessage, span: tracing.Span | None) -> bool:
        payer = socket.address or ""
        answer = await self._provider.verify(self._request(message, socket.resource_id))
        if not answer.valid:
            self._count(payer, answer)
            reject(socket, answer.reason or "The payment was refused.", answer.code)
            return False
        if answer.session_id is None:
            raise UnavailableError("The gateway named no session; it is too old for this server.")
        session_id.set(answer.session_id)
        if span is not None:
            span.set({"ws402.session.id": answer.session_id, "ws402.network": answer.network or ""})
        epoch = answer.epoch or 0
        resource = self._catalog.get(socket.resource_id or answer.resource_id or "")
        if resource is None:
            self._context.ends.refund_unused(answer.session_id, epoch, EndReason.SERVER_ERROR)
            reject(socket, "This server does not have the resource that was paid for; all is refunded.", "not_found")
            return False
        if answer.session_id in self._live:
            reject(socket, "This payment has opened a session already.", RejectCode.ALREADY_CLAIMED)
            return False
        paid = parse_amount(answer.amount)
        grant = _Grant(
            session_id=answer.session_id,
            epoch=epoch,
            resource=resource,
            paid=paid,
            price=stated_price(answer.price_per_second, answer.price) or resource.settings.terms,
            resume_token=answer.resume_token,
            network=answer.network,
            asset=answer.asset,
        )
        if not await self._start(socket, grant):
            return False
        self._verified(socket.user_id, resource.settings.id, answer, paid, top_up=False)
        return True

    async def resume(self, socket: Socket, message: ResumeMessage) -> bool:
        """Go on with a session that was handed back, or that another socket still holds; whether it does."""
        answer = await self._provider.resume(
            ResumeRequest(token=message.token, server_id=self._server_id, resource_id=socket.resource_id)
        )
        session_id.set(answer.session_id)
        if (holder := self._live.get(answer.session_id)) is not None:
            holder.lose(EndReason.SUPERSEDED)
        resource = self._catalog.get(answer.resource_id)
        if resource is None:
            self._context.ends.refund_unused(
                answer.session_id, answer.epoch, EndReason.SERVER_ERROR, elapsed_ms=answer.elapsed_ms
            )
            raise ConflictError(
                "This server does not have the session's resource; what was not used is refunded.",
                code="resource_mismatch",
            )
        grant = _Grant(
            session_id=answer.session_id,
            epoch=answer.epoch,
            resource=resource,
            paid=parse_amount(answer.paid),
            price=stated_price(answer.price_per_second, answer.price) or resource.settings.terms,
            resume_token=answer.resume_token,
            network=answer.network,
            asset=answer.asset,
            used_ms=answer.elapsed_ms,
            bytes_transferred=answer.bytes_transferred,
            message_count=answer.message_count,
            units=answer.units,
            resumed=True,
        )
        return await self._start(socket, grant)

    def top_up(self, session: Session, message: PaymentProofMessage) -> None:
        """Credit a proof to a live session: one after the other, in the order of arrival."""
        if session.top_ups is None:
            session.top_ups = [message]
            self._calls.spawn(self._top_ups(session))
        elif len(session.top_ups) < MAX_TOP_UPS:
            session.top_ups.append(message)
        else:
            session.socket.send(
                ErrorMessage(code="rate_limited", message="Wait for the answers to the top-ups before this one.")
            )

    async def _top_ups(self, session: Session) -> None:
        waiting: list[PaymentProofMessage] = session.top_ups or []
        while waiting:
            answer = await self._top_up(session, waiting.pop(0))
            if not session.ended:
                session.socket.send(answer)
        session.top_ups = None

    async def _top_up(self, session: Session, message: PaymentProofMessage) -> Message:
        request = self._request(message, session.resource.settings.id)
        request.session_id = session.id
        try:
            self._refused.check(session.id)
            answer = await self._provider.verify(request)
        except WS402Error as error:
            return ErrorMessage(code=error.code, message=str(error))
        except Exception:
            logger.exception("a top-up of session %s failed", session.id)
            return ErrorMessage(code="server_error", message="The top-up could not be verified. Send the proof again.")
        if not answer.valid:
            self._count(session.id, answer)
            return PaymentRejected(reason=answer.reason or "The payment was refused.", code=answer.code)
        if answer.session_id != session.id:
            logger.error("the gateway credited a top-up of session %s to %s", session.id, answer.session_id)
            return PaymentRejected(reason="The payment belongs to another session.", code=RejectCode.RESOURCE_MISMATCH)
        added = parse_amount(answer.amount)
        if not session.ended:
            session.topped_up(added)
        self._verified(session.user_id, session.resource.settings.id, answer, added, top_up=True)
        remaining = session.meter.remaining(self._context.wheel.clock())
        return BalanceUpdated(session_id=session.id, added=wire_amount(added), remaining_balance=wire_amount(remaining))

    async def _start(self, socket: Socket, grant: _Grant) -> bool:
        """Make the session live on its socket. Whatever goes wrong before the meter runs costs the payer nothing."""
        resource = grant.resource
        limit_ms = self._settings.max_session_duration * 1000
        now = self._context.wheel.clock()
        session = Session(
            self._context,
            socket,
            resource,
            Meter(
                paid=grant.paid,
                price=grant.price,
                now=now,
                limit_ms=limit_ms,
                used_ms=grant.used_ms,
                units=grant.units,
            ),
            session_id=grant.session_id,
            epoch=grant.epoch,
            network=grant.network,
            asset=grant.asset,
            bytes_transferred=grant.bytes_transferred,
            message_count=grant.message_count,
        )
        if socket.open:
            try:
                await resource.open(session)
            except ResourceUnavailableError as error:
                session.fail(f"{error} All that was not used is refunded.", unused=True)
                return False
            except Exception:
                logger.exception("resource %s could not be opened", resource.settings.id)
                session.fail("The resource failed; all that was not used is refunded.", unused=True)
                return False
        if not socket.open:
            session.finish(EndReason.CLIENT_CLOSED, unused=True)
            return False
        now = self._context.wheel.clock()
        session.meter.begin(now)
        self._go_live(socket, session, now, grant)
        return True

    def _go_live(self, socket: Socket, session: Session, now: int, grant: _Grant) -> None:
        """`now`: the moment at which the meter began, so that what is told as the balance is what was paid."""
        self._live.add(session)
        (metrics.SESSIONS_RESUMED if grant.resumed else metrics.SESSIONS_OPENED).inc()
        if (span := tracing.current()) is not None:
            session.span = span.child("ws402.session", attributes={"ws402.session.id": session.id})
        socket.paid(session, self._settings.max_message_bytes)
        messages: list[Message] = [
            SessionStarted(
                session_id=session.id,
                balance=wire_amount(session.meter.remaining(now)),
                price_per_second=wire_amount(session.meter.price.per_second),
                price=None if session.meter.price.plain else price_terms(session.meter.price),
                resume_token=grant.resume_token,
                max_session_duration=self._settings.max_session_duration,
                resumed=grant.resumed,
                traceparent=session.span.traceparent if session.span is not None else None,
            )
        ]
        if session.http_token is not None:
            base = (self._settings.public_url or socket.base_url).rstrip("/")
            url = f"{base}/api/resource/{session.resource.settings.id}"
            messages.append(HttpAccessGranted(http_token=session.http_token, resource_url=url))
        socket.send(*messages)
        session.start(now)
        socket.replay()

    def _count(self, payer: str, refused: VerifyResponse) -> None:
        if refused.code in FREE_OF_COST:
            self._refused.count(payer)

    def _request(self, message: PaymentProofMessage, resource_id: str | None) -> VerifyRequest:
        return VerifyRequest(
            proof=message.proof,
            timestamp=time.time_ns() // 1_000_000,
            resource_id=resource_id,
            claim_token=message.claim_token,
            payer_signature=message.payer_signature,
            server_id=self._server_id,
        )

    def _verified(self, user_id: str, resource_id: str, answer: VerifyResponse, amount: int, *, top_up: bool) -> None:
        self._context.callbacks.payment_verified(
            lambda: PaymentVerified(
                session_id=answer.session_id or "",
                user_id=user_id,
                resource_id=resource_id,
                amount=amount,
                payer=answer.payer,
                network=answer.network,
                asset=answer.asset,
                top_up=top_up,
            )
        )


def reject(socket: Socket, reason: str, code: str | None = None) -> None:
    """Refuse to open a session, for good."""
    metrics.PROOFS_REFUSED.inc(code or "unknown")
    socket.send(PaymentRejected(reason=reason, code=code))
    socket.close(1008, "payment rejected")
