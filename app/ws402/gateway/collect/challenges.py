"""The secrets by which all servers of a tenant know each other's challenges (HTTP's scheme `Payment`).

A new one is made every day. Servers learn of it before any of them uses it, and know the one before until nothing that
it made can be paid with any more.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Final

from sqlalchemy import select

from ws402.gateway.ledger.challenge_tables import challenge_secrets
from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.ids import new_id, new_token

ROTATE_MS: Final = 86_400_000

SPREAD_MS: Final = 120_000
"""Servers ask every 30 seconds: a secret that is older than this is known to all of them."""


class Challenges:
    """The secrets of one ledger, shared by all its gateways."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def secrets(self, tenant: str) -> tuple[str, ...]:
        """A tenant's, the one to use first. No tenant can tell another's."""
        rows = await self._rows()
        now = self._database.now_ms()
        if not rows or rows[0].created_at <= now - ROTATE_MS:
            await self._rotate(now)
            rows = await self._rows()
        settled = [row for row in rows if row.created_at <= now - SPREAD_MS]
        first = settled[0] if settled else rows[-1]
        others = (row for row in rows if row is not first)
        return tuple(_of(tenant, row.secret) for row in (first, *others))

    async def _rows(self) -> Sequence[Any]:
        query = select(challenge_secrets).order_by(challenge_secrets.c.created_at.desc(), challenge_secrets.c.id.desc())
        async with self._database.read() as connection:
            return (await connection.execute(query)).all()

    async def _rotate(self, now: int) -> None:
        old = challenge_secrets.c.created_at < now - 2 * ROTATE_MS
        async with self._database.begin() as connection:
            await connection.execute(challenge_secrets.delete().where(old))
            row = {"id": new_id("chs"), "secret": new_token(), "created_at": now}
            await connection.execute(challenge_secrets.insert(), [row])


def _of(tenant: str, secret: str) -> str:
    return hmac.new(secret.encode(), b"WS402 challenges of " + tenant.encode(), sha256).hexdigest()
