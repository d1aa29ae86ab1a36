"""Verifications of a batch that take their time: a payment that is not confirmed yet never delays its neighbours.

A verification with an idempotency key that is not done soon is answered `pending` and goes on. The same operation sent
again joins it, and is answered when it, or another one of its batch, is done.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ws402.errors import ConflictError, WS402Error
from ws402.gateway.api.errors import InternalError
from ws402.observability import metrics, tracing
from ws402.protocol import OpError, OpResult, VerifyOp, VerifyRequest
from ws402.protocol.results import failed, succeeded
from ws402.protocol.service import Service

log = logging.getLogger(__name__)

LINGER_SECONDS: Final = 0.1
"""A batch waits this long for all of its verifications."""

POLL_SECONDS: Final = 2.0
"""And, when none is done by then, this much longer for the first."""

KEEP_SECONDS: Final = 60.0
"""An end that nobody asked for is forgotten after this long; the ledger remembers what was accepted."""

_PENDING: Final = OpResult(
    error=OpError(code="pending", message="The payment is not confirmed yet.", retry=True, status=503)
)


@dataclass(slots=True)
class _Running:
    request: VerifyRequest
    task: asyncio.Task[OpResult]
    waited_for: bool = False
    """Somebody was told `pending`."""


class PendingVerifications:
    """Those under way in this process, by tenant and key."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._running: dict[tuple[str, str], _Running] = {}
        self._unbind = metrics.VERIFICATIONS_WAITING.bind(lambda: [((), len(self._running))])

    async def answer(self, tenant: str, ops: Sequence[VerifyOp]) -> list[OpResult]:
        """Answers in the order of `ops`, all of which have a key."""
        joined = [self._join(tenant, op) for op in ops]
        tasks = {each.task for each in joined if each is not None}
        done, waiting = await asyncio.wait(tasks, timeout=LINGER_SECONDS) if tasks else (set(), set())
        if waiting and not done:
            await asyncio.wait(waiting, timeout=POLL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        return [self._collect(tenant, op, each) for op, each in zip(ops, joined, strict=True)]

    async def close(self) -> None:
        """Stop those under way; nothing is lost, for whoever asks again starts them anew."""
        self._unbind()
        tasks = [each.task for each in self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._running.clear()

    def _join(self, tenant: str, op: VerifyOp) -> _Running | None:
        """The verification of this operation, or None when its key belongs to another one."""
        name = (tenant, op.key or "")
        running = self._running.get(name)
        if running is None:
            task = asyncio.get_running_loop().create_task(self._verify(tenant, op), name="verify")
            running = self._running[name] = _Running(op.body, task)
        return running if running.request == op.body else None

    def _collect(self, tenant: str, op: VerifyOp, running: _Running | None) -> OpResult:
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

    async def _verify(self, tenant: str, op: VerifyOp) -> OpResult:
        span = None if op.traceparent is None else tracing.begin("ws402.verify", tracing.SERVER, op.traceparent)
        if span is None:
            return await self._answer(tenant, op)
        with tracing.use(span):
            result = await self._answer(tenant, op)
        span.end(result.error.code if result.error is not None else None)
        return result

    async def _answer(self, tenant: str, op: VerifyOp) -> OpResult:
        try:
            result = succeeded(await self._service.verify(tenant, op.body, key=op.key))
        except WS402Error as error:
            result = failed(error)
        except Exception:
            log.exception("a verification failed")
            result = failed(InternalError())
        return result
