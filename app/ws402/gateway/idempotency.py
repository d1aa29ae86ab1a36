"""Idempotency keys: the same key and body get the same answer, written in the transaction that first gave it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, Generic, TypeVar

import msgspec
from sqlalchemy import delete, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from ws402.errors import ConflictError, WS402Error
from ws402.gateway.ledger.bulk import insert
from ws402.gateway.ledger.tables import idempotency_keys

KEEP_MS: Final = 24 * 3600 * 1000
"""How long a key is remembered."""

Answer = TypeVar("Answer")


@dataclass(slots=True)
class Keyed:
    """An operation that may carry an idempotency key of its tenant."""

    tenant: str
    key: str | None
    request: Any


class Replays(Generic[Answer]):
    """The keyed answers of one transaction: those known before, and those to remember."""

    def __init__(self, kind: type[Answer], now: int) -> None:
        self._kind = kind
        self._now = now
        self._known: dict[tuple[str, str], tuple[str, bytes]] = {}
        self._new: list[dict[str, Any]] = []

    async def load(self, connection: AsyncConnection, ops: Sequence[Keyed]) -> None:
        """Read what is known of these operations' keys."""
        wanted = [(op.tenant, op.key) for op in ops if op.key]
        if wanted:
            table = idempotency_keys.c
            query = select(idempotency_keys).where(tuple_(table.tenant, table.key).in_(wanted))
            for row in await connection.execute(query):
                self._known[row.tenant, row.key] = (row.request_hash, row.response)

    def get(self, op: Keyed) -> Answer | WS402Error | None:
        """The answer given before to this key, or an error when it came with another body."""
        known = self._known.get((op.tenant, op.key)) if op.key else None
        if known is None:
            return None
        if known[0] != _hash(op):
            return ConflictError("The idempotency key was used with another request.", code="key_reused")
        return msgspec.json.decode(known[1], type=self._kind)

    def keep(self, op: Keyed, answer: Answer) -> Answer:
        """Remember an answer."""
        if op.key and (op.tenant, op.key) not in self._known:
            request_hash, response = _hash(op), msgspec.json.encode(answer)
            self._known[op.tenant, op.key] = (request_hash, response)
            self._new.append(
                {
                    "tenant": op.tenant,
                    "key": op.key,
                    "request_hash": request_hash,
                    "response": response,
                    "created_at": self._now,
                }
            )
        return answer

    async def save(self, connection: AsyncConnection) -> None:
        """Write what is to be remembered. A key that another gateway took meanwhile fails the transaction, so that
        nothing is done twice; its operations run again and find the answer.
        """
        await insert(connection, idempotency_keys, self._new)


async def forget(connection: AsyncConnection, now: int) -> None:
    """Drop keys that are too old."""
    await connection.execute(delete(idempotency_keys).where(idempotency_keys.c.created_at < now - KEEP_MS))


def _hash(op: Keyed) -> str:
    return sha256(msgspec.json.encode(op.request)).hexdigest()
