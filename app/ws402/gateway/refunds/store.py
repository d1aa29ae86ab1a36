"""Deliveries and their signed attempts, as the ledger keeps them."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncConnection

from ws402.chains.base import RefundOrder, SignedTransaction
from ws402.gateway.ledger.tables import attempts, deliveries


class Attempt(msgspec.Struct, kw_only=True):
    """One signed transaction of a delivery."""

    delivery_id: str
    number: int
    kind: str
    """'refund'; 'collect': it brings a payer's authorization to the chain; 'cancel': it gives the nonce back."""
    signed: SignedTransaction
    created_at: int
    sent_at: int | None

    def row(self) -> dict[str, Any]:
        """For the table."""
        return {
            "delivery_id": self.delivery_id,
            "number": self.number,
            "kind": self.kind,
            "tx": self.signed.tx,
            "raw": self.signed.raw,
            "valid_until": self.signed.valid_until,
            "max_fee": self.signed.max_fee,
            "fee_params": msgspec.json.encode(self.signed.fee).decode(),
            "created_at": self.created_at,
            "sent_at": self.sent_at,
        }


class Delivery(msgspec.Struct, kw_only=True):
    """One payment on the chain: all its attempts compete for one nonce, so at most one gets into a block. Where there
    are no nonces it has one attempt; when that has expired, the delivery has failed, and another one is made.
    """

    id: str
    network: str
    signer: str
    nonce: int | None
    kind: str
    recipient: str
    asset: str
    amount: int
    state: str
    tx: str | None = None
    block: int | None = None
    fee: int | None = None
    created_at: int
    updated_at: int
    attempts: list[Attempt] = []

    @property
    def last(self) -> Attempt:
        """The newest attempt, which pays the highest fee."""
        return self.attempts[-1]

    @property
    def order(self) -> RefundOrder:
        """What it does on the chain."""
        return RefundOrder(recipient=self.recipient, asset=self.asset, amount=self.amount, memo=self.id)

    def row(self) -> dict[str, Any]:
        """For the table."""
        return {name: getattr(self, name) for name in self.__struct_fields__ if name != "attempts"}


def next_attempt(delivery: Delivery, signed: SignedTransaction, now: int, *, kind: str | None = None) -> Attempt:
    """A new attempt of a delivery, not stored yet."""
    return Attempt(
        delivery_id=delivery.id,
        number=len(delivery.attempts) + 1,
        kind=kind or delivery.kind,
        signed=signed,
        created_at=now,
        sent_at=None,
    )


async def load(connection: AsyncConnection, where: ColumnElement[bool], *, limit: int | None = None) -> list[Delivery]:
    """Deliveries with their attempts, by nonce."""
    query = select(deliveries).where(where).order_by(deliveries.c.nonce).limit(limit)
    found = {row.id: Delivery(**row._mapping, attempts=[]) for row in await connection.execute(query)}  # noqa: SLF001
    if not found:
        return []
    query = select(attempts).where(attempts.c.delivery_id.in_(found)).order_by(attempts.c.number)
    for row in await connection.execute(query):
        delivery = found[row.delivery_id]
        delivery.attempts.append(
            Attempt(
                delivery_id=row.delivery_id,
                number=row.number,
                kind=row.kind,
                signed=SignedTransaction(
                    tx=row.tx,
                    raw=row.raw,
                    sender=delivery.signer,
                    nonce=delivery.nonce,
                    valid_until=row.valid_until,
                    max_fee=row.max_fee,
                    fee=msgspec.json.decode(row.fee_params, type=dict[str, int]),
                ),
                created_at=row.created_at,
                sent_at=row.sent_at,
            )
        )
    return list(found.values())
