"""Which invoice a transfer names: by the tag that it carries, or by an amount that no other open invoice asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from ws402.chains.base import Transfer
from ws402.gateway.ledger.statements import Statement, one_of
from ws402.gateway.ledger.tables import invoices
from ws402.gateway.ledger.transactions import fetch

TransferKey = tuple[str, str, int]
"""(network, tx, index)."""

EARLY_MS: Final = 3_000
"""Block times are whole seconds and set by block producers; an invoice's times are ours."""

LATE_MS: Final = 3_600_000
"""A plain payment this long after an invoice's end is still taken for a late payment of it."""


class Named(NamedTuple):
    """What a transfer is known by. `invoice_id` is unset when its amount is that of several invoices."""

    invoice_id: str | None
    expires_at: int


def key_of(transfer: Transfer) -> TransferKey:
    """What makes a transfer unique."""
    return transfer.network, transfer.tx, transfer.index


_TAGGED: Final = Statement(
    select(*invoices.c["id", "tag", "network", "expires_at"]).where(one_of(invoices.c.tag, "tags"))
)
_PLAIN: Final = (
    one_of(invoices.c.network, "networks"),
    one_of(invoices.c.asset, "assets"),
)
_UNIQUE: Final = Statement(
    select(*invoices.c["id", "network", "asset", "amount", "recipient", "created_at", "expires_at"])
    .where(*_PLAIN, one_of(invoices.c.unique_amount, "amounts"), invoices.c.expires_at > bindparam("since"))
    .order_by(invoices.c.created_at.desc())
)
_ALIKE: Final = Statement(
    select(*invoices.c["network", "asset", "amount"], func.max(invoices.c.expires_at).label("expires_at"))
    .where(*_PLAIN, one_of(invoices.c.amount, "amounts"), invoices.c.expires_at > bindparam("since"))
    .group_by(*invoices.c["network", "asset", "amount"])
)


async def names(connection: AsyncConnection, found: Sequence[Transfer]) -> dict[TransferKey, Named]:
    """By transfer: the invoice that it names. What names none is not in it."""
    named: dict[TransferKey, Named] = {}
    if tags := {tag for each in found for tag in each.tags}:
        known = {(row.network, row.tag): row for row in await fetch(connection, _TAGGED, tags=tags)}
        for each in found:
            row = next((known[each.network, tag] for tag in each.tags if (each.network, tag) in known), None)
            if row is not None:
                named[key_of(each)] = Named(row.id, row.expires_at)
    if plain := [each for each in found if not each.tags]:
        values = {
            "networks": {each.network for each in plain},
            "assets": {each.asset for each in plain},
            "amounts": {each.amount for each in plain},
            "since": min(each.block_time for each in plain) - LATE_MS,
        }
        unique = list(await fetch(connection, _UNIQUE, **values))
        alike = {(row.network, row.asset, row.amount): row for row in await fetch(connection, _ALIKE, **values)}
        for each in plain:
            if (made := _by_amount(each, unique)) is not None:
                named[key_of(each)] = made
            elif (row := alike.get((each.network, each.asset, each.amount))) is not None:
                named[key_of(each)] = Named(None, row.expires_at)
    return named


def _by_amount(each: Transfer, unique: Sequence[Any]) -> Named | None:
    """The newest of the invoices with this amount that was made before the payment."""
    for row in unique:
        same = (row.network, row.asset, row.amount, row.recipient)
        if same == (each.network, each.asset, each.amount, each.recipient) and (
            row.created_at - EARLY_MS <= each.block_time <= row.expires_at + LATE_MS
        ):
            return Named(row.id, row.expires_at)
    return None
