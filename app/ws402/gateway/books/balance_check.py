"""The audit: do the books agree with themselves, and with what the chain shows at our addresses?"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Row, Table, select
from sqlalchemy.ext.asyncio import AsyncConnection

from ws402.chains.base import Chain, TxState
from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.entries import Balances, balances
from ws402.gateway.ledger.states import ACCOUNT_OF, GOING_ON, UNDECIDED, UNFINISHED, DeliveryState, TransferState
from ws402.gateway.ledger.tables import attempts, deliveries, networks, refunds, sessions, transfers
from ws402.gateway.ledger.types import amount_sum

Key = tuple[str, str]
"""(network, asset)."""

LIABILITIES: Final = ("unclaimed", "session_escrow", "revenue", "payer_due", "credit", "refund_in_flight")
"""Accounts that hold what is somebody's: less than nothing in one means that the same money was given away twice."""


class AuditLine(msgspec.Struct, frozen=True, kw_only=True):
    """One asset of one network, in smallest units. All differences must be 0."""

    network: str
    asset: str
    block: int
    """The block at which the chain was read: as far as the watcher has come."""
    accounts: dict[str, int]
    booked: int
    """What our addresses should hold at that block."""
    on_chain: int
    difference: int
    """on_chain - booked."""
    escrow_difference: int
    """The account session_escrow against the sum over live sessions."""
    owed_difference: int
    """The accounts payer_due, credit and refund_in_flight against the sum over unfinished refunds."""
    below_zero: dict[str, int] = {}
    """By account of `LIABILITIES`: how far it is below zero, where it is."""

    @property
    def clean(self) -> bool:
        """Nothing differs, and no account that holds somebody's money is below zero."""
        return not (self.difference or self.escrow_difference or self.owed_difference or self.below_zero)


Read = Callable[[AsyncConnection], Awaitable[Balances]]


async def audit(
    database: Database,
    chains: Mapping[str, Chain],
    addresses: Mapping[str, set[str]],
    read: Read = balances,
) -> list[AuditLine]:
    """Compare the ledger with itself and with every chain, while both move. Raises ChainUnavailableError.

    `read` sums the accounts; a caller that audits often has a cheaper way than to read all entries every time.
    """
    async with database.read() as connection:
        books = await read(connection)
        cursors = {row.network: row.block for row in await connection.execute(select(networks))}
        escrow = await _sums(connection, sessions, "paid", GOING_ON)
        owed = await _sums(connection, refunds, "amount", UNFINISHED)
        early = await _booked_above(connection, cursors, chains)
        query = select(deliveries, attempts.c.tx.label("attempt"), attempts.c.kind.label("does")).join(attempts)
        unbooked = await connection.execute(query.where(deliveries.c.state.in_(UNDECIDED)))
        waiting = unbooked.all()
    lines = []
    for network, chain in chains.items():
        block = cursors.get(network, 0)
        spent = await _spent(chain, [row for row in waiting if row.network == network], block)
        for asset in chain.assets:
            booked = books.get(("chain", network, asset), 0)
            booked -= early.get((network, asset), 0) + spent.get(asset, 0)
            on_chain = 0
            for address in sorted(addresses[network]):
                on_chain += await chain.balance(address, asset, block)
            held = {name: value for (name, n, a), value in sorted(books.items()) if (n, a) == (network, asset)}
            due = sum(held.get(each, 0) for each in set(ACCOUNT_OF.values()))
            lines.append(
                AuditLine(
                    network=network,
                    asset=asset,
                    block=block,
                    accounts=held,
                    booked=booked,
                    on_chain=on_chain,
                    difference=on_chain - booked,
                    escrow_difference=held.get("session_escrow", 0) - escrow.get((network, asset), 0),
                    owed_difference=due - owed.get((network, asset), 0),
                    below_zero={each: -held[each] for each in LIABILITIES if held.get(each, 0) < 0},
                )
            )
    return lines


async def inner_differences(connection: AsyncConnection) -> list[tuple[str, int]]:
    """Where the books contradict the ledger's own rows: what, and by how many units. Nothing, when they agree."""
    books = await balances(connection)
    escrow = await _sums(connection, sessions, "paid", GOING_ON)
    owed = await _sums(connection, refunds, "amount", UNFINISHED)
    due: dict[Key, int] = {}
    held: dict[Key, int] = {}
    found = []
    for (account, network, asset), amount in sorted(books.items()):
        if account == "session_escrow":
            held[network, asset] = amount
        if account in set(ACCOUNT_OF.values()):
            due[network, asset] = due.get((network, asset), 0) + amount
        if account in LIABILITIES and amount < 0:
            found.append((f"{account} of {asset} on {network} is below zero", amount))
    for sums, rows, name in ((held, escrow, "live sessions"), (due, owed, "unfinished refunds")):
        for network, asset in sorted(sums.keys() | rows.keys()):
            if difference := sums.get((network, asset), 0) - rows.get((network, asset), 0):
                found.append((f"the books differ from the {name} in {asset} on {network}", difference))
    return found


async def _booked_above(
    connection: AsyncConnection, cursors: Mapping[str, int], chains: Mapping[str, Chain]
) -> dict[Key, int]:
    """What is booked, in less what is booked out, from blocks that the watcher has not come to."""
    early: dict[Key, int] = {}
    for network, chain in chains.items():
        block = cursors.get(network, 0)
        arrived = select(transfers.c.asset, transfers.c.amount).where(
            transfers.c.network == network, transfers.c.block > block, transfers.c.state != TransferState.ORPHANED
        )
        for asset, amount in await connection.execute(arrived):
            early[network, asset] = early.get((network, asset), 0) + amount
        done = deliveries.c.state.in_((DeliveryState.FINAL, DeliveryState.FAILED)) & (deliveries.c.block > block)
        for row in await connection.execute(select(deliveries).where(deliveries.c.network == network, done)):
            if row.state == DeliveryState.FINAL and row.kind == "refund":
                early[network, row.asset] = early.get((network, row.asset), 0) - row.amount
            early[network, chain.native] = early.get((network, chain.native), 0) - (row.fee or 0)
    return early


async def _spent(chain: Chain, waiting: Sequence[Row[Any]], block: int) -> dict[str, int]:
    """What refunds have taken from our addresses by `block` on the chain, though they leave the books when final."""
    spent: dict[str, int] = {}
    for row in waiting:
        status = await chain.status(row.attempt)
        if status.block is None or status.block > block:
            continue
        if status.state is not TxState.FAILED and row.does == "refund":
            spent[row.asset] = spent.get(row.asset, 0) + row.amount
        spent[chain.native] = spent.get(chain.native, 0) + status.fee
    return spent


async def _sums(connection: AsyncConnection, table: Table, column: str, states: Sequence[str]) -> dict[Key, int]:
    """Sums of one column by network and asset, over the rows in these states."""
    keys = (table.c.network, table.c.asset)
    query = select(*keys, amount_sum(table.c[column])).where(table.c.state.in_(states)).group_by(*keys)
    return {(network, asset): total or 0 for network, asset, total in await connection.execute(query)}
