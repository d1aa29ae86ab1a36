"""`PaymentService`: the gateway's core. It knows neither HTTP nor a particular chain; callers are thin."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any

from ws402.chains.base import AnchoredChain, Chain, ChainUnavailableError
from ws402.errors import InvalidRequestError, NoSolanaError, NotFoundError
from ws402.gateway.books.balance_check import AuditLine, audit
from ws402.gateway.books.lists import Lists
from ws402.gateway.books.queries import Queries
from ws402.gateway.books.stats import stats
from ws402.gateway.collect.collector import Collector
from ws402.gateway.intake.arrivals import Arrivals
from ws402.gateway.intake.claims import Claim
from ws402.gateway.intake.invoices import Draft, Invoices
from ws402.gateway.intake.verification import Verifier
from ws402.gateway.ledger.batching import Batcher
from ws402.gateway.ledger.database import Database
from ws402.gateway.upkeep import Upkeep
from ws402.gateway.usage.sessions import Report, Resume, Sessions
from ws402.gateway.usage.settlement import Settle, Settlement, StockRefund, stock_refund
from ws402.gateway.watch.transfers import owe_unclaimed
from ws402.gateway.watch.watcher import Watcher
from ws402.jobs import Jobs
from ws402.keys.base import Signer
from ws402.protocol import (
    BlockhashResponse,
    Checkpoint,
    CheckpointResponse,
    CollectRequest,
    CollectResponse,
    GenerateRequest,
    PaymentDetails,
    PaymentStatusRequest,
    PaymentStatusResponse,
    RefundRequest,
    RefundResponse,
    RefundStatusResponse,
    ReleaseRequest,
    ResumeRequest,
    ResumeResponse,
    SessionResponse,
    SettleRequest,
    SettleResponse,
    StatsResponse,
    TermsResponse,
    VerifyRequest,
    VerifyResponse,
)
from ws402.settings import GatewaySettings

log = logging.getLogger(__name__)


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
        collectors: Mapping[str, Signer] = MappingProxyType({}),
        holder: str = "",
    ) -> None:
        """`collectors`: by network, the key that collects; `holder` names this process in the ledger."""
        self.settings = settings
        self.database = database
        self.queries = Queries(database)
        self.lists = Lists(database, chains)
        self.chains = chains
        self.addresses = addresses
        self.watcher = Watcher(database, chains, addresses, grace_seconds=settings.unclaimed_grace_seconds)
        self.verifier = Verifier(settings, database, chains, self.watcher)
        self.collector = Collector(settings, database, chains, collectors, self.verifier, holder)
        self.started_at = time.time()
        self.on_refunds = on_refunds
        self.sessions_settled = 0
        self.checks: list[Callable[[], None]] = []
        """What readiness asks besides; each raises UnavailableError with its reason."""
        settlement, live = Settlement(database), Sessions(database)
        self._live = live
        self.arrivals = Arrivals(database, chains)
        self.invoices = Invoices(settings, database, chains, self.watcher.missing)
        self.generating: Batcher[Draft, PaymentDetails] = Batcher("generate", self.invoices.create)
        self.settling: Batcher[Settle, SettleResponse] = Batcher("settle", settlement.settle)
        self.refunding: Batcher[StockRefund, RefundResponse] = Batcher("refund", settlement.refund)
        self.reporting: Batcher[Report, CheckpointResponse] = Batcher("report", live.report)
        self.resuming: Batcher[Resume, ResumeResponse] = Batcher("resume", live.resume)
        self._answered: Batcher[str, None] = Batcher("answered", live.mark_answered)
        self.batchers: tuple[Batcher[Any, Any], ...] = (
            self.verifier.batcher,
            self.generating,
            self.settling,
            self.refunding,
            self.reporting,
            self.resuming,
            self._answered,
        )
        self._tenants: dict[str, TenantCalls] = {}
        self.upkeep = Upkeep(settings, database, self._live, self.settling, self.settled)
        self.jobs = Jobs(self.upkeep.jobs)
        """What works in the background; readiness asks whether it still does."""

    async def start(self) -> None:
        """Make the schema, connect to the chains, catch up, and watch. Raises ConfigurationError, UnavailableError."""
        await self.database.check()
        await self.database.create()
        await self.watcher.start()
        self.upkeep.listening.broken()
        self.jobs.start()

    async def close(self) -> None:
        """Finish what is queued and stop; the caller closes the database."""
        await self.jobs.close()
        await self.collector.close()
        await self.watcher.close()
        await self.verifier.close()
        for batcher in reversed(self.batchers):
            await batcher.close()
        for chain in self.chains.values():
            await chain.close()

    async def ready(self) -> None:
        """Raise UnavailableError, with the reason, when payments cannot be served now.

        One network that can be asked is enough: to be sent no calls would take that one away, too.
        """
        await self.database.writable()
        if self.watcher.errors.keys() >= self.chains.keys():
            network, reason = next(iter(self.watcher.errors.items()))
            raise ChainUnavailableError(f"{network}: {reason}")
        self.jobs.check()
        self.watcher.check()
        for check in self.checks:
            check()

    def of(self, tenant: str) -> TenantCalls:
        """One tenant's calls."""
        calls = self._tenants.get(tenant)
        if calls is None:
            calls = self._tenants[tenant] = TenantCalls(self, tenant)
        return calls

    async def mark_answered(self, session_id: str) -> None:
        """A stock server got the answer that opened this session: the same proof again is a replay."""
        await self._answered.submit(session_id)

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

    async def stats(self) -> StatsResponse:
        """Counters since this process started; refunds as the ledger has them."""
        refunds = await self.queries.refund_counts()
        return stats(self.settings, self.chains, self.verifier, refunds, self.started_at)

    async def pending(self) -> dict[str, Any]:
        """Open invoices and unfinished refunds, newest first, at most 500 of each."""
        return await self.queries.pending()

    async def refund_unclaimed(self, network: str, tx: str, *, dry_run: bool = False) -> list[str]:
        """Owe an unclaimed transaction's money to its senders; the refunds' ids. Raises NotFoundError."""
        chain = self.chains.get(network)
        if chain is None:
            raise InvalidRequestError(
                f"Network '{network}' is not configured.", remedy=f"Use one of: {', '.join(self.chains)}."
            )
        async with self.database.begin(dry_run=dry_run) as connection:
            made = await owe_unclaimed(connection, network, chain.normalize_tx(tx), self.database.now_ms())
        if not made:
            raise NotFoundError(f"Transaction {tx} has no unclaimed money for us.")
        self.on_refunds()
        return made

    async def audit(self) -> list[AuditLine]:
        """Compare the books with themselves and with the chains."""
        return await audit(self.database, self.chains, self.addresses)

    # --- upkeep ------------------------------------------------------------------------------------------------------

    def settled(self, _: object = None) -> None:
        """Sessions may have ended: what they leave is due soon."""
        self.on_refunds()

    def normalize_tx(self, tx: str) -> str:
        """A transaction id in the spelling of the network that it can be of. Raises InvalidRequestError."""
        for chain in self.chains.values():
            try:
                return chain.normalize_tx(tx)
            except InvalidRequestError:
                continue
        raise InvalidRequestError("'proof' has no transaction id of a configured network.")


