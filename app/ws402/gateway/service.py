"""`PaymentService`: the gateway's core. It knows neither HTTP nor a particular chain; callers are thin."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import delete, select
from sqlalchemy.exc import DBAPIError

from ws402.chains.base import AnchoredChain, Chain, ChainUnavailableError
from ws402.errors import InvalidRequestError, NoSolanaError, NotFoundError, UnavailableError, WS402Error
from ws402.gateway.books.balance_check import AuditLine, audit
from ws402.gateway.books.queries import Queries
from ws402.gateway.intake.claims import Claim
from ws402.gateway.intake.invoices import Draft, Invoices
from ws402.gateway.intake.verification import Verifier
from ws402.gateway.ledger.batching import Batcher
from ws402.gateway.ledger.database import Database, now_ms
from ws402.gateway.ledger.idempotency import forget
from ws402.gateway.ledger.tables import attempts, deliveries, invoices, payments, refunds, sessions, traces
from ws402.gateway.usage.sessions import Report, Resume, Sessions
from ws402.gateway.usage.settlement import Settle, Settlement, StockRefund, stock_refund
from ws402.gateway.watch.transfers import owe_unclaimed, refund_unclaimed
from ws402.gateway.watch.watcher import Watcher
from ws402.money import wire_amount
from ws402.observability import tracing
from ws402.protocol import (
    AnyOp,
    BlockhashResponse,
    Checkpoint,
    CheckpointOp,
    CheckpointResponse,
    GenerateOp,
    GenerateRequest,
    OpError,
    OpResult,
    PaymentDetails,
    RefundRequest,
    RefundResponse,
    RefundStatusRequest,
    RefundStatusResponse,
    ReleaseOp,
    ReleaseRequest,
    ResumeOp,
    ResumeRequest,
    ResumeResponse,
    SettleOp,
    SettleRequest,
    SettleResponse,
    VerifyOp,
    VerifyRequest,
    VerifyResponse,
)
from ws402.settings import GatewaySettings

log = logging.getLogger(__name__)

SWEEP_SECONDS: Final = 1.0
"""How often vanished sessions and stray transfers are looked for."""

PURGE_SECONDS: Final = 600.0
"""How often what is too old to matter is dropped."""


TRACE_KEPT_MS: Final = 7 * 24 * 3600 * 1000
"""How long a session's refund can still go on in its trace."""


