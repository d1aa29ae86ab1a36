"""One payer's case in one answer: what was asked, what arrived, what was used, what goes back, and what is next."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from ws402.chains.base import Chain, TxState
from ws402.errors import WS402Error
from ws402.gateway.books.lists import spellings
from ws402.gateway.books.queries import wire
from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.states import OVER, RefundState, SessionState, TransferState
from ws402.gateway.ledger.tables import (
    attempts,
    checkpoints,
    deliveries,
    invoices,
    payments,
    refunds,
    sessions,
    transfers,
)

MOST: Final = 20
"""Cases of one answer: an address may have paid often."""

_INVOICE: Final = invoices.c[
    "id", "tenant", "network", "asset", "recipient", "amount", "resource_id", "session_id", "created_at", "expires_at"
]
_TRANSFER: Final = transfers.c[
    "network",
    "tx",
    "idx",
    "block",
    "block_time",
    "sender",
    "recipient",
    "asset",
    "amount",
    "state",
    "refund_at",
    "seen_at",
]
_SESSION: Final = sessions.c[
    "id", "tenant", "state", "network", "asset", "payer", "resource_id", "price_per_second", "paid", "consumed",
    "refunded", "server_id", "opened_at", "ended_at", "end_reason",
]  # fmt: skip
_REFUND: Final = refunds.c[
    "id", "session_id", "network", "tx", "idx", "asset", "recipient", "amount", "state", "source_block", "reason",
    "created_at", "updated_at",
]  # fmt: skip
Key = tuple[str, str, int]
"""A transfer's: network, transaction, index in it."""
Rows = Sequence[Any]


class Cases:
    """Reads one ledger; asks a chain only about a transaction that the ledger does not know."""

    def __init__(self, database: Database, chains: Mapping[str, Chain]) -> None:
        self._database = database
        self._chains = chains

    async def find(self, what: str | None, tag: str | None) -> dict[str, Any]:
        """The cases of a transaction, an address, an id of the ledger, or `tag`, the SHA-256 of a payment's reference.

        Newest first, at most `MOST` of them; `more` says that there are others. `chain` says what a chain knows of a
        transaction that the ledger does not have.
        """
        names = set() if what is None else spellings(what, self._chains.values())
        tags = {each for each in (tag, what and what.lower().removeprefix("0x")) if each}
        async with self._database.read() as connection:
            found = _Found(connection, self._chains)
            await found.search(names, tags)
            cases = await found.cases()
        answer: dict[str, Any] = {"cases": cases[:MOST], "more": len(cases) > MOST or found.cut, "chain": None}
        if not cases and what is not None:
            answer["chain"] = await self._on_chain(what)
        return answer

    async def _on_chain(self, what: str) -> dict[str, str] | None:
        """What a chain says of a transaction that paid none of our addresses, or that no watcher has seen yet."""
        for chain in self._chains.values():
            try:
                found = await chain.lookup(chain.normalize_tx(what))
            except WS402Error:
                continue
            if found.state != TxState.UNKNOWN:
                return {"network": chain.network, "state": found.state, "why": _why(found.state, found.other)}
        return None


def _why(state: TxState, other: Sequence[str]) -> str:
    if state == TxState.PENDING:
        return "It is in no block yet. When it is, it is found by itself."
    if state == TxState.FAILED:
        return "It failed on chain: nothing was paid."
    if "recipient" in other:
        return "It pays none of our addresses: who received it must send it back."
    if "asset" in other:
        return "It pays us in a coin that nothing is sold for here, so it is in no books: send it back by hand."
    return "It pays us, and is not recorded yet: ask again after the next block."


