"""Writing into the ledger what the chain shows of transactions that it did not know."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from ws402.chains.base import Chain, Sent
from ws402.gateway.ledger.bulk import Row as Entry
from ws402.gateway.ledger.entries import move, post
from ws402.gateway.ledger.ids import new_id
from ws402.gateway.ledger.outbox import tell_paid
from ws402.gateway.ledger.states import ACCOUNT_OF, DeliveryState, RefundState
from ws402.gateway.ledger.tables import attempts, deliveries, entries, found_sends, refunds
from ws402.gateway.refunds.explain import Explanation, Owed, Paid, Signed
from ws402.gateway.refunds.promote import perhaps

WAYS = {
    RefundState.WAITING: (RefundState.DUE, RefundState.IN_FLIGHT),
    RefundState.DUE: (RefundState.IN_FLIGHT,),
    RefundState.CREDIT: (RefundState.IN_FLIGHT,),
    RefundState.HELD: (RefundState.WAITING, RefundState.DUE, RefundState.IN_FLIGHT),
}
"""How a refund that no transaction carried comes to be carried by one."""


async def write(connection: AsyncConnection, chain: Chain, found: Explanation, ours: Collection[str], now: int) -> None:
    """Book all of it, in the caller's transaction, which has locked the keys."""
    for known, sent, kind in found.dearer:
        await _attempt(connection, known, sent, kind, now)
    for each in found.paid:
        delivery = await _deliver(connection, chain, each, now) if each.refunds else None
        await connection.execute(found_sends.insert(), [_row(chain, each, delivery, now)])
    unexplained = [each for each in found.paid if not each.refunds]
    for sent in {each.sent.tx: each.sent for each in unexplained}.values():
        await _operators(connection, chain, sent, [each for each in unexplained if each.sent.tx == sent.tx], ours, now)
    for debt, why in found.hold:
        await _hold(connection, chain.network, debt, perhaps(why.sent.tx, why.move.amount, why.move.asset), now)


async def _attempt(connection: AsyncConnection, known: Signed, sent: Sent, kind: str, now: int) -> None:
    """One more form of a delivery; what became of it, the engine asks the chain as ever."""
    newest = select(func.max(attempts.c.number)).where(attempts.c.delivery_id == known.id)
    number = (await connection.execute(newest)).scalar_one() + 1
    await connection.execute(attempts.insert(), [_signed(known.id, number, kind, sent, now)])


def _signed(delivery_id: str, number: int, kind: str, sent: Sent, now: int) -> dict[str, Any]:
    """Its bytes were lost; it is in a block, so that nobody needs them."""
    return {
        "delivery_id": delivery_id,
        "number": number,
        "kind": kind,
        "tx": sent.tx,
        "raw": b"",
        "valid_until": None,
        "max_fee": sent.fee,
        "fee_params": "{}",
        "created_at": sent.block_time,
        "sent_at": now,
    }


async def _deliver(connection: AsyncConnection, chain: Chain, paid: Paid, now: int) -> str:
    """The delivery that it was, final, with the refunds that it paid; answers its id."""
    sent, moved, delivery_id = paid.sent, paid.move, new_id("del")
    fee = 0 if paid.index else sent.fee
    same = (deliveries.c.network == chain.network) & (deliveries.c.signer == sent.sender)
    taken = await connection.execute(select(deliveries.c.id).where(same, deliveries.c.nonce == sent.nonce))
    row = {
        "id": delivery_id,
        "network": chain.network,
        "signer": sent.sender,
        # What the ledger had meant this nonce for keeps it, and has failed.
        "nonce": None if paid.index or taken.first() is not None else sent.nonce,
        "kind": "refund",
        "recipient": moved.recipient,
        "asset": moved.asset,
        "amount": moved.amount,
        "state": DeliveryState.FINAL,
        "tx": sent.tx,
        "block": sent.block,
        "fee": fee,
        "created_at": sent.block_time,
        "updated_at": now,
    }
    await connection.execute(deliveries.insert(), [row])
    if not paid.index:
        await connection.execute(attempts.insert(), [_signed(delivery_id, 1, "refund", sent, now)])
    by_account: dict[str, int] = {}
    for debt in paid.refunds:
        account = ACCOUNT_OF[RefundState(debt.state)]
        by_account[account] = by_account.get(account, 0) + debt.amount
    booked: list[Entry] = [
        move(account, "refund_in_flight", chain.network, moved.asset, amount, "refund_signed", delivery_id, now)
        for account, amount in by_account.items()
    ]
    booked.append(
        move("refund_in_flight", "chain", chain.network, moved.asset, moved.amount, "refund_final", delivery_id, now)
    )
    if fee:
        booked.append(move("gas", "chain", chain.network, chain.native, fee, "gas", delivery_id, now))
    await post(connection, booked)
    for debt in paid.refunds:
        for state in WAYS[RefundState(debt.state)]:
            values: dict[str, Any] = {"state": state, "updated_at": now}
            if state is RefundState.IN_FLIGHT:
                values |= {"delivery_id": delivery_id, "reason": None, "cleared": True}
            await connection.execute(update(refunds).where(refunds.c.id == debt.id).values(values))
        final = update(refunds).where(refunds.c.id == debt.id)
        await connection.execute(final.values(state=RefundState.FINAL, updated_at=now))
    await tell_paid(connection, [delivery_id], now, final=True)
    return delivery_id


def _row(chain: Chain, paid: Paid, delivery: str | None, now: int) -> dict[str, Any]:
    return {
        "network": chain.network,
        "tx": paid.sent.tx,
        "idx": paid.index,
        "signer": paid.sent.sender,
        "nonce": paid.sent.nonce,
        "block": paid.sent.block,
        "recipient": paid.move.recipient,
        "asset": paid.move.asset or chain.native,
        "amount": paid.move.amount,
        "fee": 0 if paid.index else paid.sent.fee,
        "delivery_id": delivery,
        "found_at": now,
    }


async def _operators(
    connection: AsyncConnection, chain: Chain, sent: Sent, moves: list[Paid], ours: Collection[str], now: int
) -> None:
    """What paid nobody's refund that is known: the operator's, as if he had booked it by `signers withdraw`."""
    subject = f"{chain.network}/{sent.tx}"
    before = select(entries.c.id).where(entries.c.kind == "capital", entries.c.subject == subject).limit(1)
    if (await connection.execute(before)).first() is not None:
        return  # he has, with its fee
    amounts: dict[str, int] = {}
    for each in moves:
        if each.move.amount and each.move.recipient not in ours:
            amounts[each.move.asset] = amounts.get(each.move.asset, 0) + each.move.amount
    booked = [
        move("capital", "chain", chain.network, asset, amount, "capital", subject, now)
        for asset, amount in amounts.items()
    ]
    if sent.fee and any(each.index == 0 for each in moves):
        booked.append(move("gas", "chain", chain.network, chain.native, sent.fee, "gas", subject, now))
    await post(connection, booked)


async def _hold(connection: AsyncConnection, network: str, debt: Owed, reason: str, now: int) -> None:
    if debt.state == RefundState.CREDIT:
        subject = f"{debt.id}@{now}"
        entry = move("credit", "payer_due", network, debt.asset, debt.amount, "credit_held", subject, now)
        await post(connection, [entry])
    held = update(refunds).where(refunds.c.id == debt.id)
    await connection.execute(held.values(state=RefundState.HELD, reason=reason, updated_at=now))
