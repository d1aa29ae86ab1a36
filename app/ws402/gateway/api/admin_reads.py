"""What operators look at, over HTTP."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Annotated, Any, Final, Literal

import msgspec
from litestar.handlers import ASGIRouteHandler

from ws402 import __version__
from ws402.chains.base import Chain
from ws402.errors import WS402Error
from ws402.gateway.api.requests import Requests
from ws402.gateway.auth.keys import LOOK
from ws402.gateway.books.accounts import Accounts
from ws402.gateway.books.audit_log import AuditLog, Verdict
from ws402.gateway.books.cases import Cases
from ws402.gateway.books.collections import Collections
from ws402.gateway.books.lists import Page, Search
from ws402.gateway.books.queries import MOST
from ws402.gateway.books.stats import decimals
from ws402.gateway.books.tally import Tally
from ws402.gateway.ledger.database import now_ms
from ws402.gateway.ledger.states import AuthorizationState, RefundState, SessionState
from ws402.gateway.refunds import Operator, RefundEngine
from ws402.gateway.service import PaymentService
from ws402.money import MAX_JSON_INTEGER, wire_amount

log = logging.getLogger(__name__)

BALANCE_SECONDS: Final = 15.0
CHAIN_SECONDS: Final = 8.0
SESSION_STATES: Final = tuple(each.value for each in SessionState)
REFUND_STATES: Final = tuple(each.value for each in RefundState)

Limit = Annotated[int, msgspec.Meta(ge=1, le=MOST)]


Text = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Time = Annotated[int, msgspec.Meta(ge=0, le=MAX_JSON_INTEGER)]


class ListQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """GET /api/admin/payments, invoices and unclaimed; see `Search`."""

    network: Text | None = None
    payer: Text | None = None
    tx: Text | None = None
    resource: Text | None = None
    since: Time | None = None
    until: Time | None = None
    before: Text | None = None
    limit: Limit = 100


class SessionsQuery(ListQuery, kw_only=True, forbid_unknown_fields=True):
    """GET /api/admin/sessions."""

    state: SessionState | None = None


class RefundsQuery(ListQuery, kw_only=True, forbid_unknown_fields=True):
    """GET /api/admin/refunds."""

    state: RefundState | None = None


class AuthorizationsQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """GET /api/admin/authorizations."""

    state: AuthorizationState | None = None
    limit: Limit = 100


class IdQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """GET /api/admin/refund and authorization."""

    id: str


class FindQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """GET /api/admin/find. `tag` is the SHA-256, in hex, of a payment's reference: that stays with the caller."""

    what: Text | None = None
    tag: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")] | None = None


class BalancesQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """GET /api/admin/balances. `before`: ms since the epoch."""

    before: Time


class EntriesQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """GET /api/admin/entries: after one id, up to another; with `since` (ms since the epoch), hardly any older ones."""

    last: Time
    after: Time = 0
    since: Time = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=2000)] = 1000


class AuditLogQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """GET /api/admin/audit-log."""

    after: Annotated[int, msgspec.Meta(ge=0)] = 0
    expect: str | None = None


class RecordsQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """GET /api/admin/audit-log/records."""

    kind: Literal["operator", "entries"] | None = None
    before: Time | None = None
    limit: Limit = 100