class _Found:
    """What belongs together, gathered over one connection: first what is named, then all that hangs on it."""

    def __init__(self, connection: AsyncConnection, chains: Mapping[str, Chain]) -> None:
        self._connection = connection
        self._chains = chains
        self.cut = False
        """Whether there was more than is shown."""
        self._session_ids: set[str] = set()
        self._invoice_ids: set[str] = set()
        self._keys: set[Key] = set()
        self._naming: dict[Key, str] = {}
        """Transfers that name an invoice which no payment names: short, late, or not looked at yet."""

    async def search(self, names: set[str], tags: set[str]) -> None:
        """Note the sessions, invoices and transfers that are named."""
        p, r, s, t, v = payments.c, refunds.c, sessions.c, transfers.c, invoices.c
        sent = select(attempts.c.delivery_id).where(attempts.c.tx.in_(names))
        debts = or_(r.id.in_(names), r.recipient.in_(names), r.delivery_id.in_(names), r.delivery_id.in_(sent))
        for row in await self._newest(select(*r["session_id", "network", "tx", "idx"]).where(debts), r.created_at):
            self._note(row.session_id, row)
        arrived = select(*t["network", "tx", "idx"]).where(t.tx.in_(names) | t.sender.in_(names))
        for row in await self._newest(arrived, t.seen_at):
            self._note(None, row)
        paid = select(p.session_id).where(p.id.in_(names) | p.payer.in_(names))
        lives = select(s.id).where(s.id.in_(names) | s.payer.in_(names) | s.id.in_(paid))
        self._session_ids |= {row.id for row in await self._newest(lives, s.opened_at)}
        asked = select(*v["id", "session_id", "network", "tag", "created_at"])
        asked = asked.where(v.tag.in_(tags) | v.id.in_(names))
        for row in await self._newest(asked, v.created_at):
            self._invoice_ids.add(row.id)
            self._note(row.session_id, None)
            for each in await self._newest(
                select(*t["network", "tx", "idx"]).where(t.network == row.network, t.tags.contains(row.tag)), t.seen_at
            ):
                self._note(None, each)
                self._naming[each.network, each.tx, each.idx] = row.id

    def _note(self, session_id: str | None, key: Any) -> None:
        if session_id is not None:
            self._session_ids.add(session_id)
        if key is not None and key.tx is not None:
            self._keys.add((key.network, key.tx, key.idx))

    async def cases(self) -> list[dict[str, Any]]:
        """Everything that hangs on what was noted, as cases, newest first."""
        named = payments.c.invoice_id.in_(self._invoice_ids) | _any_of(payments.c, self._keys)
        self._session_ids |= {row.session_id for row in await self._all(select(payments.c.session_id).where(named))}
        paid = await self._all(
            select(payments).where(payments.c.session_id.in_(self._session_ids)).order_by(payments.c.created_at)
        )
        self._invoice_ids |= {row.invoice_id for row in paid}
        self._keys |= {(row.network, row.tx, row.idx) for row in paid}
        asked = {row.id: row for row in await self._all(select(*_INVOICE).where(invoices.c.id.in_(self._invoice_ids)))}
        moved = {
            (row.network, row.tx, row.idx): row
            for row in await self._all(select(*_TRANSFER).where(_any_of(transfers.c, self._keys)))
        }
        debts = await self._all(
            select(*_REFUND, deliveries.c.tx.label("sent_tx"))
            .outerjoin(deliveries, refunds.c.delivery_id == deliveries.c.id)
            .where(refunds.c.session_id.in_(self._session_ids) | _any_of(refunds.c, self._keys))
        )
        lives = await self._all(
            select(*_SESSION, *checkpoints.c["elapsed_ms", "reported_at"])
            .outerjoin(checkpoints)
            .where(sessions.c.id.in_(self._session_ids))
        )
        cases = []
        for life in lives:
            own = [row for row in paid if row.session_id == life.id]
            keys = [(row.network, row.tx, row.idx) for row in own]
            cases.append(
                self._case(
                    life.opened_at,
                    life,
                    [asked[row.invoice_id] for row in own],
                    [moved.pop(key) for key in keys if key in moved],
                    [row for row in debts if row.session_id == life.id or (row.network, row.tx, row.idx) in keys],
                )
            )
            for row in own:
                asked.pop(row.invoice_id)
        for key, transfer in moved.items():
            invoice = asked.pop(self._naming.get(key, ""), None)
            debt = [row for row in debts if (row.network, row.tx, row.idx) == key]
            cases.append(self._case(transfer.seen_at, None, [invoice] if invoice else [], [transfer], debt))
        cases += [self._case(invoice.created_at, None, [invoice], [], []) for invoice in asked.values()]
        return [each for _, each in sorted(cases, key=lambda case: -case[0])]

    def _case(self, at: int, life: Any, asked: Rows, moved: Rows, debts: Rows) -> tuple[int, dict[str, Any]]:
        some = next(row for row in (life, *asked, *moved) if row is not None)
        chain = self._chains.get(some.network)
        asset = chain.assets.get(some.asset) if chain else None
        return at, {
            "network": some.network,
            "asset": some.asset,
            "decimals": asset.decimals if asset else None,
            "session": wire(life) if life else None,
            "invoices": [wire(row) for row in asked],
            "transfers": [wire(row) for row in moved],
            "refunds": [wire(row) for row in debts],
            "next": what_next(life, asked, moved, debts),
        }

    async def _newest(self, query: Select[Any], at: ColumnElement[int]) -> Rows:
        rows = await self._all(query.order_by(at.desc()).limit(MOST + 1))
        self.cut = self.cut or len(rows) > MOST
        return rows[:MOST]

    async def _all(self, query: Select[Any]) -> Rows:
        return list(await self._connection.execute(query))