class TenantCalls:
    """The calls of one tenant: another tenant's invoices and sessions do not exist for it. See `PaymentCalls`.

    Plain functions where they can be: an operation of a batch is then no task of its own.
    """

    __slots__ = ("_service", "_tenant")

    def __init__(self, service: PaymentService, tenant: str) -> None:
        self._service = service
        self._tenant = tenant

    def generate(self, request: GenerateRequest, /) -> Awaitable[PaymentDetails]:
        """Make an invoice."""
        return self._service.generating.submit(self._service.invoices.draft(self._tenant, request))

    def verify(self, request: VerifyRequest, /, *, key: str | None = None) -> Awaitable[VerifyResponse]:
        """Check a proof, and open or top up a session. A refused proof is an answer, not an error."""
        return self._service.verifier.verify(Claim(self._tenant, key, request))

    def checkpoint(self, request: Checkpoint, /) -> Awaitable[CheckpointResponse]:
        """Record a session's usage so far."""
        return self._service.reporting.submit(Report(self._tenant, request))

    def release(self, request: ReleaseRequest, /) -> Awaitable[CheckpointResponse]:
        """Let go of a session so that it can be resumed."""
        return self._service.reporting.submit(Report(self._tenant, request))

    def resume(self, request: ResumeRequest, /, *, key: str | None = None) -> Awaitable[ResumeResponse]:
        """Take a session over by its one-time token. Raises ConflictError."""
        return self._service.resuming.submit(Resume(self._tenant, key, request))

    def settle(self, request: SettleRequest, /) -> Awaitable[SettleResponse]:
        """End a session; repeated, the same answer."""
        answer = self._service.settling.submit(Settle(self._tenant, request))
        answer.add_done_callback(self._service.settled)
        return answer

    def refund(self, request: RefundRequest, /) -> Awaitable[RefundResponse]:
        """End a session as stock servers do. Raises NotRefundableError, NotFoundError."""
        tx = request.proof.tx
        if not tx:
            raise InvalidRequestError("'proof' needs txHash or signature.")
        tx = self._service.normalize_tx(tx)
        answer = self._service.refunding.submit(stock_refund(self._tenant, tx, request))
        answer.add_done_callback(self._service.settled)
        return answer

    async def refund_status(self, refund_id: str, /) -> RefundStatusResponse:
        """Where a refund of this tenant is. Raises NotFoundError."""
        return await self._service.queries.refund_status(self._tenant, refund_id)

    async def terms(self) -> TermsResponse:
        """In which tokens the gateway collects."""
        return await self._service.collector.terms(self._tenant)

    async def collect(self, request: CollectRequest, /, *, key: str | None = None) -> CollectResponse:  # noqa: ARG002
        """Collect what a payer signed; repeated, it joins what is under way."""
        return await self._service.collector.collect(self._tenant, request)

    async def session(self, session_id: str, /) -> SessionResponse:
        """How a session of this tenant stands. Raises NotFoundError."""
        return await self._service.queries.session(self._tenant, session_id)

    async def payment_status(self, request: PaymentStatusRequest, /) -> PaymentStatusResponse:
        """What has arrived for invoices of this tenant. Raises InvalidRequestError."""
        return PaymentStatusResponse(payments=await self._service.arrivals.look(self._tenant, request.invoices))

    async def blockhash(self, network: str | None = None, /) -> BlockhashResponse:
        """A recent blockhash of this network, or of the first of its kind. Raises NoSolanaError."""
        return await self._service.blockhash(network)

    async def stats(self) -> StatsResponse:
        """Counters since this process started; refunds as the ledger has them."""
        return await self._service.stats()

    async def ready(self) -> None:
        """Raise UnavailableError, with the reason, when payments cannot be served now."""
        await self._service.ready()
