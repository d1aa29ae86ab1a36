"""Bringing an old copy of the ledger up to what its keys have sent since, before any of them signs again.

The chain is read from where the copy stands: every transaction of our accounts that the ledger does not know is booked,
with the refunds that it paid, or, when it paid none that are known, as the operator's. Nonces prove that none lacks.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import msgspec
from sqlalchemy import Row, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from ws402.chains.base import Chain, Head, Sent
from ws402.errors import ConflictError
from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.states import UNDECIDED, UNSENT, DeliveryState
from ws402.gateway.ledger.tables import (
    attempts,
    authorizations,
    deliveries,
    found_sends,
    invoices,
    networks,
    refunds,
    signers,
)
from ws402.gateway.refunds.explain import Explanation, Owed, Signed, explain
from ws402.gateway.refunds.reconcile import LOOK
from ws402.gateway.refunds.record import write
from ws402.money import WireAmount, wire_amount

LOOK_SECONDS: Final = 5.0
"""One call reads the chain for this long at most; the next one goes on."""

EXPIRY_MS: Final = 180_000
"""Where transactions have no nonce: after this long none that an earlier gateway signed can land any more. A blockhash
is good for 150 blocks, about a minute (Solana, "Transaction Confirmation & Expiration").
"""

CHUNK: Final = 500


class FoundSend(msgspec.Struct, kw_only=True):
    """One movement that the ledger did not know. `refunds`: those that it paid."""

    tx: str
    block: int
    recipient: str
    asset: str
    amount: WireAmount
    refunds: list[str]
    collects: int
    """Payers' transfers that it brought to the chain; each pays for a session of its own."""


class Reconciliation(msgspec.Struct, kw_only=True):
    """How far it is. `looking`: ask again; `waiting`: ask again later, `reason` says for what; `found`, `done`."""

    network: str
    state: Literal["looking", "waiting", "found", "done"]
    block: int
    through: int
    reason: str | None = None
    sends: list[FoundSend] = []
    dearer: list[str] = []
    """Transactions that are another form of one that the ledger knows."""
    held: list[str] = []
    """Refunds that an operator must look at."""


class _Look:
    """What was read of one network, up to its newest final block."""

    def __init__(self, first: int, senders: Sequence[str]) -> None:
        self.first = self.next = first
        self.senders = list(senders)
        self.sends: list[Sent] = []