def _any_of(columns: Any, keys: set[Key]) -> ColumnElement[bool]:
    return tuple_(columns.network, columns.tx, columns.idx).in_(keys)


def what_next(life: Any, asked: Rows, moved: Rows, debts: Rows) -> list[str]:
    """What happens next by itself, and what a person can do, in sentences."""
    told = [_DEBT[RefundState(row.state)].format(row=row) for row in debts]
    if life is not None and (life.state not in OVER or not told):
        told.insert(0, _LIFE[SessionState(life.state)].format(row=life))
    if told:
        return told
    for row in moved:
        if row.state == TransferState.ORPHANED:
            told.append("A reorganisation took this transfer out of the chain: nothing was paid, unless it comes back.")
        elif row.refund_at is not None:
            told.append(f"It pays for nothing, and goes back to {row.sender} by itself after {_time(row.refund_at)}.")
        else:
            told.append(
                "It pays for nothing yet: a proof that names its invoice still opens the session. To send it back: "
                f"ws402 ops unclaimed refund {row.network} {row.tx}"
            )
    return told or [f"Nothing has arrived for it. It can be paid until {_time(row.expires_at)}." for row in asked]


def _time(at: int) -> str:
    return dt.datetime.fromtimestamp(at / 1000, dt.UTC).strftime("%Y-%m-%d %H:%M:%SZ")


_LIFE: Final = {
    SessionState.LIVE: "It is live on {row.server_id}. When it ends, what was not used goes back to {row.payer}.",
    SessionState.RELEASED: "No server has it: its client can resume it. If it does not, the session is settled at its "
    "last checkpoint, and the rest goes back to {row.payer}.",
    SessionState.ENDED: "It is over, and all of it was used: nothing goes back.",
    SessionState.REVERSED: "A reorganisation took its payment out of the chain: nothing goes back.",
}
_DEBT: Final = {
    RefundState.WAITING: "Refund {row.id} waits until block {row.source_block}, in which the payment is, is final.",
    RefundState.DUE: "Refund {row.id} is to be sent next. If it stays: ws402 ops signers list, and ws402 ops status.",
    RefundState.CREDIT: "Refund {row.id} is smaller than what sending it costs: it goes out with the payer's next one, "
    "or by: ws402 ops refunds release {row.id}",
    RefundState.IN_FLIGHT: "Refund {row.id} is signed, and in no block yet. Its attempts:"
    " ws402 ops refunds show {row.id}",
    RefundState.CONFIRMED: "Refund {row.id} is in a block, by {row.sent_tx}, and waits until that is final.",
    RefundState.FINAL: "Refund {row.id} was delivered for good, by {row.sent_tx}. Nothing is left to do.",
    RefundState.HELD: "Refund {row.id} is held: {row.reason} To send it: ws402 ops refunds release {row.id}",
    RefundState.VOID: "Refund {row.id} was called off: a reorganisation took its payment out of the chain.",
    RefundState.RESOLVED: "Refund {row.id} was settled outside of the ledger: {row.reason}",
}
