"""POST /api/ops: a batch of operations, each answered on its own, by one table.

A payment that is not confirmed yet never delays its neighbours: a verification, or a collection, with an idempotency
key that is not done soon is answered `pending` and goes on. The same operation sent again joins it, and is answered
when it, or another one of its batch, is done.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from ws402.errors import ConflictError, WS402Error
from ws402.gateway.api.errors import InternalError, decode
from ws402.observability import metrics, tracing
from ws402.protocol import (
    AnyOp,
    CheckpointOp,
    CollectOp,
    CollectRequest,
    GenerateOp,
    Message,
    OpError,
    OpResult,
    PaymentStatusOp,
    RefundStatusOp,
    ReleaseOp,
    ResumeOp,
    SessionOp,
    SettleOp,
    TermsOp,
    VerifyOp,
    VerifyRequest,
)
from ws402.protocol.results import failed, succeeded
from ws402.protocol.service import PaymentCalls, Service

log = logging.getLogger(__name__)

LINGER_SECONDS: Final = 0.1
"""A batch waits this long for all of its verifications."""

POLL_SECONDS: Final = 2.0
"""And, when none is done by then, this much longer for the first."""

KEEP_SECONDS: Final = 60.0
"""An end that nobody asked for is forgotten after this long; the ledger remembers what was accepted."""

CALLS: Final[Mapping[type[AnyOp], Callable[[PaymentCalls, Any], Awaitable[Any]]]] = {
    GenerateOp: lambda calls, op: calls.generate(op.body),
    VerifyOp: lambda calls, op: calls.verify(op.body, key=op.key),
    CheckpointOp: lambda calls, op: calls.checkpoint(op.body),
    SettleOp: lambda calls, op: calls.settle(op.body),
    ReleaseOp: lambda calls, op: calls.release(op.body),
    ResumeOp: lambda calls, op: calls.resume(op.body, key=op.key),
    RefundStatusOp: lambda calls, op: calls.refund_status(op.body.refund_id),
    TermsOp: lambda calls, op: calls.terms(),  # noqa: ARG005 - nothing is asked with it
    CollectOp: lambda calls, op: calls.collect(op.body, key=op.key),
    SessionOp: lambda calls, op: calls.session(op.body.session_id),
    PaymentStatusOp: lambda calls, op: calls.payment_status(op.body),
}
"""What each operation asks."""

_decoder: Final[msgspec.json.Decoder[AnyOp]] = msgspec.json.Decoder(AnyOp)

_PENDING: Final = OpResult(
    error=OpError(code="pending", message="The payment is not confirmed yet.", retry=True, status=503)
)


class UnreadBatch(Message, kw_only=True):
    """A batch as it came: each operation is read on its own, so that a malformed one fails alone."""

    ops: list[msgspec.Raw]

    def read(self) -> list[AnyOp | WS402Error]:
        """The operations, and why those that could not be read could not."""
        return [_read(op) for op in self.ops]


def _read(op: msgspec.Raw) -> AnyOp | WS402Error:
    try:
        return decode(_decoder, op)
    except WS402Error as error:
        return error


class Operations:
    """Answers batches by the calls of one service."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._verifications = PendingVerifications(service)

    async def run(self, tenant: str, ops: Sequence[AnyOp | WS402Error]) -> list[OpResult]:
        """Answer a batch of one tenant, in order. Errors among `ops`: operations that could not be read."""
        slow = [op for op in ops if isinstance(op, VerifyOp | CollectOp) and op.key]
        if len(slow) == len(ops):
            return await self._verifications.answer(tenant, slow)
        calls = self._service.of(tenant)
        if not slow:
            return await _answer_all(calls, ops)
        answered, others = await asyncio.gather(
            self._verifications.answer(tenant, slow),
            _answer_all(calls, [op for op in ops if not _waits(op)]),
        )
        verified, rest = iter(answered), iter(others)
        return [next(verified) if _waits(op) else next(rest) for op in ops]

    async def close(self) -> None:
        """Stop what waits for payments; nothing is lost, for whoever asks again starts anew."""
        await self._verifications.close()


