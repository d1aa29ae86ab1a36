"""Brings registered transfers to the chain, with a key of its own: signed and stored in one commit, sent after it.

Nonces, fees, what nodes forget and what the chain made of it are looked after as for refunds.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import select, update

from ws402.chains.base import BroadcastRefusedError
from ws402.chains.collecting import Authorization, AuthorizationRefusedError, Authorizations
from ws402.gateway.ledger.ids import new_id
from ws402.gateway.ledger.states import AuthorizationState, DeliveryState
from ws402.gateway.ledger.tables import attempts, authorizations, deliveries
from ws402.gateway.refunds.key_context import KeyContext
from ws402.gateway.refunds.key_worker import KeyWorker
from ws402.gateway.refunds.lease import StaleError, may_sign
from ws402.gateway.refunds.reconcile import Line
from ws402.gateway.refunds.store import Delivery, next_attempt

log = logging.getLogger(__name__)

GROUP: Final = 64
"""Transfers signed and stored in one commit."""

WINDOW: Final = 256
"""Transactions that may wait for a block at once."""

AGAIN_SECONDS: Final = 5.0
"""A transfer that the token refused is tried again after this long, until it expires."""


class CollectWorker(KeyWorker):
    """One network's collector. Active in the process that holds the lease of its key."""

    def __init__(self, context: KeyContext, rules: Authorizations, interval: float, signed: Callable[[], None]) -> None:
        """`signed` is called when transactions were stored, before they are sent."""
        super().__init__(context, f"collect {context.network}", interval)
        self._rules = rules
        self._signed = signed
        self._later: dict[str, float] = {}

    async def step(self) -> None:
        """See `KeyWorker.step`."""
        _, line = await self._reconciler.run()
        await self._mender.run(line)
        while not line.paused and len(line.waiting) < WINDOW and await self._send_new(line):
            pass

    async def _send_new(self, line: Line) -> bool:
        """Sign, store and send some; whether there may be more."""
        context = self.context
        now = time.monotonic()
        self._later = {each: at for each, at in self._later.items() if now < at}
        async with context.database.read() as connection:
            query = (
                select(authorizations)
                .where(
                    authorizations.c.network == context.network,
                    authorizations.c.state == AuthorizationState.ACCEPTED,
                    authorizations.c.id.not_in(self._later),
                )
                .order_by(authorizations.c.created_at)
                .limit(GROUP)
            )
            rows = (await connection.execute(query)).all()
            row = await context.lease.look(connection) if rows else None
        if row is None or not may_sign(row):
            return False
        held = await context.chain.balance(context.address, context.chain.native)
        gas = held - sum(each.last.signed.max_fee for each in line.waiting)
        made = await self._sign(rows, row.next_nonce, gas)
        if not made:
            return False
        await self._store(made, row.next_nonce)
        self._signed()
        line.waiting += made.values()
        await self._sender.send([each.last for each in made.values()])
        return len(rows) == GROUP

    async def _sign(self, rows: Sequence[Any], first: int, gas: int) -> dict[str, Delivery]:
        """As many as the account's coins cover even at their highest fees, with consecutive nonces; by their ids."""
        context, made = self.context, dict[str, Delivery]()
        for row in rows:
            now = context.database.now_ms()
            try:
                signed = await self._rules.sign(authorization_of(row), context.signer, nonce=first + len(made))
            except AuthorizationRefusedError as error:
                self._later[row.id] = time.monotonic() + AGAIN_SECONDS
                log.info("%s: %s is not sent now: %s", context.network, row.id, error)
                continue
            except BroadcastRefusedError as error:
                log.error("%s: top up the collector %s: %s", context.network, context.address, error)  # noqa: TRY400
                break
            if signed.max_fee > gas:
                short = signed.max_fee - gas
                context.condition.short[context.chain.native] = short
                log.error("%s: top up the collector %s: %d units lack", context.network, context.address, short)
                break
            gas -= signed.max_fee
            context.condition.delivery_cost = signed.max_fee
            delivery = Delivery(
                id=new_id("del"),
                network=context.network,
                signer=context.address,
                nonce=first + len(made),
                kind="collect",
                recipient=row.recipient,
                asset=row.asset,
                amount=0,  # what it moves is the payer's
                state=DeliveryState.SIGNED,
                created_at=now,
                updated_at=now,
            )
            delivery.attempts.append(next_attempt(delivery, signed, now))
            made[row.id] = delivery
        return made

    async def _store(self, made: Mapping[str, Delivery], first: int) -> None:
        """Commit what was signed. Nothing of it happened when this raises."""
        context, now = self.context, self.context.database.now_ms()
        async with context.database.begin() as connection:
            row = await context.lease.fence(connection)
            if row.next_nonce != first or not may_sign(row):
                raise StaleError("The collector was paused, or its nonces moved, while transfers were being signed.")
            await connection.execute(deliveries.insert(), [each.row() for each in made.values()])
            await connection.execute(attempts.insert(), [each.last.row() for each in made.values()])
            for id_, each in made.items():
                mine = (authorizations.c.id == id_) & (authorizations.c.state == AuthorizationState.ACCEPTED)
                change = update(authorizations).where(mine)
                changed = await connection.execute(
                    change.values(state=AuthorizationState.SENT, delivery_id=each.id, updated_at=now)
                )
                if changed.rowcount != 1:
                    raise StaleError("A transfer came to its end while it was being signed.")
            await context.lease.advance(connection, first, first + len(made))
        context.counters.signed += len(made)


def authorization_of(row: Any) -> Authorization:
    """A row as the chain takes it."""
    return Authorization(
        asset=row.asset,
        payer=row.payer,
        recipient=row.recipient,
        amount=row.amount,
        valid_after=row.valid_after,
        valid_before=row.valid_before,
        nonce=row.nonce,
        signature=bytes(row.signature),
    )
