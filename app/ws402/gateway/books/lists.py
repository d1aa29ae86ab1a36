"""Sessions, payments, refunds, invoices and unclaimed money as lists: newest first, searched, and read page by page.

Ids are ordered by time (`ledger.ids`), so a page goes on from the id at which the one before ended, by the primary key:
the hundredth page costs what the first does. A search that no index answers looks at `WINDOW` rows a page, and says
where to go on: no question of an operator reads a whole table at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
from sqlalchemy import Column, ColumnElement, Select, and_, or_, select

from ws402.chains.base import Chain
from ws402.errors import InvalidRequestError, WS402Error
from ws402.gateway.books.queries import MOST, unpaid, wire
from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.ids import first_id
from ws402.gateway.ledger.states import TransferState
from ws402.gateway.ledger.tables import (
    attempts,
    checkpoints,
    deliveries,
    invoices,
    networks,
    payments,
    refunds,
    sessions,
    transfers,
)

WINDOW: Final = 50_000
"""Rows that one page of a search looks at."""

SLACK_MS: Final = 86_400_000
"""Ids have the time of the process that made them, rows that of the ledger: they differ by far less."""

PREFIXES: Final = {"sessions": "ses", "payments": "pay", "invoices": "inv", "refunds": "ref"}


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """What is looked for. Times are ms since the epoch: from `since` on, before `until`.

    `payer` and `tx` in any spelling that a network of ours takes. `before`: where the page before said to go on.
    """

    state: str | None = None
    network: str | None = None
    payer: str | None = None
    tx: str | None = None
    resource: str | None = None
    since: int | None = None
    until: int | None = None
    before: str | None = None
    limit: int = 100


class Page(msgspec.Struct, frozen=True):
    """Rows in the wire's spelling. `next`: give it as `before` for what is older; None when there is nothing."""

    rows: list[dict[str, Any]]
    next: str | None


_NUMBER: Final = re.compile(r"-?[0-9]{1,15}")

Filters = list[ColumnElement[bool]]


