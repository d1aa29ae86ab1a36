"""What has arrived for invoices: a payer's page asks, that has no wallet to tell it the transaction.

Only who knows an invoice's secret is told, and told no more than what a proof needs: the claim itself is made, and
checked, as every other.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import select

from ws402.chains.base import Chain
from ws402.errors import InvalidRequestError
from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.ids import digest
from ws402.gateway.ledger.statements import Rows, Statement, one_of
from ws402.gateway.ledger.states import TransferState
from ws402.gateway.ledger.tables import invoices, payments, transfers
from ws402.gateway.ledger.transactions import Transaction
from ws402.gateway.watch.named import EARLY_MS
from ws402.money import wire_amount
from ws402.protocol import InvoiceSecret, PaymentStatus

MOST: Final = 1000
"""Invoices that one call can ask for."""

REMEMBERED: Final = 20_000
"""Invoices whose terms are kept: pages ask every second, and what an invoice asks for never changes."""

LATE_MS: Final = 300_000
"""How long after its end an invoice is still watched, so that a late payer is told where the money is."""

_TERMS: Final = Statement(
    select(
        *invoices.c["id", "tag", "tenant", "claim_hash", "network", "asset", "recipient", "amount", "expires_at"]
    ).where(one_of(invoices.c.tag, "tags"))
)
_PAID: Final = Statement(select(payments.c.invoice_id).where(one_of(payments.c.invoice_id, "ids")))
_ARRIVED: Final = Statement(
    select(
        *transfers.c["invoice_id", "tx", "block_time", "sender", "recipient", "asset", "amount", "state"],
        payments.c.id.label("payment_id"),
    )
    .select_from(
        transfers.outerjoin(
            payments,
            (payments.c.network == transfers.c.network)
            & (payments.c.tx == transfers.c.tx)
            & (payments.c.idx == transfers.c.idx),
        )
    )
    .where(one_of(transfers.c.invoice_id, "ids"), transfers.c.state != TransferState.ORPHANED)
    .order_by(transfers.c.block)
)


class Arrivals:
    """Looks for payments of one gateway's invoices."""

    def __init__(self, database: Database, chains: Mapping[str, Chain]) -> None:
        self._database = database
        self._chains = chains
        self._terms: OrderedDict[str, Any] = OrderedDict()
        """By tag."""

    async def look(self, tenant: str, secrets: Sequence[InvoiceSecret]) -> list[PaymentStatus]:
        """What has arrived for each. Raises InvalidRequestError for more than `MOST`."""
        if len(secrets) > MOST:
            raise InvalidRequestError(
                f"At most {MOST} invoices can be asked for at once, not {len(secrets)}.", remedy="Ask in several calls."
            )
        tags = [digest(each.reference) for each in secrets]
        await self._learn({tag for tag in tags if tag not in self._terms})
        known = [self._known(tenant, each, tag) for each, tag in zip(secrets, tags, strict=True)]
        ids = {row.id for row in known if row is not None}
        paid, arrived = await self._arrived(ids) if ids else (set(), {})
        now = self._database.now_ms()
        return [
            PaymentStatus(state="unknown")
            if row is None
            else PaymentStatus(state="paid")
            if row.id in paid
            else _status(row, arrived.get(row.id, ()), now)
            for row in known
        ]

    def _known(self, tenant: str, secret: InvoiceSecret, tag: str) -> Any:
        """The invoice's terms, or None for whoever does not know its secret."""
        row = self._terms.get(tag)
        if row is None or row.tenant != tenant or row.network not in self._chains:
            return None
        if row.claim_hash is not None and (secret.claim_token is None or row.claim_hash != digest(secret.claim_token)):
            return None  # everybody can read the reference on the chain
        return row

    async def _learn(self, tags: set[str]) -> None:
        if not tags:
            return

        async def read(connection: Transaction) -> Rows:
            return await connection.fetch(_TERMS, tags=tags)

        for row in await self._database.run(read):
            self._terms[row.tag] = row
        while len(self._terms) > REMEMBERED:
            self._terms.popitem(last=False)

    async def _arrived(self, ids: set[str]) -> tuple[set[str], dict[str, list[Any]]]:
        async def read(connection: Transaction) -> tuple[Rows, Rows]:
            return await connection.fetch(_PAID, ids=ids), await connection.fetch(_ARRIVED, ids=ids)

        paid, found = await self._database.run(read)
        arrived: dict[str, list[Any]] = {}
        for row in found:
            arrived.setdefault(row.invoice_id, []).append(row)
        return set(paid.scalars()), arrived


def _status(invoice: Any, found: Sequence[Any], now: int) -> PaymentStatus:
    for row in found:
        if row.payment_id is None and row.state == TransferState.SEEN and _pays(invoice, row):
            return PaymentStatus(state="arrived", tx=row.tx, sender=row.sender, amount=wire_amount(row.amount))
    for row in found:
        if row.payment_id is None:
            return PaymentStatus(state="returned", tx=row.tx, sender=row.sender, amount=wire_amount(row.amount))
    return PaymentStatus(state="waiting" if now <= invoice.expires_at + LATE_MS else "expired")


def _pays(invoice: Any, row: Any) -> bool:
    """As the claim will judge; that decides."""
    return bool(
        (row.asset, row.recipient) == (invoice.asset, invoice.recipient)
        and row.amount >= invoice.amount
        and row.block_time <= invoice.expires_at + EARLY_MS
    )
