"""Signed transfers in the ledger: registered with the invoice that they pay, attached to, and their ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from sqlalchemy import bindparam, func, select, update

from ws402.chains.collecting import Authorization
from ws402.errors import RateLimitedError
from ws402.gateway.ledger.bulk import insert, insert_new
from ws402.gateway.ledger.bulk import update as update_rows
from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.ids import digest, new_id, new_token
from ws402.gateway.ledger.statements import Statement, one_of
from ws402.gateway.ledger.states import AuthorizationState, DeliveryState, SessionState
from ws402.gateway.ledger.tables import (
    attempts,
    authorizations,
    checkpoints,
    deliveries,
    invoices,
    payments,
    sessions,
)
from ws402.gateway.ledger.transactions import Transaction
from ws402.gateway.usage.settlement import lock_sessions
from ws402.money import wire_amount
from ws402.prices import Price
from ws402.protocol import CollectRequest, CollectResponse, price_text

DAY_MS: Final = 86_400_000

UNDER_WAY: Final = 16
"""Transfers of one payer that may wait for their block at once."""

IN_VAIN: Final = 3
"""Transfers of one payer that may fail on the chain in a day, at our cost, before no other is sent."""

UNDECIDED: Final = (AuthorizationState.ACCEPTED, AuthorizationState.SENT)
"""Of these, nobody knows yet whether they land."""

_BY_NONCE: Final = Statement(
    select(authorizations).where(
        *(authorizations.c[name] == bindparam(name) for name in ("network", "asset", "payer", "nonce"))
    )
)
_TAGGED: Final = Statement(select(invoices.c.id).where(one_of(invoices.c.tag, "tags")))
_PAYMENT: Final = Statement(select(payments).where(payments.c.invoice_id == bindparam("invoice")))
_OF_PAYER: Final = Statement(
    select(
        func.count().filter(one_of(authorizations.c.state, UNDECIDED)).label("under_way"),
        func.count()
        .filter(one_of(deliveries.c.state, (DeliveryState.REVERTED, DeliveryState.FAILED)))
        .label("in_vain"),
    )
    .select_from(authorizations.outerjoin(deliveries, authorizations.c.delivery_id == deliveries.c.id))
    .where(
        authorizations.c.network == bindparam("network"),
        authorizations.c.payer == bindparam("payer"),
        authorizations.c.created_at >= bindparam("since"),
    )
)


@dataclass(slots=True, frozen=True)
class Registration:
    """A checked transfer and what it pays for. `expires_at` is in milliseconds."""

    tenant: str
    network: str
    authorization: Authorization
    tag: str
    payload_hash: str
    price: Price
    request: CollectRequest
    since_block: int
    expires_at: int


class Register:
    """The rows of one ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, network: str, authorization: Authorization) -> Any:
        """The row of a payer's nonce, or None."""
        names = {"asset": authorization.asset, "payer": authorization.payer, "nonce": authorization.nonce}

        async def work(connection: Transaction) -> Any:
            return next(iter(await connection.fetch(_BY_NONCE, network=network, **names)), None)

        return await self._database.run(work)

    async def is_invoice(self, tag: str) -> bool:
        """Whether an invoice of ours has this tag."""

        async def work(connection: Transaction) -> bool:
            return bool(await connection.fetch(_TAGGED, tags={tag}))

        return await self._database.run(work)

    async def add(self, new: Registration) -> tuple[Any, bool]:
        """Record a transfer and its invoice before anything is sent. The row that the ledger has for its nonce then,
        and whether this call made it.

        Raises RateLimitedError when the payer has too many under way, or made us pay for too many in vain.
        """
        return await self._database.run(partial(self._add, new, self._database.now_ms()))

    async def _add(self, new: Registration, now: int, connection: Transaction) -> tuple[Any, bool]:
        each, request = new.authorization, new.request
        counted = (await connection.fetch(_OF_PAYER, network=new.network, payer=each.payer, since=now - DAY_MS))[0]
        if counted.under_way >= UNDER_WAY or counted.in_vain >= IN_VAIN:
            raise RateLimitedError(
                f"Too many payments of {each.payer} are under way, or failed on the chain.",
                retry_after=60,
                remedy="Let them finish first.",
            )
        invoice_id = new_id("inv")
        row = {
            "id": new_id("aut"),
            "network": new.network,
            "asset": each.asset,
            "payer": each.payer,
            "nonce": each.nonce,
            "recipient": each.recipient,
            "amount": each.amount,
            "valid_after": each.valid_after,
            "valid_before": each.valid_before,
            "signature": each.signature,
            "payload_hash": new.payload_hash,
            "invoice_id": invoice_id,
            "state": AuthorizationState.ACCEPTED.value,
            "since_block": new.since_block,
            "created_at": now,
            "updated_at": now,
        }
        made = bool(await insert_new(connection, authorizations, [row]))
        if made:
            invoice = {
                "id": invoice_id,
                "tenant": new.tenant,
                "tag": new.tag,
                "network": new.network,
                "asset": each.asset,
                "recipient": each.recipient,
                "amount": each.amount,
                "resource_id": request.resource_id,
                "price_per_second": new.price.per_second,
                "price": price_text(new.price),
                "estimated_duration": request.duration,
                "created_at": now,
                "expires_at": max(now + 1, new.expires_at),
            }
            await insert(connection, invoices, [invoice])
        names = {"asset": each.asset, "payer": each.payer, "nonce": each.nonce}
        return (await connection.fetch(_BY_NONCE, network=new.network, **names))[0], made

    # --- what became of them -----------------------------------------------------------------------------------------

    async def attempts(self, ids: Sequence[str]) -> dict[str, list[str]]:
        """By authorization: the transactions of ours that bring it to the chain, newest first."""
        query = (
            select(authorizations.c.id, attempts.c.tx)
            .join(attempts, attempts.c.delivery_id == authorizations.c.delivery_id)
            .where(one_of(authorizations.c.id, ids), attempts.c.kind == "collect")
            .order_by(attempts.c.number.desc())
        )
        found: dict[str, list[str]] = {each: [] for each in ids}
        async with self._database.read() as connection:
            for row in await connection.execute(query):
                found[row.id].append(row.tx)
        return found

    async def undecided(self, networks: Sequence[str], before: int, limit: int) -> Sequence[Any]:
        """Rows that nobody knows the end of, made before a time (ms), oldest first, with their invoices' tags."""
        query = (
            select(authorizations, invoices.c.tag, invoices.c.tenant)
            .join(invoices, invoices.c.id == authorizations.c.invoice_id)
            .where(authorizations.c.network.in_(networks), authorizations.c.state.in_(UNDECIDED))
            .where(authorizations.c.created_at < before)
            .order_by(authorizations.c.created_at)
            .limit(limit)
        )
        async with self._database.read() as connection:
            return (await connection.execute(query)).all()

    async def finish(self, id_: str, state: AuthorizationState, tx: str | None = None) -> None:
        """Say how it ended; doing so again changes nothing."""
        mine = (authorizations.c.id == id_) & authorizations.c.state.in_(UNDECIDED)
        async with self._database.begin() as connection:
            change = update(authorizations).where(mine)
            await connection.execute(change.values(state=state, tx=tx, updated_at=self._database.now_ms()))

    async def attach(self, row: Any, request: CollectRequest, *, may_take: bool) -> CollectResponse | None:
        """Give the session that it paid for to who asks, if nobody has it; None: it has paid for none yet.

        `may_take` False: only say which session it is.
        """
        return await self._database.run(partial(_attach, row, request, may_take, self._database.now_ms()))


async def _attach(
    row: Any, request: CollectRequest, may_take: bool, now: int, connection: Transaction
) -> CollectResponse | None:
    payment = next(iter(await connection.fetch(_PAYMENT, invoice=row.invoice_id)), None)
    if payment is None:
        return None
    session = (await lock_sessions(connection, {payment.session_id}))[payment.session_id]
    known = CollectResponse(
        state="known", tx=payment.tx, session_id=session.id, payer=session.payer, paid=wire_amount(session.paid)
    )
    if session.state != SessionState.RELEASED or not may_take:
        return known
    token = new_token()
    change: dict[str, Any] = {"id": session.id, "resume_hash": digest(token)}
    if request.mode == "request":
        change |= {"state": SessionState.LIVE.value, "epoch": session.epoch + 1, "server_id": request.server_id}
    await update_rows(connection, sessions, "id", [change])
    await update_rows(connection, checkpoints, "session_id", [{"session_id": session.id, "reported_at": now}])
    return CollectResponse(
        state="open",
        tx=payment.tx,
        session_id=session.id,
        epoch=change.get("epoch", session.epoch),
        resume_token=token,
        payer=session.payer,
        paid=wire_amount(session.paid),
        elapsed_ms=session.elapsed_ms,
    )
