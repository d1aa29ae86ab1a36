"""The ledger for accountants: every entry with whose it is and which transaction, and what the accounts hold."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Row, Select, func, null, select
from sqlalchemy.ext.asyncio import AsyncConnection

from ws402.chains.base import Chain
from ws402.gateway.books.queries import wire
from ws402.gateway.books.tally import SLACK_MS, last_before
from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.entries import balances
from ws402.gateway.ledger.tables import deliveries, entries, payments, refunds, sessions
from ws402.money import wire_amount

_TRANSFER: Final = re.compile(r"[^/]+/(?P<tx>[^/@]+)(?:/\d+)?(?:@\d+)?")
_MOVED: Final = {"transfer", "orphan", "reorg_gain", "capital"}
"""Kinds of entries whose subject is a transfer, or a transaction by which the operator moved money."""

Owner = tuple[str | None, str | None, str | None]
"""Tenant, resource, transaction."""


class Accounts:
    """Reads one ledger."""

    def __init__(self, database: Database, chains: Mapping[str, Chain]) -> None:
        self._database = database
        self._chains = chains

    async def balances(self, before: int) -> dict[str, Any]:
        """What every account held at `before` (ms since the epoch), and `last`, the newest entry that this counts.

        `chain` and `gas` by debits minus credits, the others by credits minus debits, in smallest units; `decimals` is
        None for an asset that is not configured any more.
        """
        async with self._database.read() as connection:
            last = await connection.scalar(select(func.max(entries.c.id))) or 0
            found = await balances(connection, (entries.c.created_at < before) & (entries.c.id <= last))
        rows = [
            {
                "account": account,
                "network": network,
                "asset": asset,
                "decimals": self._decimals(network, asset),
                "amount": wire_amount(amount),
            }
            for (account, network, asset), amount in sorted(found.items())
        ]
        return {"last": last, "balances": rows}

    def _decimals(self, network: str, asset: str) -> int | None:
        chain = self._chains.get(network)
        known = chain.assets.get(asset) if chain else None
        return known.decimals if known else None

    async def entries(self, *, after: int, last: int, limit: int, since: int = 0) -> dict[str, Any]:
        """Entries in the order of their ids, each with the tenant, the resource and the transaction that it is about.

        With `since` (ms since the epoch) none that are older by more than `SLACK_MS`.
        A delivery that carries refunds of several tenants or resources has none of them.
        """
        async with self._database.read() as connection:
            if since:
                after = max(after, await last_before(connection, since - SLACK_MS))
            query = select(entries).where(entries.c.id > after, entries.c.id <= last).order_by(entries.c.id)
            query = query.limit(limit)
            rows = (await connection.execute(query)).all()
            owners = await _owners(connection, {_subject(row) for row in rows})
        return {"entries": [_told(row, owners) for row in rows], "more": len(rows) == limit}


def _subject(row: Row[Any]) -> str:
    """Without the time that tells repeated events apart."""
    return str(row.subject).partition("@")[0]


def _told(row: Row[Any], owners: Mapping[str, Owner]) -> dict[str, Any]:
    tenant, resource, tx = owners.get(_subject(row), (None, None, None))
    if row.kind in _MOVED and (match := _TRANSFER.fullmatch(row.subject)):
        tx = match["tx"]
    return {**wire(row), "tenant": tenant, "resourceId": resource, "tx": tx}


async def _owners(connection: AsyncConnection, subjects: set[str]) -> dict[str, Owner]:
    s, p, r, d = sessions.c, payments.c, refunds.c, deliveries.c
    found: dict[str, Owner] = {}

    async def take(query: Select[Any], prefix: str, key: Any) -> None:
        wanted = {each for each in subjects if each.startswith(prefix)}
        if wanted:
            found.update(_unique(await connection.execute(query.where(key.in_(wanted)))))

    none = null()
    await take(select(s.id, s.tenant, s.resource_id, none), "ses_", s.id)
    await take(select(p.id, s.tenant, s.resource_id, p.tx).join(sessions, p.session_id == s.id), "pay_", p.id)
    owed = select(r.id, s.tenant, s.resource_id, r.tx).outerjoin(sessions, r.session_id == s.id)
    await take(owed, "ref_", r.id)
    sent = (
        select(d.id, s.tenant, s.resource_id, d.tx)
        .outerjoin(refunds, r.delivery_id == d.id)
        .outerjoin(sessions, r.session_id == s.id)
    )
    await take(sent, "del_", d.id)
    return found


def _unique(rows: Iterable[Sequence[Any]]) -> dict[str, Owner]:
    """One owner for each subject: what several rows say differently, none of them says."""
    found: dict[str, Owner] = {}
    for subject, *owner, tx in rows:
        before = found.get(subject, (*owner, tx))
        tenant = owner[0] if owner[0] == before[0] else None
        found[subject] = (tenant, owner[1] if tuple(owner) == before[:2] else None, tx)
    return found