class Lists:
    """Reads one ledger."""

    def __init__(self, database: Database, chains: Mapping[str, Chain]) -> None:
        self._database = database
        self._chains = chains

    async def sessions(self, search: Search) -> Page:
        """What was paid, used and refunded, and which server has them."""
        s = sessions.c
        query = select(
            *s["id", "tenant", "state", "network", "asset", "payer", "resource_id", "price_per_second", "paid"],
            *s["consumed", "refunded", "server_id", "opened_at", "ended_at", "end_reason"],
            *checkpoints.c["elapsed_ms", "reported_at"],
        ).outerjoin(checkpoints)
        where = self._common(search, s.state, s.network, s.opened_at)
        where += self._of_payer(search, s.payer) + _equal(s.resource_id, search.resource)
        if search.tx is not None:
            where.append(s.id.in_(self._paid_by(search.tx)))
        return await self._page(query, s.id, where, search, indexed=search.tx is not None)

    async def payments(self, search: Search) -> Page:
        """Transfers that were credited to an invoice."""
        p = payments.c
        query = (
            select(
                *p["id", "network", "tx", "amount", "payer", "binding", "session_id", "invoice_id", "created_at"],
                transfers.c.asset,
                sessions.c.resource_id,
            )
            .join(transfers)
            .join(sessions, p.session_id == sessions.c.id)
        )
        where = self._common(search, None, p.network, p.created_at)
        where += self._of_payer(search, p.payer) + _equal(sessions.c.resource_id, search.resource)
        if search.tx is not None:
            where.append(_of_tx(p.network, p.tx, self._spellings(search.tx)))
        return await self._page(query, p.id, where, search, indexed=search.tx is not None)

    async def invoices(self, search: Search) -> Page:
        """Invoices that can still be paid."""
        v = invoices.c
        query = select(*v["id", "tenant", "network", "asset", "amount", "resource_id", "created_at", "expires_at"])
        where = self._common(search, None, v.network, v.created_at) + _equal(v.resource_id, search.resource)
        return await self._page(query, v.id, [*where, unpaid(self._database.now_ms())], search, indexed=True)

    async def refunds(self, search: Search) -> Page:
        """Debts to payers, with the transaction that delivers them."""
        r = refunds.c
        query = (
            select(
                *r["id", "state", "network", "asset", "amount", "recipient", "session_id", "reason"],
                *r["created_at", "updated_at"],
                deliveries.c.tx,
                sessions.c.resource_id,
            )
            .outerjoin(deliveries, r.delivery_id == deliveries.c.id)
            .outerjoin(sessions, r.session_id == sessions.c.id)
        )
        where = self._common(search, r.state, r.network, r.created_at)
        where += self._of_payer(search, r.recipient) + _equal(sessions.c.resource_id, search.resource)
        if search.tx is not None:
            names = self._spellings(search.tx)
            carried = select(attempts.c.delivery_id).where(attempts.c.tx.in_(names))
            where.append(
                or_(
                    r.delivery_id.in_(carried),
                    _of_tx(r.network, r.tx, names),
                    r.session_id.in_(self._paid_by(search.tx)),
                )
            )
        return await self._page(query, r.id, where, search, indexed=bool(search.tx or search.payer))

    async def unclaimed(self, search: Search) -> Page:
        """Money that arrived, pays for no session and is owed to nobody yet."""
        t = transfers.c
        claimed = select(payments.c.tx).where(
            payments.c.network == t.network, payments.c.tx == t.tx, payments.c.idx == t.idx
        )
        query = select(*t["network", "tx", "idx", "asset", "amount", "sender", "block_time", "seen_at", "refund_at"])
        where = self._common(search, None, t.network, t.seen_at) + self._of_payer(search, t.sender)
        where += [t.state == TransferState.SEEN, ~claimed.exists()]
        if search.tx is not None:
            where.append(_of_tx(t.network, t.tx, self._spellings(search.tx)))
        key = (t.seen_at, t.network, t.tx, t.idx)
        if search.before is not None:
            where.append(_below(key, _cursor(search.before)))
        limit = min(search.limit, MOST)
        ordered = query.where(*where).order_by(*(each.desc() for each in key)).limit(limit + 1)
        async with self._database.read() as connection:
            found = (await connection.execute(ordered)).all()
        rows = found[:limit]
        more = f"{rows[-1].seen_at}/{rows[-1].network}/{rows[-1].tx}/{rows[-1].idx}" if len(found) > limit else None
        return Page([wire(row) for row in rows], more)

    async def _page(
        self, query: Select[Any], key: Column[str], where: Filters, search: Search, *, indexed: bool
    ) -> Page:
        """One page by `key`. What no index finds (not `indexed`) is looked for in a window of rows, and no further."""
        limit = min(search.limit, MOST)
        start: Filters = [] if search.before is None else [key < search.before]
        prefix = PREFIXES[key.table.name]
        if search.since is not None:
            start.append(key >= first_id(prefix, max(0, search.since - SLACK_MS)))
        if search.until is not None:
            start.append(key < first_id(prefix, search.until + SLACK_MS))
        floor = None
        async with self._database.read() as connection:
            if not indexed and any((search.network, search.payer, search.resource)):
                nth = select(key).where(*start).order_by(key.desc()).offset(WINDOW).limit(1)
                floor = await connection.scalar(nth)
            bounds = start if floor is None else [*start, key >= floor]
            found = (await connection.execute(query.where(*where, *bounds).order_by(key.desc()).limit(limit + 1))).all()
        if len(found) > limit:
            floor = found[limit - 1].id
        return Page([wire(row) for row in found[:limit]], floor)

    def _common(self, search: Search, state: Any, network: Column[str], at: Column[int]) -> Filters:
        found = _equal(network, search.network)
        if state is not None:
            found += _equal(state, search.state)
        if search.since is not None:
            found.append(at >= search.since)
        if search.until is not None:
            found.append(at < search.until)
        return found

    def _of_payer(self, search: Search, column: Column[str]) -> Filters:
        return [] if search.payer is None else [column.in_(self._spellings(search.payer))]

    def _paid_by(self, tx: str) -> Select[Any]:
        """The sessions that a transaction paid for."""
        return select(payments.c.session_id).where(_of_tx(payments.c.network, payments.c.tx, self._spellings(tx)))

    def _spellings(self, what: str) -> set[str]:
        return spellings(what, self._chains.values())


def spellings(what: str, chains: Iterable[Chain]) -> set[str]:
    """As the ledger may spell it: as it is, and a transaction or an address as these chains write it."""
    names = {what}
    for chain in chains:
        for normal in (chain.normalize_tx, chain.normalize_address):
            try:
                names.add(normal(what))
            except WS402Error:
                continue
    return names


def _equal(column: Any, value: str | None) -> Filters:
    return [] if value is None else [column == value]


def _of_tx(network: Any, tx: Any, names: set[str]) -> ColumnElement[bool]:
    """By the index of (network, tx, …): the networks are few."""
    return and_(network.in_(select(networks.c.network)), tx.in_(names))


def _below(key: tuple[Any, ...], last: tuple[Any, ...]) -> ColumnElement[bool]:
    """Rows that come after `last` when all columns go down."""
    return or_(*(and_(*(key[j] == last[j] for j in range(i)), key[i] < last[i]) for i in range(len(key))))


def _cursor(text: str) -> tuple[int, str, str, int]:
    parts = text.split("/")
    if len(parts) != 4 or not (_NUMBER.fullmatch(parts[0]) and _NUMBER.fullmatch(parts[3])):
        raise InvalidRequestError(
            f"'before' is '{text}', which no page ends with.", remedy="Give what the page before told as 'next'."
        )
    return int(parts[0]), parts[1], parts[2], int(parts[3])