class AdminReads:
    """Questions of operators to one gateway; all need a key of the admin or the read scope."""

    def __init__(self, service: PaymentService, refunds: RefundEngine, audit_log: AuditLog) -> None:
        self._service = service
        self._audit_log = audit_log
        self._engine = refunds
        self._queries = service.queries
        self._lists = service.lists
        self._tally = Tally(service.database)
        self._asking = asyncio.Lock()
        self._balances: dict[tuple[str, str], dict[str, int | None]] = {}
        self._balances_until = 0.0
        self.decimals = decimals(service.chains)
        """By network and asset: how many decimals a coin has."""
        self.natives = {name: chain.native for name, chain in service.chains.items()}
        """By network: the coin in which fees are paid."""
        self._cases = Cases(service.database, service.chains)
        self._collections = Collections(service.database)
        self._accounts = Accounts(service.database, service.chains)

    def handlers(self, requests: Requests) -> list[ASGIRouteHandler]:
        """All of them."""
        return [
            requests.get("/api/admin/status", self.status, *LOOK),
            requests.get("/api/admin/money", self.money, *LOOK),
            requests.get("/api/admin/credits", self.credits, *LOOK),
            requests.query("/api/admin/sessions", SessionsQuery, self.sessions, *LOOK),
            requests.query("/api/admin/payments", ListQuery, self.payments, *LOOK),
            requests.query("/api/admin/invoices", ListQuery, self.invoices, *LOOK),
            requests.query("/api/admin/refunds", RefundsQuery, self.refunds, *LOOK),
            requests.query("/api/admin/refund", IdQuery, self.refund, *LOOK),
            requests.query("/api/admin/authorizations", AuthorizationsQuery, self.authorizations, *LOOK),
            requests.query("/api/admin/authorization", IdQuery, self.authorization, *LOOK),
            requests.query("/api/admin/find", FindQuery, self.find, *LOOK),
            requests.query("/api/admin/balances", BalancesQuery, self.balances, *LOOK),
            requests.query("/api/admin/entries", EntriesQuery, self.entries, *LOOK),
            requests.query("/api/admin/unclaimed", ListQuery, self.unclaimed, *LOOK),
            requests.query("/api/admin/audit-log", AuditLogQuery, self.audit_log, *LOOK),
            requests.query("/api/admin/audit-log/records", RecordsQuery, self.records, *LOOK),
        ]

    async def status(self) -> dict[str, Any]:
        """How it stands: readiness, networks and their refund keys, sessions and refunds by state."""
        try:
            await self._service.ready()
        except WS402Error as error:
            unready: str | None = str(error)
        else:
            unready = None
        return {
            "version": __version__,
            "uptime": int(time.time() - self._service.started_at),
            "timestamp": now_ms(),
            "ready": unready is None,
            "reason": unready,
            "networks": self.networks(),
            "reorgs": self._service.watcher.reorgs_by.total(),
            "unclaimed": len((await self._lists.unclaimed(Search(limit=MOST))).rows),
            "decimals": self.decimals,
            **await self._queries.counts(),
        }

    def networks(self) -> list[dict[str, Any]]:
        """How each network and its refund key stand; neither ledger nor chain is asked."""
        watcher, engine = self._service.watcher, self._engine.stats()
        return [
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

    async def accounts(self) -> list[dict[str, Any]]:
        """Our accounts on every network, what they hold (None where the chain does not answer in time), and how their
        keys stand. The chains are asked once in `BALANCE_SECONDS`, however often this is.
        """
        async with self._asking:
            if time.monotonic() >= self._balances_until:
                chains = self._service.chains.values()
                found = await asyncio.gather(*(self._held(chain) for chain in chains))
                self._balances = {key: value for each in found for key, value in each.items()}
                self._balances_until = time.monotonic() + BALANCE_SECONDS
        signers = {(each["network"], each["address"]): each for each in await Operator(self._service.database).keys()}
        return [
            self._account(chain, address, held, signers.get((network, address)))
            for (network, address), held in sorted(self._balances.items())
            for chain in [self._service.chains[network]]
        ]

    async def _held(self, chain: Chain) -> dict[tuple[str, str], dict[str, int | None]]:
        addresses = sorted(self._service.addresses[chain.network])
        held: dict[tuple[str, str], dict[str, int | None]] = {
            (chain.network, address): dict.fromkeys(chain.assets) for address in addresses
        }
        try:
            async with asyncio.timeout(CHAIN_SECONDS):
                for address in addresses:
                    for asset in chain.assets:
                        held[chain.network, address][asset] = await chain.balance(address, asset)
        except (WS402Error, TimeoutError) as error:
            log.info("%s: balances could not be read: %s", chain.network, error)
        return held

    def _account(
        self, chain: Chain, address: str, held: dict[str, int | None], signer: dict[str, Any] | None
    ) -> dict[str, Any]:
        engine = self._engine.stats().get(chain.network) or {}
        signs = address == engine.get("address")
        state = "signs refunds" if signs else "receives only"
        if signs and signer is not None and signer["paused"]:
            state = f"paused: {signer['pause_reason']}"
        elif signs and not engine["holds_lease"]:
            state = "signs in another gateway"
        role = "refund key" if signs else "payments" if address == chain.recipient else "former, or a collector's"
        return {
            "network": chain.network,
            "address": address,
            "role": role,
            "signs": signs,
            "paused": bool(signer and signer["paused"]),
            "state": state,
            "balances": held,
        }

    async def money(self) -> dict[str, Any]:
        """By asset, what today (UTC) brought and what the accounts hold; all of it once `through` is `newest`."""
        count = await self._tally.read()
        rows = [
            {
                name: value if isinstance(value, str) else wire_amount(value)
                for name, value in msgspec.structs.asdict(each).items()
            }
            for each in count.money
        ]
        return {"money": rows, "through": count.through, "newest": count.newest, "decimals": self.decimals}

    async def audit_log(self, query: AuditLogQuery) -> Verdict:
        """One part of the audit log, verified; the caller asks on while there is more."""
        return await self._audit_log.verify(query.after, expect=query.expect)

    async def records(self, query: RecordsQuery) -> dict[str, Any]:
        """Records of the audit log, newest first."""
        records, after = await self._audit_log.records(kind=query.kind, before=query.before, limit=query.limit)
        return {"records": records, "next": after}

    async def sessions(self, query: SessionsQuery) -> dict[str, Any]:
        """Sessions, newest first."""
        return self._told("sessions", await self._lists.sessions(_search(query)))

    async def payments(self, query: ListQuery) -> dict[str, Any]:
        """Payments, newest first."""
        return self._told("payments", await self._lists.payments(_search(query)))

    async def invoices(self, query: ListQuery) -> dict[str, Any]:
        """Invoices that can still be paid, newest first."""
        return self._told("invoices", await self._lists.invoices(_search(query)))

    async def refunds(self, query: RefundsQuery) -> dict[str, Any]:
        """Refunds, newest first."""
        return self._told("refunds", await self._lists.refunds(_search(query)))

    async def unclaimed(self, query: ListQuery) -> dict[str, Any]:
        """Money that arrived and pays for no session, newest first."""
        return self._told("transfers", await self._lists.unclaimed(_search(query)))

    def _told(self, name: str, page: Page) -> dict[str, Any]:
        return {name: page.rows, "next": page.next, "decimals": self.decimals}

    async def refund(self, query: IdQuery) -> dict[str, Any]:
        """One refund."""
        return await self._queries.refund(query.id)

    async def authorizations(self, query: AuthorizationsQuery) -> dict[str, Any]:
        """Signed transfers, newest first."""
        rows = await self._collections.list(state=query.state, limit=query.limit)
        return {"authorizations": rows, "decimals": self.decimals}

    async def authorization(self, query: IdQuery) -> dict[str, Any]:
        """One signed transfer."""
        return await self._collections.show(query.id)

    async def find(self, query: FindQuery) -> dict[str, Any]:
        """The cases of one payer, transaction, session or invoice."""
        return await self._cases.find(query.what, query.tag)

    async def balances(self, query: BalancesQuery) -> dict[str, Any]:
        """What the ledger's accounts held at a time."""
        return await self._accounts.balances(query.before)

    async def entries(self, query: EntriesQuery) -> dict[str, Any]:
        """The ledger's entries, with whose they are."""
        return await self._accounts.entries(after=query.after, last=query.last, since=query.since, limit=query.limit)

    async def credits(self) -> dict[str, Any]:
        """Debts too small to send yet."""
        return {"credits": await self._queries.credits(), "decimals": self.decimals}


def _search(query: ListQuery) -> Search:
    return Search(**msgspec.structs.asdict(query))
