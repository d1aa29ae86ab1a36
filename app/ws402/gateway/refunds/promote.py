"""From `waiting` to `due`: a debt is paid when its payment can no longer vanish, and only to who paid it.

Nothing that a client or server said is believed here: the chain is asked once more for every payment behind a refund.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection
from typing import Any

import msgspec
from sqlalchemy import Row, bindparam, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from ws402.chains.base import ChainUnavailableError, Head, TransferLookup, TxState
from ws402.errors import WS402Error
from ws402.gateway.ledger.statements import one_of
from ws402.gateway.ledger.states import RefundState, TransferState
from ws402.gateway.ledger.tables import found_sends, payments, refunds, sessions, transfers
from ws402.gateway.refunds.key_context import KeyContext

log = logging.getLogger(__name__)

BATCH = 500
"""Refunds looked at in one pass."""


class Source(msgspec.Struct, kw_only=True):
    """A waiting refund and what it goes back to."""

    refund: Row[Any]
    session: Row[Any] | None
    transfers: list[Row[Any]]
    sent: Row[Any] | None
    """The newest that our key sent the recipient and that the ledger does not know for what."""
    signed: bool
    """The payer proved, by a signature, that the paying account is its own."""


class Promoter:
    """Lets waiting refunds become due, or holds them for an operator."""

    def __init__(self, context: KeyContext) -> None:
        self._context = context
        self._recheck: dict[str, float] = {}

    async def run(self, head: Head) -> int:
        """One pass; answers how many refunds moved."""
        now = time.monotonic()
        self._recheck = {refund_id: at for refund_id, at in self._recheck.items() if at > now}
        async with self._context.database.begin() as connection:
            sources = await self._read(connection, head)
        self._context.condition.unproven = len(self._recheck)
        if not sources:
            return 0
        proven = await self._prove(sources, head)
        verdicts = await self._judge(proven)
        if verdicts:
            await self._write(verdicts)
        self._context.condition.unproven = len(self._recheck)
        return len(verdicts)

    async def _read(self, connection: AsyncConnection, head: Head) -> list[Source]:
        ready = (
            (refunds.c.network == self._context.network)
            & (refunds.c.state == RefundState.WAITING)
            & (refunds.c.source_block <= head.final)
            & ~one_of(refunds.c.id, list(self._recheck))
        )
        # Everybody's first comes before anybody's second, so that one payer's many keep nobody waiting.
        age = (refunds.c.created_at, refunds.c.id)
        place = func.row_number().over(partition_by=refunds.c.recipient, order_by=age).label("place")
        ranked = select(refunds.c.id, place).where(ready).subquery()
        query = select(refunds).join(ranked, refunds.c.id == ranked.c.id)
        query = query.order_by(ranked.c.place, *age).limit(BATCH)
        rows = (await connection.execute(query)).all()
        ids = [row.session_id for row in rows if row.session_id is not None]
        owners: dict[str, Row[Any]] = {}
        paid: dict[str, list[Row[Any]]] = {}
        signed: set[str] = set()
        if ids:
            found = await connection.execute(select(sessions).where(sessions.c.id.in_(ids)))
            owners = {row.id: row for row in found}
            joined = (
                select(transfers, payments.c.session_id, payments.c.binding)
                .join(payments, _same_transfer())
                .where(payments.c.session_id.in_(ids), transfers.c.state != TransferState.ORPHANED)
            )
            for row in await connection.execute(joined):
                paid.setdefault(row.session_id, []).append(row)
                if row.binding == "signature":
                    signed.add(row.session_id)
        stray: dict[tuple[str, int], Row[Any]] = {}
        txs = {row.tx for row in rows if row.tx is not None}
        if txs:
            where = (transfers.c.network == self._context.network) & transfers.c.tx.in_(txs)
            found = await connection.execute(
                select(transfers).where(where, transfers.c.state != TransferState.ORPHANED)
            )
            stray = {(row.tx, row.idx): row for row in found}
        sent = await _unexplained(connection, self._context.network, {row.recipient for row in rows})
        return [
            Source(
                refund=row,
                sent=sent.get((row.recipient, row.asset)),
                session=owners.get(row.session_id),
                transfers=paid.get(row.session_id, [])
                if row.session_id is not None
                else [each for each in (stray.get((row.tx, row.idx)),) if each is not None],
                signed=row.session_id in signed,
            )
            for row in rows
        ]

    async def _prove(self, sources: list[Source], head: Head) -> list[Source]:
        """Those whose payments the chain shows, final, as the ledger has them. The others are asked for again later."""
        worth: dict[str, int] = {}
        for source in sources:
            for each in source.transfers:
                worth[each.tx] = max(worth.get(each.tx, 0), each.amount)
        chain = self._context.chain
        answers = dict(await self._context.each(list(worth), lambda tx: chain.lookup(tx, amount=worth[tx])))
        proven = []
        for source in sources:
            if source.transfers and all(_shows(answers[each.tx], each, head) for each in source.transfers):
                proven.append(source)
                continue
            self._ask_later(source.refund.id)
            log.warning(
                "refund %s waits: %s does not confirm its payment as final", source.refund.id, self._context.network
            )
        return proven

    def _ask_later(self, refund_id: str) -> None:
        self._recheck[refund_id] = time.monotonic() + self._context.policy.recheck_ms / 1000

    async def _judge(self, sources: list[Source]) -> list[dict[str, Any]]:
        """New states. A recipient that is a contract nobody proved to be the payer's own is held (an exchange, say)."""
        unknown = sorted({each.refund.recipient for each in sources if not (each.signed or each.refund.cleared)})
        contracts = dict(await self._context.each(unknown, self._context.chain.is_contract))
        verdicts = []
        for source in sources:
            refund = source.refund
            reason = _contradiction(source) or _perhaps_paid(source)
            is_contract = contracts.get(refund.recipient, False)
            if isinstance(is_contract, ChainUnavailableError):
                self._ask_later(refund.id)
                continue
            if isinstance(is_contract, Exception):
                raise is_contract
            if reason is None and is_contract:
                reason = (
                    f"{refund.recipient} is a contract, perhaps an exchange's, and no signature proves that it is the "
                    "payer's own: release it when the payer can receive there, or pay otherwise and resolve it."
                )
            verdicts.append(
                {"b_id": refund.id, "state": RefundState.HELD if reason else RefundState.DUE, "reason": reason}
            )
        return verdicts

    async def _write(self, verdicts: list[dict[str, Any]]) -> None:
        now = self._context.database.now_ms()
        for each in verdicts:
            each["updated_at"] = now
            each["due_at"] = now if each["state"] == RefundState.DUE else None
            if each["state"] == RefundState.HELD:
                self._context.counters.refunds_held += 1
                log.warning("refund %s is held: %s", each["b_id"], each["reason"])
        async with self._context.database.begin() as connection:
            await self._context.lease.fence(connection)
            await connection.execute(_PROMOTE, verdicts)


