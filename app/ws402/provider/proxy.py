"""The gateway over HTTP: operations in micro-batches over kept-alive connections."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import urlencode

import msgspec
from pydantic import SecretStr

from ws402.backoff import pause
from ws402.errors import UnavailableError, WS402Error
from ws402.observability import metrics, tracing
from ws402.protocol import (
    AnyOp,
    BatchRequest,
    BatchResponse,
    BlockhashResponse,
    Checkpoint,
    CheckpointOp,
    CheckpointResponse,
    CollectOp,
    CollectRequest,
    CollectResponse,
    GenerateOp,
    GenerateRequest,
    OpResult,
    PaymentDetails,
    PaymentStatusOp,
    PaymentStatusRequest,
    PaymentStatusResponse,
    RefundRequest,
    RefundResponse,
    RefundStatusOp,
    RefundStatusRequest,
    RefundStatusResponse,
    ReleaseOp,
    ReleaseRequest,
    ResumeOp,
    ResumeRequest,
    ResumeResponse,
    SessionOp,
    SessionRequest,
    SessionResponse,
    SettleOp,
    SettleRequest,
    SettleResponse,
    StatsResponse,
    TermsOp,
    TermsRequest,
    TermsResponse,
    VerifyOp,
    VerifyRequest,
    VerifyResponse,
)
from ws402.provider.answers import error_of_op
from ws402.provider.base import StockNames
from ws402.provider.credentials import NO_FILES, Credential, LinkFiles
from ws402.provider.lanes import Lane
from ws402.provider.transport import BACKOFF_SECONDS, MAX_BACKOFF_SECONDS, Transport

T = TypeVar("T")

PENDING: Final = "pending"
VERIFY_SECONDS: Final = 45.0
"""No verification is waited for longer; the gateway gives up earlier."""

_encoder: Final = msgspec.json.Encoder()
_batch: Final = msgspec.json.Decoder(BatchResponse)
_details: Final[msgspec.json.Decoder[PaymentDetails]] = msgspec.json.Decoder(PaymentDetails)
_verify: Final = msgspec.json.Decoder(VerifyResponse)
_checkpoint: Final = msgspec.json.Decoder(CheckpointResponse)
_settle: Final = msgspec.json.Decoder(SettleResponse)
_resume: Final = msgspec.json.Decoder(ResumeResponse)
_status: Final = msgspec.json.Decoder(RefundStatusResponse)
_terms: Final = msgspec.json.Decoder(TermsResponse)
_collect: Final = msgspec.json.Decoder(CollectResponse)
_session: Final = msgspec.json.Decoder(SessionResponse)
_payments: Final = msgspec.json.Decoder(PaymentStatusResponse)
_blockhash: Final = msgspec.json.Decoder(BlockhashResponse)
_stats: Final = msgspec.json.Decoder(StatsResponse)
_refund: Final = msgspec.json.Decoder(RefundResponse)


class ProxyPaymentProvider(StockNames):
    """Asks a gateway over HTTP.

    The server proves itself by `api_key` or by the token in `token_file`; `files` are for TLS. `timeout` is in seconds
    for one attempt, `retry_attempts` counts the first. Calls are repeated safely after a lost answer: verifications
    and resumes carry an idempotency key, the rest is idempotent by nature. Verifications, which wait for chains, travel
    apart from checkpoints and settlements.
    """

    name = "proxy"

    def __init__(
        self,
        gateway_url: str,
        api_key: str | SecretStr | None = None,
        *,
        token_file: Path | None = None,
        files: LinkFiles = NO_FILES,
        timeout: float = 30,
        retry_attempts: int = 3,
        custom_headers: Mapping[str, str] | None = None,
    ) -> None:
        self._transport = Transport(
            gateway_url,
            Credential(api_key, token_file),
            files=files,
            timeout=timeout,
            retry_attempts=retry_attempts,
            custom_headers=custom_headers,
        )
        self._attempts = retry_attempts
        self.gateway_url: str | None = self._transport.url
        self._quick = Lane("operations", partial(self._send, "operations"))
        self._fresh = Lane("verifications", partial(self._send, "verifications"))
        self._waiting = Lane("waiting", partial(self._send, "waiting"))
        self._unbind = (
            metrics.LINK_QUEUE.bind(
                lambda: [((lane.name,), lane.waiting) for lane in (self._quick, self._fresh, self._waiting)]
            ),
            metrics.LINK_OPEN.bind(lambda: [((), float(self._transport.breaker_open))]),
        )

    def __repr__(self) -> str:
        return f"ProxyPaymentProvider({self.gateway_url!r})"

    async def start(self) -> None:
        """Connections open when they are first needed."""

    async def close(self) -> None:
        """Finish calls under way and close connections."""
        for lane in (self._fresh, self._waiting, self._quick):
            await lane.close()
        await self._transport.close()
        for unbind in self._unbind:
            unbind()

    async def generate(self, request: GenerateRequest, /) -> PaymentDetails:
        """Ask for an invoice. Repeated after a lost answer, it may leave an invoice that nobody pays."""
        return await self._ask(self._quick, GenerateOp(body=request), _details)

    async def verify(self, request: VerifyRequest, /, *, key: str | None = None) -> VerifyResponse:
        """Verify a proof and open (or top up) a session; waits as long as the gateway waits for the chain."""
        op = VerifyOp(key=key or secrets.token_hex(16), body=request)
        try:
            async with asyncio.timeout(VERIFY_SECONDS):
                return await self._ask(self._fresh, op, _verify)
        except TimeoutError:
            raise UnavailableError("The gateway did not verify the payment in time.", code="timeout") from None

    async def checkpoint(self, request: Checkpoint, /) -> CheckpointResponse:
        """Report usage."""
        return await self._ask(self._quick, CheckpointOp(body=request), _checkpoint)

    async def settle(self, request: SettleRequest, /) -> SettleResponse:
        """End a session."""
        return await self._ask(self._quick, SettleOp(body=request), _settle)

    async def release(self, request: ReleaseRequest, /) -> CheckpointResponse:
        """Hand a live session back."""
        return await self._ask(self._quick, ReleaseOp(body=request), _checkpoint)

    async def resume(self, request: ResumeRequest, /, *, key: str | None = None) -> ResumeResponse:
        """Take a session over."""
        return await self._ask(self._quick, ResumeOp(key=key or secrets.token_hex(16), body=request), _resume)

    async def refund_status(self, refund_id: str, /) -> RefundStatusResponse:
        """Where a refund is."""
        return await self._ask(self._quick, RefundStatusOp(body=RefundStatusRequest(refund_id=refund_id)), _status)

    async def terms(self) -> TermsResponse:
        """In which tokens the gateway collects."""
        return await self._ask(self._quick, TermsOp(body=TermsRequest()), _terms)

    async def collect(self, request: CollectRequest, /, *, key: str | None = None) -> CollectResponse:
        """Collect what a payer signed."""
        op = CollectOp(key=key or secrets.token_hex(16), body=request)
        try:
            async with asyncio.timeout(VERIFY_SECONDS):
                return await self._ask(self._fresh, op, _collect)
        except TimeoutError:
            raise UnavailableError("The gateway did not collect the payment in time.", code="timeout") from None

    async def session(self, session_id: str, /) -> SessionResponse:
        """How a session stands."""
        return await self._ask(self._quick, SessionOp(body=SessionRequest(session_id=session_id)), _session)

    async def payment_status(self, request: PaymentStatusRequest, /) -> PaymentStatusResponse:
        """What has arrived for invoices."""
        return await self._ask(self._quick, PaymentStatusOp(body=request), _payments)

    async def refund(self, request: RefundRequest, /) -> RefundResponse:
        """End a session as stock servers do."""
        content = await self._transport.call("POST", "/api/payment/refund", _encoder.encode(request))
        return _read(_refund, content)

    async def blockhash(self, network: str | None = None, /) -> BlockhashResponse:
        """A recent blockhash for payers on Solana."""
        query = f"?{urlencode({'network': network})}" if network else ""
        return _read(_blockhash, await self._transport.call("GET", f"/api/blockhash{query}", side=True))

    async def stats(self) -> StatsResponse:
        """GET /api/stats."""
        return _read(_stats, await self._transport.call("GET", "/api/stats", side=True))

    async def ready(self) -> None:
        """Whether the gateway answers."""
        if not await self._transport.healthy():
            raise UnavailableError("The gateway does not answer.")

    async def _ask(self, lane: Lane, op: AnyOp, decoder: msgspec.json.Decoder[T]) -> T:
        if (span := tracing.current()) is None:
            return await self._answer(lane, op, decoder)
        asked = span.child(f"ws402.gateway {type(op).__struct_config__.tag}", tracing.CLIENT)
        op.traceparent = asked.traceparent
        error: str | None = None
        try:
            return await self._answer(lane, op, decoder)
        except WS402Error as failure:
            error = failure.code
            raise
        finally:
            asked.end(error)

    async def _answer(self, lane: Lane, op: AnyOp, decoder: msgspec.json.Decoder[T]) -> T:
        attempt = 1
        while True:
            result = await lane.submit(op)
            told = result.error
            if told is None:
                return _read(decoder, result.ok)
            if told.code == PENDING:
                lane = self._waiting
                continue
            if not told.retry or attempt >= self._attempts:
                raise error_of_op(told)
            await pause(attempt, first=BACKOFF_SECONDS, most=MAX_BACKOFF_SECONDS)
            attempt += 1

    async def _send(self, lane: str, ops: list[AnyOp]) -> list[OpResult]:
        body = _encoder.encode(BatchRequest(ops=ops))
        traced = next((op.traceparent for op in ops if op.traceparent), None) if tracing.enabled() else None
        content = await self._transport.call("POST", "/api/ops", body, lane=lane, traceparent=traced)
        results = _read(_batch, content).results
        if len(results) != len(ops):
            raise UnavailableError("The gateway answered another number of operations.", code="bad_answer")
        return results


def _read(decoder: msgspec.json.Decoder[T], content: bytes | msgspec.Raw) -> T:
    try:
        return decoder.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise UnavailableError(
            "The gateway's answer cannot be read.",
            remedy="Check that GATEWAY_URL is a WS402 gateway.",
            code="bad_answer",
        ) from None
