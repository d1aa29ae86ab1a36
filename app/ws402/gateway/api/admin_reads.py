"""What operators look at, over HTTP."""

from __future__ import annotations

import time
from typing import Annotated, Any

import msgspec
from litestar.handlers import ASGIRouteHandler

from ws402 import __version__
from ws402.errors import WS402Error
from ws402.gateway.api.requests import Requests
from ws402.gateway.auth.keys import Scope
from ws402.gateway.books.accounts import Accounts
from ws402.gateway.books.audit_log import AuditLog, Verdict
from ws402.gateway.books.cases import Cases
from ws402.gateway.books.queries import MOST
from ws402.gateway.ledger.database import now_ms
from ws402.gateway.ledger.states import RefundState, SessionState
from ws402.gateway.refunds import RefundEngine
from ws402.gateway.service import PaymentService
from ws402.money import MAX_JSON_INTEGER

Limit = Annotated[int, msgspec.Meta(ge=1, le=MOST)]


class SessionsQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """GET /api/admin/sessions."""

    state: SessionState | None = None
    limit: Limit = 100


class RefundsQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """GET /api/admin/refunds."""

    state: RefundState | None = None
    limit: Limit = 100


class NetworkQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """GET /api/admin/payments and invoices."""

    network: str | None = None
    limit: Limit = 100


class RefundQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """GET /api/admin/refund."""

    id: str


class FindQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """GET /api/admin/find. `tag` is the SHA-256, in hex, of a payment's reference: that stays with the caller."""

    what: Annotated[str, msgspec.Meta(min_length=1, max_length=200)] | None = None
    tag: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")] | None = None


class BalancesQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """GET /api/admin/balances. `before`: ms since the epoch."""

    before: Annotated[int, msgspec.Meta(ge=0, le=MAX_JSON_INTEGER)]


class EntriesQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """GET /api/admin/entries: those after one id, up to another."""

    last: Annotated[int, msgspec.Meta(ge=0, le=MAX_JSON_INTEGER)]
    after: Annotated[int, msgspec.Meta(ge=0, le=MAX_JSON_INTEGER)] = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=2000)] = 1000


class AuditLogQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """GET /api/admin/audit-log."""

    after: Annotated[int, msgspec.Meta(ge=0)] = 0
    expect: str | None = None


class AdminReads:
    """Questions of operators to one gateway; all need a key of the admin scope."""

    def __init__(self, service: PaymentService, refunds: RefundEngine, audit_log: AuditLog) -> None:
        self._service = service
        self._audit_log = audit_log
        self._engine = refunds
        self._queries = service.queries
        self._cases = Cases(service.database, service.chains)
        self._accounts = Accounts(service.database, service.chains)

    def handlers(self, requests: Requests) -> list[ASGIRouteHandler]:
        """All of them."""
        return [
            requests.get("/api/admin/status", self.status, Scope.ADMIN),
            requests.get("/api/admin/credits", self.credits, Scope.ADMIN),
            requests.query("/api/admin/sessions", SessionsQuery, self.sessions, Scope.ADMIN),
            requests.query("/api/admin/payments", NetworkQuery, self.payments, Scope.ADMIN),
            requests.query("/api/admin/invoices", NetworkQuery, self.invoices, Scope.ADMIN),
            requests.query("/api/admin/refunds", RefundsQuery, self.refunds, Scope.ADMIN),
            requests.query("/api/admin/refund", RefundQuery, self.refund, Scope.ADMIN),
            requests.query("/api/admin/find", FindQuery, self.find, Scope.ADMIN),
            requests.query("/api/admin/balances", BalancesQuery, self.balances, Scope.ADMIN),
            requests.query("/api/admin/entries", EntriesQuery, self.entries, Scope.ADMIN),
            requests.query("/api/admin/audit-log", AuditLogQuery, self.audit_log, Scope.ADMIN),
        ]

    async def status(self) -> dict[str, Any]:
        """How it stands: readiness, networks and their refund keys, sessions and refunds by state."""
        try:
            await self._service.ready()
        except WS402Error as error:
            unready: str | None = str(error)
        else:
            unready = None
        watcher, engine = self._service.watcher, self._engine.stats()
        networks = [
            {
                "network": name,
                "head": watcher.heads.get(name),
                "final": watcher.finals.get(name),
                "error": watcher.errors.get(name),
                "endpoints": [msgspec.structs.asdict(each) for each in chain.endpoints()],
                "recipient": chain.recipient,
                "refunds": engine.get(name),
            }
            for name, chain in self._service.chains.items()
        ]
        return {
            "version": __version__,
            "uptime": int(time.time() - self._service.started_at),
            "timestamp": now_ms(),
            "ready": unready is None,
            "reason": unready,
            "networks": networks,
            "reorgs": watcher.reorgs_by.total(),
            "unclaimed": len(await self._service.queries.unclaimed()),
            **await self._queries.counts(),
        }

    async def audit_log(self, query: AuditLogQuery) -> Verdict:
        """One part of the audit log, verified; the caller asks on while there is more."""
        return await self._audit_log.verify(query.after, expect=query.expect)

    async def sessions(self, query: SessionsQuery) -> dict[str, Any]:
        """Sessions, newest first."""
        return {"sessions": await self._queries.sessions(state=query.state, limit=query.limit)}

    async def payments(self, query: NetworkQuery) -> dict[str, Any]:
        """Payments, newest first."""
        return {"payments": await self._queries.payments(network=query.network, limit=query.limit)}

    async def invoices(self, query: NetworkQuery) -> dict[str, Any]:
        """Invoices that can still be paid, newest first."""
        return {"invoices": await self._queries.invoices(network=query.network, limit=query.limit)}

    async def refunds(self, query: RefundsQuery) -> dict[str, Any]:
        """Refunds, newest first."""
        return {"refunds": await self._queries.refunds(state=query.state, limit=query.limit)}

    async def refund(self, query: RefundQuery) -> dict[str, Any]:
        """One refund."""
        return await self._queries.refund(query.id)

    async def find(self, query: FindQuery) -> dict[str, Any]:
        """The cases of one payer, transaction, session or invoice."""
        return await self._cases.find(query.what, query.tag)

    async def balances(self, query: BalancesQuery) -> dict[str, Any]:
        """What the ledger's accounts held at a time."""
        return await self._accounts.balances(query.before)

    async def entries(self, query: EntriesQuery) -> dict[str, Any]:
        """The ledger's entries, with whose they are."""
        return await self._accounts.entries(after=query.after, last=query.last, limit=query.limit)

    async def credits(self) -> dict[str, Any]:
        """Debts too small to send yet."""
        return {"credits": await self._queries.credits()}