class Recovery:
    """For one gateway's networks. `addresses`: our accounts, by network."""

    def __init__(self, database: Database, chains: Mapping[str, Chain], addresses: Mapping[str, set[str]]) -> None:
        self._database = database
        self._chains = chains
        self._addresses = addresses
        self._looks: dict[str, _Look] = {}

    async def reconcile(self, network: str, *, dry_run: bool) -> Reconciliation:
        """Go on; with `dry_run` nothing is changed. Raises ConflictError, ChainUnavailableError."""
        chain = self._chains[network]
        async with self._database.read() as connection:
            starts = await self._starts(connection, network)
        if not starts:
            return Reconciliation(network=network, state="done", block=0, through=0)
        first = min(each.block for each in starts)
        look = self._looks.get(network)
        if look is None or look.first != first or look.senders != [each.signer for each in starts]:
            look = self._looks[network] = _Look(first, [each.signer for each in starts])
        # The nonces before the head: whatever used them is then in a block up to it.
        nonces = {each.signer: await chain.next_nonce(each.signer) for each in starts}
        head = await chain.head()
        answer = Reconciliation(network=network, state="looking", block=look.next, through=head.block)
        if not await _read(chain, look, head):
            answer.block = look.next
            return answer
        waiting = await self._outstanding(chain, nonces)
        newest = await _between(chain, look.senders, look.next, head.block)
        answer.block, sends = head.block, [*look.sends, *newest]
        async with self._database.begin(dry_run=dry_run) as connection:
            mark = (await connection.execute(_marked(network).with_for_update())).one()
            keys = (await connection.execute(_keys(network).with_for_update())).all()
            unknown = await _unknown(connection, network, sends)
            reason = await _undecided(connection, network, mark, head, nonces) or _unsettled(unknown, head) or waiting
            if reason is not None:
                answer.state, answer.reason = "waiting", reason
                return answer
            await _check_complete(connection, starts, nonces, sends)
            found = await self._explain(connection, network, unknown)
            await write(connection, chain, found, self._ours(network), self._database.now_ms())
            await _release(connection, keys, network, nonces)
        if not dry_run:
            del self._looks[network]
        return _told(answer, found, dry_run=dry_run)

    async def _starts(self, connection: AsyncConnection, network: str) -> list[_Start]:
        """Where to begin with each key; none when nothing is to be looked for."""
        mark = (await connection.execute(_marked(network))).first()
        if mark is None:
            return []
        keys = (await connection.execute(_keys(network))).all()
        if mark.restored_at is not None:
            given = {row.address: row.next_nonce for row in keys}
            return [
                _Start(signer=each, block=mark.restored_block + 1, nonce=given.get(each))
                for each in sorted(given.keys() | self._addresses[network])
            ]
        suspects = [row for row in keys if row.paused and (row.pause_reason or "").endswith(LOOK.format(network))]
        return [await _gap(connection, row, mark.first_block) for row in suspects]

    async def _explain(self, connection: AsyncConnection, network: str, unknown: Sequence[Sent]) -> Explanation:
        owed = select(*refunds.c["id", "recipient", "asset", "amount", "state"])
        owed = owed.where(refunds.c.network == network, refunds.c.state.in_(UNSENT))
        rows = await connection.execute(owed.order_by(refunds.c.created_at, refunds.c.id).with_for_update())
        debts = [Owed(**row._mapping) for row in rows]  # noqa: SLF001 - documented
        open_ = select(*deliveries.c["id", "nonce", "signer", "kind", "recipient", "asset", "amount"], invoices.c.tag)
        open_ = open_.select_from(
            deliveries.outerjoin(authorizations, authorizations.c.delivery_id == deliveries.c.id).outerjoin(
                invoices, invoices.c.id == authorizations.c.invoice_id
            )
        ).where(deliveries.c.network == network, deliveries.c.state == DeliveryState.SIGNED)
        signed = [Signed(**row._mapping) for row in await connection.execute(open_)]  # noqa: SLF001
        return explain(unknown, signed, debts, self._ours(network).__contains__)

    def _ours(self, network: str) -> set[str]:
        return self._addresses[network]

    async def _outstanding(self, chain: Chain, nonces: Mapping[str, int | None]) -> str | None:
        for signer, nonce in nonces.items():
            if nonce is None:
                continue
            waiting = await chain.outstanding(signer)
            mine = (deliveries.c.network == chain.network) & (deliveries.c.signer == signer)
            known = select(func.count()).where(mine, deliveries.c.nonce >= nonce, deliveries.c.nonce < nonce + waiting)
            async with self._database.read() as connection:
                waiting -= (await connection.execute(known)).scalar_one()
            if waiting > 0:
                return (
                    f"{waiting} transactions of {signer} that the ledger does not know wait for a block in the nodes' "
                    "pools: wait until they are in one, or replace them by transactions without effect."
                )
        return None


class _Start(msgspec.Struct, kw_only=True):
    """From which block to look for the transactions of an account of ours.

    `nonce`: the first that the ledger cannot explain; None where it never gave any out.
    """

    signer: str
    block: int
    nonce: int | None


def _marked(network: str) -> Any:
    return select(networks).where(networks.c.network == network)


def _keys(network: str) -> Any:
    return select(signers).where(signers.c.network == network).order_by(signers.c.address)


async def _gap(connection: AsyncConnection, row: Row[Any], first_block: int) -> _Start:
    """For a copy that was put back by hand, and noticed by its nonces: the last transaction before the first gap."""
    mine = (deliveries.c.network == row.network) & (deliveries.c.signer == row.address)
    found = await connection.execute(select(*deliveries.c["nonce", "block", "state", "tx"]).where(mine))
    # One whose nonce something unknown has used, or that waits though its nonce is past, explains nothing.
    known = {each.nonce: each.block for each in found if each.nonce is not None and each.block is not None}
    nonce = min(known, default=row.next_nonce)
    block = first_block
    while nonce in known:
        block, nonce = max(block, known[nonce]), nonce + 1
    return _Start(signer=row.address, block=block, nonce=nonce)


async def _read(chain: Chain, look: _Look, head: Head) -> bool:
    """Read on up to the newest final block; whether that was reached."""
    end = time.monotonic() + LOOK_SECONDS
    final = min(head.final, head.block)
    while look.next <= final:
        last = min(look.next + chain.span - 1, final)
        look.sends += await chain.sends(look.senders, look.next, last)
        look.next = last + 1
        if time.monotonic() >= end:
            return look.next > final
    return True