_PROMOTE = (
    update(refunds)
    # A reorg or an operator may have been faster.
    .where(refunds.c.id == bindparam("b_id"), refunds.c.state == RefundState.WAITING)
    .values({name: bindparam(name) for name in ("state", "reason", "due_at", "updated_at")})
)


def _same_transfer() -> Any:
    return (
        (payments.c.network == transfers.c.network)
        & (payments.c.tx == transfers.c.tx)
        & (payments.c.idx == transfers.c.idx)
    )


def _shows(answer: TransferLookup | Exception, row: Row[Any], head: Head) -> bool:
    if isinstance(answer, WS402Error):
        return False
    if isinstance(answer, Exception):
        raise answer
    if answer.state not in (TxState.INCLUDED, TxState.FINAL):
        return False
    return any(
        (each.index, each.sender, each.recipient, each.asset, each.amount)
        == (row.idx, row.sender, row.recipient, row.asset, row.amount)
        and each.block <= head.final
        for each in answer.transfers
    )


async def _unexplained(
    connection: AsyncConnection, network: str, recipients: Collection[str]
) -> dict[tuple[str, str], Row[Any]]:
    """By recipient and asset: the newest transaction of ours that paid no refund that the ledger knows."""
    query = select(found_sends).where(found_sends.c.network == network, found_sends.c.delivery_id.is_(None))
    query = query.where(one_of(found_sends.c.recipient, list(recipients)))
    rows = await connection.execute(query.order_by(found_sends.c.block))
    return {(row.recipient, row.asset): row for row in rows if row.amount}


def perhaps(tx: str, amount: int, asset: str) -> str:
    """Why a refund is held that an old copy of the ledger may have forgotten to be paid."""
    return (
        f"Transaction {tx} sent this payer {amount} units of {asset}, and a restored ledger cannot tell for what: "
        "resolve this refund if that paid it, release it if not."
    )


def _perhaps_paid(source: Source) -> str | None:
    """A refund is sent after its payment. What an operator released has been looked at."""
    sent = source.sent
    if sent is None or source.refund.cleared or min(each.block for each in source.transfers) > sent.block:
        return None
    return perhaps(sent.tx, sent.amount, sent.asset)


def _contradiction(source: Source) -> str | None:
    """What is wrong when a refund is not what its session or transfer says. No code path makes such a row."""
    refund, session = source.refund, source.session
    if session is None:
        (transfer,) = source.transfers
        fits = (refund.recipient, refund.asset, refund.amount) == (transfer.sender, transfer.asset, transfer.amount)
    else:
        payers = {row.sender for row in source.transfers}
        fits = (
            (refund.recipient, refund.asset, refund.amount) == (session.payer, session.asset, session.refunded)
            and refund.amount <= session.paid - session.consumed
            and payers == {refund.recipient}
        )
    return None if fits else "The refund contradicts the session or transfer that it belongs to."
