"""What operators see of signed transfers that are collected. Their signatures are not told."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Select, select

from ws402.errors import NotFoundError
from ws402.gateway.books.queries import MOST, wire
from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.states import AuthorizationState
from ws402.gateway.ledger.tables import attempts, authorizations, payments

_of: Final = authorizations.c
_TOLD: Final = (
    *_of["id", "state", "network", "asset", "payer", "recipient", "amount", "nonce"],
    *_of["valid_after", "valid_before", "invoice_id", "tx", "created_at", "updated_at"],
    payments.c.session_id,
)


def _all() -> Select[Any]:
    return select(*_TOLD).select_from(authorizations.outerjoin(payments, payments.c.invoice_id == _of.invoice_id))


class Collections:
    """Reads of one ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(self, *, state: AuthorizationState | None, limit: int) -> list[dict[str, Any]]:
        """Signed transfers, newest first."""
        query = _all().order_by(_of.created_at.desc()).limit(min(limit, MOST))
        if state is not None:
            query = query.where(_of.state == state)
        async with self._database.read() as connection:
            return [wire(row) for row in await connection.execute(query)]

    async def show(self, id_: str) -> dict[str, Any]:
        """One, with every transaction that we signed for it, newest first. Raises NotFoundError."""
        signed = (
            select(*attempts.c["number", "tx", "created_at"])
            .join(authorizations, _of.delivery_id == attempts.c.delivery_id)
            .where(_of.id == id_, attempts.c.kind == "collect")
            .order_by(attempts.c.number.desc())
        )
        async with self._database.read() as connection:
            row = (await connection.execute(_all().where(_of.id == id_))).one_or_none()
            if row is None:
                raise NotFoundError(
                    f"There is no signed transfer {id_}.", remedy="ws402 ops authorizations list has the ids."
                )
            return wire(row) | {"attempts": [wire(each) for each in await connection.execute(signed)]}
