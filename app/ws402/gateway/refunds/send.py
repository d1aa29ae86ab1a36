"""Sends signed bytes that are stored already. Sending again is harmless, so nothing here decides about money."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from sqlalchemy import update

from ws402.chains.base import BroadcastRefusedError, ChainUnavailableError
from ws402.gateway.ledger.outbox import tell_sent
from ws402.gateway.ledger.tables import attempts
from ws402.gateway.refunds.key_context import KeyContext
from ws402.gateway.refunds.lease import LeaseLostError
from ws402.gateway.refunds.store import Attempt

log = logging.getLogger(__name__)


class Sender:
    """Broadcasts, and remembers what nodes said."""

    def __init__(self, context: KeyContext) -> None:
        self._context = context
        self._sent: dict[str, float] = {}
        self.underpriced: set[str] = set()
        """Attempts that need a higher fee now."""
        self.unfunded: dict[str, int] = {}
        """Attempts that the key's balance does not cover, and the most that each may cost in fees."""

    def wants(self, attempt: Attempt) -> bool:
        """Whether this process has not sent it yet, or so long ago that nodes may have forgotten it."""
        at = self._sent.get(attempt.signed.tx)
        return at is None or time.monotonic() - at >= self._context.policy.resend_after_ms / 1000

    def forget(self, txs: Sequence[str]) -> None:
        """These are in a block, or left it: what was noted about them does not matter any more."""
        for tx in txs:
            self._sent.pop(tx, None)
            self.underpriced.discard(tx)
            self.unfunded.pop(tx, None)

    async def send(self, batch: Sequence[Attempt]) -> None:
        """Send all, in the order of their nonces but several at once; stops when the lease is lost.

        Raises LeaseLostError, ChainUnavailableError when any could not be sent for want of an endpoint.
        """
        reached: list[str] = []
        trouble: Exception | None = None
        for attempt, answer in await self._context.each(batch, self._one):
            tx = attempt.signed.tx
            if answer is None or isinstance(answer, BroadcastRefusedError):
                self._sent[tx] = time.monotonic()
            if answer is None:
                reached.append(tx)
                self.underpriced.discard(tx)
                self.unfunded.pop(tx, None)
            elif isinstance(answer, BroadcastRefusedError):
                self._refused(attempt, answer)
            elif trouble is None or isinstance(answer, LeaseLostError):
                trouble = answer
        if reached:
            async with self._context.database.begin() as connection:
                mark = update(attempts).where(attempts.c.tx.in_(reached), attempts.c.sent_at.is_(None))
                now = self._context.database.now_ms()
                await connection.execute(mark.values(sent_at=now))
                await tell_sent(connection, reached, now)
        if isinstance(trouble, ChainUnavailableError):
            log.warning("%s: signed refunds wait to be sent: %s", self._context.network, trouble)
        if trouble is not None:
            raise trouble

    async def _one(self, attempt: Attempt) -> None:
        self._context.lease.require()
        if attempt.signed.tx in self._sent:
            self._context.counters.resent += 1
        await self._context.chain.broadcast(attempt.signed)

    def _refused(self, attempt: Attempt, error: BroadcastRefusedError) -> None:
        tx, nonce = attempt.signed.tx, attempt.signed.nonce
        self._context.counters.refused += 1
        match error.reason:
            case "nonce_used":
                # One of our own attempts may be what used it: the reconciler looks.
                log.info("%s: nonce %s is in a block already", self._context.network, nonce)
            case "underpriced":
                self.underpriced.add(tx)
            case "insufficient_funds":
                self.unfunded[tx] = attempt.signed.max_fee
                log.error("%s: the balance of %s does not cover %s", self._context.network, self._context.address, tx)
            case "expired":
                # Or this node lags. Nothing is signed anew before the chain has proven it.
                log.info("%s: %s may have expired", self._context.network, tx)
            case _:
                log.error("%s refuses %s (nonce %s), trying again: %s", self._context.network, tx, nonce, error)