async def _between(chain: Chain, senders: Sequence[str], first: int, last: int) -> list[Sent]:
    found: list[Sent] = []
    for start in range(first, last + 1, chain.span):
        found += await chain.sends(senders, start, min(start + chain.span - 1, last))
    return found


async def _unknown(connection: AsyncConnection, network: str, sends: Sequence[Sent]) -> list[Sent]:
    known: set[str] = set()
    names = [each.tx for each in sends]
    for start in range(0, len(names), CHUNK):
        part = names[start : start + CHUNK]
        known |= set((await connection.execute(select(attempts.c.tx).where(attempts.c.tx.in_(part)))).scalars())
        before = select(found_sends.c.tx).where(found_sends.c.network == network, found_sends.c.tx.in_(part))
        known |= set((await connection.execute(before)).scalars())
    return [each for each in sends if each.tx not in known]


async def _undecided(
    connection: AsyncConnection, network: str, mark: Row[Any], head: Head, nonces: Mapping[str, int | None]
) -> str | None:
    """Where there are no nonces, only time proves that what was signed before can land no more."""
    if all(nonce is not None for nonce in nonces.values()):
        return None
    if mark.restored_at is not None and head.block_time < mark.restored_at + EXPIRY_MS:
        seconds = (mark.restored_at + EXPIRY_MS - head.block_time + 999) // 1000
        return f"Transactions that were signed before can still land for about {seconds} seconds."
    open_ = select(func.count()).where(deliveries.c.network == network, deliveries.c.state.in_(UNDECIDED))
    if waiting := (await connection.execute(open_)).scalar_one():
        return f"{waiting} transactions that the copy knows are neither final nor expired yet."
    return None


def _unsettled(unknown: Sequence[Sent], head: Head) -> str | None:
    above = [each for each in unknown if each.block > head.final]
    if not above:
        return None
    return f"{len(above)} transactions are not final yet, the newest in block {above[-1].block} (final: {head.final})."


async def _check_complete(
    connection: AsyncConnection,
    starts: Sequence[_Start],
    nonces: Mapping[str, int | None],
    sends: Sequence[Sent],
) -> None:
    """Each nonce that is used is explained. Raises ConflictError."""
    for start in starts:
        following = nonces[start.signer]
        if following is None or start.nonce is None:
            continue
        seen = {each.nonce for each in sends if each.sender == start.signer}
        for table in (deliveries, found_sends):
            mine = (table.c.signer == start.signer) & (table.c.nonce >= start.nonce)
            seen |= set((await connection.execute(select(table.c.nonce).where(mine))).scalars())
        if missing := [each for each in range(start.nonce, following) if each not in seen]:
            raise ConflictError(
                f"The endpoints show no transactions with the nonces {missing[:10]} of {start.signer}; nothing was "
                "changed.",
                remedy="Use an endpoint that still has all blocks since the copy was made.",
            )


async def _release(
    connection: AsyncConnection, keys: Sequence[Row[Any]], network: str, nonces: Mapping[str, int | None]
) -> None:
    """Keys may sign again: all that were not paused by an operator."""
    unmarked = update(networks).where(networks.c.network == network)
    await connection.execute(unmarked.values(restored_at=None, restored_block=None))
    for row in keys:
        mine = (signers.c.network == network) & (signers.c.address == row.address)
        values: dict[str, Any] = {}
        nonce = nonces.get(row.address)
        if nonce is not None and nonce > (row.next_nonce or 0):
            values["next_nonce"] = nonce
        if row.paused and (row.pause_reason or "").endswith(LOOK.format(network)):
            values |= {"paused": False, "pause_reason": None}
        if values:
            await connection.execute(update(signers).where(mine).values(values))


def _told(answer: Reconciliation, found: Explanation, *, dry_run: bool) -> Reconciliation:
    answer.state = "found" if dry_run else "done"
    answer.sends = [
        FoundSend(
            tx=each.sent.tx,
            block=each.sent.block,
            recipient=each.move.recipient,
            asset=each.move.asset,
            amount=wire_amount(each.move.amount),
            refunds=[debt.id for debt in each.refunds],
            collects=0 if each.index else len(each.sent.collected),
        )
        for each in found.paid
    ]
    answer.dearer = [sent.tx for _, sent, _ in found.dearer]
    answer.held = [debt.id for debt, _ in found.hold]
    return answer
