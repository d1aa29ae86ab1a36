"""What an operator can do about refunds and keys. Nobody can send a refund to another address than its payer's."""

from __future__ import annotations

import logging
from typing import Any

from sqlalchemy import Row, Update, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from ws402.errors import ConflictError, InvalidRequestError, NotFoundError
from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.entries import move, post
from ws402.gateway.ledger.restored import mark_of
from ws402.gateway.ledger.states import MOVING, RefundState
from ws402.gateway.ledger.tables import refunds, signers

log = logging.getLogger(__name__)


class Operator:
    """Commands on one ledger; a running engine follows them at its next pass, in whatever process it is.

    `dry_run`: every check is made and nothing is changed.
    """

    def __init__(self, database: Database, *, dry_run: bool = False) -> None:
        self._database = database
        self._dry_run = dry_run

    async def held(self) -> list[dict[str, Any]]:
        """Refunds that wait for an operator, oldest first."""
        query = select(refunds).where(refunds.c.state == RefundState.HELD).order_by(refunds.c.created_at)
        async with self._database.read() as connection:
            return [dict(row._mapping) for row in await connection.execute(query)]  # noqa: SLF001

    async def keys(self) -> list[dict[str, Any]]:
        """The signing keys: next nonce, lease, pause."""
        async with self._database.read() as connection:
            rows = await connection.execute(select(signers).order_by(signers.c.network, signers.c.address))
            return [dict(row._mapping) for row in rows]  # noqa: SLF001

    async def hold(self, refund_id: str, reason: str) -> None:
        """Keep a refund that is not signed yet from being sent. Raises NotFoundError, ConflictError."""
        now = self._database.now_ms()
        async with self._database.begin(dry_run=self._dry_run) as connection:
            row = await self._lock(connection, refund_id, (RefundState.WAITING, RefundState.DUE, RefundState.CREDIT))
            if row.state == RefundState.CREDIT:
                entry = move("credit", "payer_due", row.network, row.asset, row.amount, "credit_held", row.id, now)
                await post(connection, [entry])
            await self._set(connection, row, RefundState.HELD, _reason(reason), now)

    async def release(self, refund_id: str) -> None:
        """Send a held refund, or one that is kept as credit, whatever its size and recipient: the operator has looked.

        Its payment must still be final, and the chain must still accept it. Raises NotFoundError, ConflictError.
        """
        now = self._database.now_ms()
        async with self._database.begin(dry_run=self._dry_run) as connection:
            row = await self._lock(connection, refund_id, (RefundState.HELD, RefundState.CREDIT))
            await self._release(connection, row, now)

    async def retry(self, refund_id: str) -> str:
        """Let the engine try a held refund again; one that moves by itself is left alone. Answers its state before.

        Raises NotFoundError, ConflictError.
        """
        now = self._database.now_ms()
        async with self._database.begin(dry_run=self._dry_run) as connection:
            row = await self._lock(connection, refund_id, (RefundState.HELD, *MOVING))
            if row.state == RefundState.HELD:
                await self._release(connection, row, now)
        return str(row.state)

    async def release_all(self, network: str, asset: str, *, state: str = RefundState.HELD) -> list[str]:
        """Release all 'held' or all 'credit' of one asset, such as after a token's pause; answers their ids."""
        if state not in (RefundState.HELD, RefundState.CREDIT):
            raise InvalidRequestError(f"Refunds that are '{state}' cannot be released.", remedy="Say held or credit.")
        now = self._database.now_ms()
        query = (
            select(refunds)
            .where(refunds.c.network == network, refunds.c.asset == asset, refunds.c.state == state)
            .order_by(refunds.c.id)
            .with_for_update()
        )
        async with self._database.begin(dry_run=self._dry_run) as connection:
            rows = (await connection.execute(query)).all()
            for row in rows:
                await self._release(connection, row, now)
        return [row.id for row in rows]

    async def resolve(self, refund_id: str, reason: str) -> None:
        """Close a held refund that was settled with the payer outside of this ledger, out of the operator's pocket.

        Raises NotFoundError, ConflictError.
        """
        now = self._database.now_ms()
        async with self._database.begin(dry_run=self._dry_run) as connection:
            row = await self._lock(connection, refund_id, (RefundState.HELD,))
            entry = move("payer_due", "capital", row.network, row.asset, row.amount, "refund_resolved", row.id, now)
            await post(connection, [entry])
            await self._set(connection, row, RefundState.RESOLVED, _reason(reason), now)

    async def pause(self, network: str, reason: str, *, address: str | None = None) -> list[str]:
        """Stop signing and sending with a network's keys (or one of them); answers their addresses.

        Takes effect with the next commit of any engine: what is not stored by then is not sent. Raises NotFoundError.
        """
        return await self._switch(network, address, paused=True, reason=_reason(reason))

    async def resume(self, network: str, *, address: str | None = None) -> list[str]:
        """Let a network's keys work again; answers their addresses. Raises NotFoundError, ConflictError."""
        async with self._database.read() as connection:
            if await mark_of(connection, network) is not None:
                raise ConflictError(
                    "This ledger was restored from a copy, and may not know what was sent since.",
                    remedy=f"Run `ws402 ops reconcile {network}`: it shows what was sent, and lets keys sign again.",
                )
        return await self._switch(network, address, paused=False, reason=None)

    async def deposit(self, network: str, asset: str, amount: int, tx: str) -> None:
        """Book money that the operator sent to a refund key that invoices do not name: nobody else tells the ledger.

        `amount` smallest units by transaction `tx`. A wrong booking shows in the audit. Raises ConflictError for a
        transaction that is booked already.
        """
        await self._capital("chain", "capital", network, asset, amount, tx)

    async def withdraw(self, network: str, asset: str, amount: int, tx: str) -> None:
        """Book money that the operator took out of one of our addresses, the fee included when that address paid it.

        Raises ConflictError for a transaction that is booked already.
        """
        await self._capital("capital", "chain", network, asset, amount, tx)

    async def _capital(self, debit: str, credit: str, network: str, asset: str, amount: int, tx: str) -> None:
        if amount <= 0:
            raise InvalidRequestError("The amount must be above zero.")
        entry = move(debit, credit, network, asset, amount, "capital", f"{network}/{tx}", self._database.now_ms())
        try:
            async with self._database.begin(dry_run=self._dry_run) as connection:
                await post(connection, [entry])
        except IntegrityError:
            raise ConflictError(f"Transaction {tx} is booked already.") from None

    async def _switch(self, network: str, address: str | None, *, paused: bool, reason: str | None) -> list[str]:
        statement: Update = update(signers).where(signers.c.network == network)
        if address is not None:
            statement = statement.where(signers.c.address == address)
        statement = statement.values(paused=paused, pause_reason=reason)
        async with self._database.begin(dry_run=self._dry_run) as connection:
            changed = list((await connection.execute(statement.returning(signers.c.address))).scalars())
        if not changed:
            raise NotFoundError(
                f"No key of '{network}' has signed anything here.", remedy="Check the name, and that a gateway ran."
            )
        self._log("%s: %s %s: %s", network, "paused" if paused else "resumed", ", ".join(changed), reason or "-")
        return changed

    async def _release(self, connection: AsyncConnection, row: Row[Any], now: int) -> None:
        if row.state == RefundState.CREDIT:
            entry = move("credit", "payer_due", row.network, row.asset, row.amount, "credit_released", row.id, now)
            await post(connection, [entry])
        await self._set(connection, row, RefundState.WAITING, None, now, cleared=True)

    async def _lock(self, connection: AsyncConnection, refund_id: str, states: tuple[RefundState, ...]) -> Row[Any]:
        query = select(refunds).where(refunds.c.id == refund_id).with_for_update()
        row = (await connection.execute(query)).first()
        if row is None:
            raise NotFoundError(f"There is no refund '{refund_id}'.")
        if row.state not in states:
            raise ConflictError(f"Refund {refund_id} is '{row.state}'; this needs one that is {' or '.join(states)}.")
        return row

    async def _set(
        self,
        connection: AsyncConnection,
        row: Row[Any],
        state: RefundState,
        reason: str | None,
        now: int,
        *,
        cleared: bool | None = None,
    ) -> None:
        statement = update(refunds).where(refunds.c.id == row.id)
        values = {"state": state, "reason": reason, "updated_at": now}
        if cleared is not None:
            values["cleared"] = cleared
        await connection.execute(statement.values(values))
        self._log("refund %s: %s -> %s: %s", row.id, row.state, state, reason or "-")

    def _log(self, text: str, *arguments: object) -> None:
        if not self._dry_run:
            log.warning(text, *arguments)


def _reason(text: str) -> str:
    if not text.strip():
        raise InvalidRequestError("A reason is missing.", remedy="Say why, for whoever reads the ledger later.")
    return text.strip()