def _waits(op: AnyOp | WS402Error) -> bool:
    return isinstance(op, VerifyOp | CollectOp) and bool(op.key)


async def _answer_all(calls: PaymentCalls, ops: Sequence[AnyOp | WS402Error]) -> list[OpResult]:
    results = await asyncio.gather(*(_start(calls, op) for op in ops), return_exceptions=True)
    return [_result(result) for result in results]


def _start(calls: PaymentCalls, op: AnyOp | WS402Error) -> asyncio.Future[Any]:
    """Begin an operation, in its own trace if it brings one."""
    if isinstance(op, WS402Error):
        return _refused(op)
    span = None
    if op.traceparent is not None:
        span = tracing.begin(f"ws402.{type(op).__struct_config__.tag}", tracing.SERVER, op.traceparent)
    if span is None:
        return _call(calls, op)
    with tracing.use(span):
        future = _call(calls, op)
    future.add_done_callback(lambda done: span.end(tracing.error_of(done)))
    return future


def _call(calls: PaymentCalls, op: AnyOp) -> asyncio.Future[Any]:
    try:
        return asyncio.ensure_future(CALLS[type(op)](calls, op))
    except Exception as error:  # noqa: BLE001 - refused before it was begun: its neighbours go on
        return _refused(error)


def _refused(error: Exception) -> asyncio.Future[Any]:
    refused: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    refused.set_exception(error)
    return refused


def _result(result: Any) -> OpResult:
    if not isinstance(result, BaseException):
        return succeeded(result)
    if isinstance(result, WS402Error):
        return failed(result)
    if not isinstance(result, Exception):
        raise result
    log.error("an operation failed", exc_info=result)
    return failed(InternalError())


@dataclass(slots=True)
class _Running:
    request: VerifyRequest | CollectRequest
    task: asyncio.Task[OpResult]
    waited_for: bool = False
    """Somebody was told `pending`."""


class PendingVerifications:
    """Verifications with a key that are under way in this process, by tenant and key."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._running: dict[tuple[str, str], _Running] = {}
        self._unbind = metrics.VERIFICATIONS_WAITING.bind(lambda: [((), len(self._running))])

    async def answer(self, tenant: str, ops: Sequence[VerifyOp | CollectOp]) -> list[OpResult]:
        """Answers in the order of `ops`, all of which have a key."""
        joined = [self._join(tenant, op) for op in ops]
        tasks = {each.task for each in joined if each is not None}
        done, waiting = await asyncio.wait(tasks, timeout=LINGER_SECONDS) if tasks else (set(), set())
        if waiting and not done:
            await asyncio.wait(waiting, timeout=POLL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        return [self._collect(tenant, op, each) for op, each in zip(ops, joined, strict=True)]

    async def close(self) -> None:
        """Stop those under way."""
        self._unbind()
        tasks = [each.task for each in self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._running.clear()

    def _join(self, tenant: str, op: VerifyOp | CollectOp) -> _Running | None:
        """The verification of this operation, or None when its key belongs to another one."""
        name = (tenant, op.key or "")
        running = self._running.get(name)
        if running is None:
            task = asyncio.get_running_loop().create_task(self._verify(tenant, op), name="verify")
            running = self._running[name] = _Running(op.body, task)
        return running if running.request == op.body else None

    async def _verify(self, tenant: str, op: VerifyOp | CollectOp) -> OpResult:
        (result,) = await _answer_all(self._service.of(tenant), [op])
        return result

    def _collect(self, tenant: str, op: VerifyOp | CollectOp, running: _Running | None) -> OpResult:
        if running is None:
            return failed(ConflictError("The idempotency key was used with another request.", code="key_reused"))
        name = (tenant, op.key or "")
        if running.task.done() and not running.task.cancelled():
            self._running.pop(name, None)
            return running.task.result()
        if not running.waited_for:
            running.waited_for = True
            running.task.add_done_callback(lambda _: self._forget_later(name, running))
        return _PENDING

    def _forget_later(self, name: tuple[str, str], running: _Running) -> None:
        def forget() -> None:
            if self._running.get(name) is running:
                del self._running[name]

        running.task.get_loop().call_later(KEEP_SECONDS, forget)