class PaymentService:
    """Invoices, payments, sessions and settlements over one ledger.

    Calls that arrive together share a transaction. Every call names its tenant: one tenant's sessions do not exist for
    another. `addresses` are, by network, all of our addresses that the audit counts.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        database: Database,
        chains: Mapping[str, Chain],
        addresses: Mapping[str, set[str]],
        *,
        on_refunds: Callable[[], None] = lambda: None,
    ) -> None:
        self.settings = settings
        self.database = database
        self.views = Queries(database)
        self.chains = chains
        self.addresses = addresses
        self.watcher = Watcher(database, chains, addresses)
        self.payments = Verifier(settings, database, chains, self.watcher)
        self.started_at = time.time()
        self.on_refunds = on_refunds
        self.sessions_settled = 0
        self.checks: list[Callable[[], None]] = []
        """What readiness asks besides; each raises UnavailableError with its reason."""
        settlement, live = Settlement(database), Sessions(database)
        self._live = live
        self._invoices = Invoices(settings, database, chains)
        self._generate: Batcher[Draft, PaymentDetails] = Batcher("generate", self._invoices.create)
        self._settle: Batcher[Settle, SettleResponse] = Batcher("settle", settlement.settle)
        self._refund: Batcher[StockRefund, RefundResponse] = Batcher("refund", settlement.refund)
        self._report: Batcher[Report, CheckpointResponse] = Batcher("report", live.report)
        self._resume: Batcher[Resume, ResumeResponse] = Batcher("resume", live.resume)
        self._answered: Batcher[str, None] = Batcher("answered", live.mark_answered)
        self.batchers: tuple[Batcher[Any, Any], ...] = (
            self.payments.batcher,
            self._generate,
            self._settle,
            self._refund,
            self._report,
            self._resume,
            self._answered,
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._available_since = 0.0

    async def start(self) -> None:
        """Make the schema, connect to the chains, catch up, and watch. Raises ConfigurationError, UnavailableError."""
        await self.database.check()
        await self.database.create()
        for chain in self.chains.values():
            await chain.start()
        await self.watcher.start()
        self._available_since = time.monotonic()
        self._tasks.append(asyncio.create_task(self._sweep(), name="sweep"))

    async def close(self) -> None:
        """Finish what is queued and stop; the caller closes the database."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.watcher.close()
        for batcher in reversed(self.batchers):
            await batcher.close()
        for chain in self.chains.values():
            await chain.close()

    async def ready(self) -> None:
        """Raise UnavailableError, with the reason, when payments cannot be served now."""
        async with self.database.begin() as connection:
            await connection.execute(select(1))
        if self.watcher.errors:
            network, reason = next(iter(self.watcher.errors.items()))
            raise ChainUnavailableError(f"{network}: {reason}")
        for check in self.checks:
            check()

    # --- calls -------------------------------------------------------------------------------------------------------

    async def generate(self, tenant: str, request: GenerateRequest) -> PaymentDetails:
        """Make an invoice."""
        return await self._generate.submit(self._invoices.draft(tenant, request))

    async def verify(self, tenant: str, request: VerifyRequest, *, key: str | None = None) -> VerifyResponse:
        """Check a proof, and open or top up a session. A refused proof is an answer, not an error."""
        return await self.payments.verify(Claim(tenant, key, request))

    async def checkpoint(self, tenant: str, request: Checkpoint) -> CheckpointResponse:
        """Record a session's usage so far."""
        return await self._report.submit(Report(tenant, request))

    async def release(self, tenant: str, request: ReleaseRequest) -> CheckpointResponse:
        """Let go of a session so that it can be resumed."""
        return await self._report.submit(Report(tenant, request))

    async def resume(self, tenant: str, request: ResumeRequest, *, key: str | None = None) -> ResumeResponse:
        """Take a session over by its one-time token. Raises ConflictError."""
        return await self._resume.submit(Resume(tenant, key, request))

    async def settle(self, tenant: str, request: SettleRequest) -> SettleResponse:
        """End a session; repeated, the same answer."""
        response = await self._settle.submit(Settle(tenant, request))
        self._settled()
        return response

    async def refund(self, tenant: str, request: RefundRequest) -> RefundResponse:
        """End a session as stock servers do. Raises NotRefundableError, NotFoundError."""
        tx = request.proof.tx
        if not tx:
            raise InvalidRequestError("'proof' needs txHash or signature.")
        response = await self._refund.submit(stock_refund(tenant, self._normalize(tx), request))
        self._settled()
        return response

    async def refund_status(self, tenant: str, request: RefundStatusRequest) -> RefundStatusResponse:
        """Where a refund of this tenant is. Raises NotFoundError."""
        query = (
            select(refunds, sessions.c.tenant, deliveries.c.tx.label("delivered"))
            .outerjoin(sessions, refunds.c.session_id == sessions.c.id)
            .outerjoin(deliveries, refunds.c.delivery_id == deliveries.c.id)
            .where(refunds.c.id == request.refund_id)
        )
        async with self.database.begin() as connection:
            row = (await connection.execute(query)).first()
            if row is None or row.tenant != tenant:
                raise NotFoundError(f"There is no refund '{request.refund_id}'.")
            tx = row.delivered
            if tx is None and row.delivery_id:
                newest = select(attempts.c.tx).where(attempts.c.delivery_id == row.delivery_id)
                tx = (await connection.execute(newest.order_by(attempts.c.number.desc()).limit(1))).scalar()
        return RefundStatusResponse(
            refund_id=row.id, state=row.state, amount=wire_amount(row.amount), recipient=row.recipient, tx_hash=tx
        )

    async def mark_answered(self, session_id: str) -> None:
        """A stock server got the answer that opened this session: the same proof again is a replay."""
        await self._answered.submit(session_id)

    async def run(self, tenant: str, ops: Sequence[AnyOp]) -> list[OpResult]:
        """Answer a batch of operations, each on its own, in order."""
        waiting = [self._start(tenant, op) if op.traceparent is None else self._traced(tenant, op) for op in ops]
        results = await asyncio.gather(*waiting, return_exceptions=True)
        if any(isinstance(op, SettleOp) for op in ops):
            self._settled()
        return [_op_result(result) for result in results]

    def _traced(self, tenant: str, op: AnyOp) -> asyncio.Future[Any]:
        """The same, in the operation's own trace."""
        span = tracing.begin(f"ws402.{type(op).__struct_config__.tag}", tracing.SERVER, op.traceparent)
        if span is None:
            return self._start(tenant, op)
        with tracing.use(span):
            future = self._start(tenant, op)
        future.add_done_callback(lambda done: span.end(tracing.error_of(done)))
        return future

    def _start(self, tenant: str, op: AnyOp) -> asyncio.Future[Any]:
        try:
            match op:
                case GenerateOp():
                    return self._generate.submit(self._invoices.draft(tenant, op.body))
                case VerifyOp():
                    return asyncio.ensure_future(self.payments.verify(Claim(tenant, op.key, op.body)))
                case CheckpointOp() | ReleaseOp():
                    return self._report.submit(Report(tenant, op.body))
                case SettleOp():
                    return self._settle.submit(Settle(tenant, op.body))
                case ResumeOp():
                    return self._resume.submit(Resume(tenant, op.key, op.body))
                case _:
                    return asyncio.ensure_future(self.refund_status(tenant, op.body))
        except WS402Error as error:
            refused: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            refused.set_exception(error)
            return refused

    # --- what operators see ------------------------------------------------------------------------------------------

    async def blockhash(self, network: str | None) -> BlockhashResponse:
        """A recent blockhash of this network, or of the first of its kind. Raises NoSolanaError."""
        for chain in self.chains.values():
            if isinstance(chain, AnchoredChain) and network in (None, chain.network):
                anchor = await chain.anchor()
                return BlockhashResponse(
                    blockhash=anchor.blockhash, last_valid_block_height=anchor.valid_until, network=chain.network
                )
        raise NoSolanaError(
            f"Nothing is paid on {network or 'Solana'} here, so there is no blockhash.",
            remedy="Pay on the network that the schema names.",
        )

    async def pending(self) -> dict[str, Any]:
        """Open invoices and unfinished refunds, newest first, at most 500 of each."""
        return await self.views.pending()

    async def refund_unclaimed(self, network: str, tx: str, *, dry_run: bool = False) -> list[str]:
        """Owe an unclaimed transaction's money to its senders; the refunds' ids. Raises NotFoundError."""
        chain = self.chains.get(network)
        if chain is None:
            raise InvalidRequestError(
                f"Network '{network}' is not configured.", remedy=f"Use one of: {', '.join(self.chains)}."
            )
        async with self.database.begin(dry_run=dry_run) as connection:
            made = await owe_unclaimed(connection, network, chain.normalize_tx(tx), now_ms())
        if not made:
            raise NotFoundError(f"Transaction {tx} has no unclaimed money for us.")
        self.on_refunds()
        return made

    async def audit(self) -> list[AuditLine]:
        """Compare the books with themselves and with the chains."""
        return await audit(self.database, self.chains, self.addresses)

    # --- upkeep ------------------------------------------------------------------------------------------------------

    def _settled(self) -> None:
        self.sessions_settled += 1
        self.on_refunds()

    def _normalize(self, tx: str) -> str:
        for chain in self.chains.values():
            try:
                return chain.normalize_tx(tx)
            except InvalidRequestError:
                continue
        raise InvalidRequestError("'proof' has no transaction id of a configured network.")

    async def _sweep(self) -> None:
        purge_at = 0.0
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            try:
                await self.sweep()
                if time.monotonic() >= purge_at:
                    purge_at = time.monotonic() + PURGE_SECONDS
                    await self._purge()
            except (UnavailableError, OSError) as error:
                # Servers could not report meanwhile: count their silence from now on.
                self._available_since = time.monotonic()
                log.warning("sweep: %s", error)
            except (DBAPIError, WS402Error):
                log.exception("sweep failed; trying again")

    async def sweep(self) -> None:
        """Settle sessions whose servers vanished, and owe stray transfers to their senders."""
        now = now_ms()
        up_ms = int((time.monotonic() - self._available_since) * 1000)
        vanish_ms, resume_ms = self.settings.vanish_seconds * 1000, self.settings.resume_seconds * 1000
        # Silence only counts while servers could have been heard.
        gone = await self._live.vanished(
            now - vanish_ms if up_ms >= vanish_ms else 0, now - resume_ms if up_ms >= resume_ms else 0
        )
        for result in await asyncio.gather(*(self._settle.submit(op) for op in gone), return_exceptions=True):
            if isinstance(result, Exception):
                log.info("a session was not settled for its server: %s", result)
        async with self.database.begin() as connection:
            stray = await refund_unclaimed(connection, now)
        if gone or stray:
            log.info("settled %d sessions of vanished servers, refunded %d stray transfers", len(gone), stray)
            self._settled()

    async def _purge(self) -> None:
        now = now_ms()
        paid = select(payments.c.id).where(payments.c.invoice_id == invoices.c.id).exists()
        async with self.database.begin() as connection:
            await forget(connection, now)
            await connection.execute(delete(traces).where(traces.c.created_at < now - TRACE_KEPT_MS))
            # A late payment may still name its invoice, so it is kept for a day.
            await connection.execute(delete(invoices).where(invoices.c.expires_at < now - 24 * 3600 * 1000, ~paid))


def _op_result(result: Any) -> OpResult:
    if not isinstance(result, BaseException):
        return OpResult(ok=msgspec.Raw(msgspec.json.encode(result)))
    if isinstance(result, WS402Error):
        retry = isinstance(result, UnavailableError)
        error = OpError(
            code=result.code, message=result.message, retry=retry, remedy=result.remedy, status=result.status
        )
        return OpResult(error=error)
    if not isinstance(result, Exception):
        raise result
    log.error("an operation failed", exc_info=result)
    return OpResult(error=OpError(code="internal", message="The gateway failed; it is logged.", retry=True))
