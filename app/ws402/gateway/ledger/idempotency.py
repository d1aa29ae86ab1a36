"""Idempotency keys: the same key and body get the same answer, written in the transaction that first gave it.

Answers hold resume tokens. So the ledger has an answer only sealed by the key and the request that it was given to, and
the key only as a hash: whoever reads the ledger, or a backup of it, can take over no session.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from os import urandom
from typing import Any, Final, Generic, TypeVar

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import select

from ws402.errors import ConflictError, WS402Error
from ws402.gateway.ledger.bulk import insert
from ws402.gateway.ledger.statements import Statement, one_of
from ws402.gateway.ledger.tables import idempotency_keys
from ws402.gateway.ledger.transactions import Transaction

KEEP_MS: Final = 24 * 3600 * 1000
"""How long a key is remembered."""
NONCE: Final = 12
"""Bytes of the nonce that stands before a sealed answer."""

_KNOWN: Final = Statement(
    select(idempotency_keys).where(one_of(idempotency_keys.c.tenant, "tenants"), one_of(idempotency_keys.c.key, "keys"))
)

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

    async def load(self, connection: Transaction, ops: Sequence[Keyed]) -> None:
        """Read what is known of these operations' keys.

        Behind the locks of what they are about: then no other gateway is still about to give the first answer.
        """
        wanted = {(op.tenant, _name(op.key)) for op in ops if op.key}
        if wanted:
            tenants, keys = {tenant for tenant, _ in wanted}, {key for _, key in wanted}
            for row in await connection.fetch(_KNOWN, tenants=tenants, keys=keys):
                self._known[row.tenant, row.key] = (row.request_hash, row.response)

    def get(self, op: Keyed) -> Answer | WS402Error | None:
        """The answer given before to this key, or an error when it came with another body."""
        known = self._known.get((op.tenant, _name(op.key))) if op.key else None
        if known is None:
            return None
        request_hash, seal = _sealing(op)
        if known[0] != request_hash:
            return _reused()
        try:
            answer = seal.decrypt(known[1][:NONCE], known[1][NONCE:], None)
        except InvalidTag:
            return ConflictError("The answer to this idempotency key cannot be read.", code="key_reused")
        return msgspec.json.decode(answer, type=self._kind)

    def keep(self, op: Keyed, answer: Answer) -> Answer:
        """Remember an answer."""
        if op.key and (op.tenant, name := _name(op.key)) not in self._known:
            request_hash, seal = _sealing(op)
            nonce = urandom(NONCE)
            response = nonce + seal.encrypt(nonce, msgspec.json.encode(answer), None)
            self._known[op.tenant, name] = (request_hash, response)
            self._new.append(
                {
                    "tenant": op.tenant,
                    "key": name,
                    "request_hash": request_hash,
                    "response": response,
                    "created_at": self._now,
                }
            )
        return answer

    async def save(self, connection: Transaction) -> None:
        """Write what is to be remembered. A key that another gateway took meanwhile fails the transaction, so that
        nothing is done twice; its operations run again and find the answer.
        """
        await insert(connection, idempotency_keys, self._new)


def twins(ops: Sequence[Keyed]) -> dict[int, int]:
    """Positions of operations whose key stands earlier in the list too, each with the earlier position."""
    first: dict[tuple[str, str], int] = {}
    return {
        position: earlier
        for position, op in enumerate(ops)
        if op.key and (earlier := first.setdefault((op.tenant, op.key), position)) != position
    }


def answer_twin(op: Keyed, first: Keyed, answer: Answer) -> Answer | WS402Error:
    """What an operation is answered whose key was the first one's in the same transaction."""
    return answer if op.request == first.request else _reused()


def _reused() -> ConflictError:
    return ConflictError("The idempotency key was used with another request.", code="key_reused")


def _name(key: str) -> str:
    return sha256(key.encode()).hexdigest()


def _sealing(op: Keyed) -> tuple[str, AESGCM]:
    """The request's hash, and what its answer is sealed with (NIST SP 800-38D).

    The request has a secret of its own, an invoice's reference or a resume token, which the ledger has as a hash only:
    a key that is easily guessed opens nothing.
    """
    body = msgspec.json.encode(op.request)
    return sha256(body).hexdigest(), AESGCM(sha256(b"ws402 answer\0" + (op.key or "").encode() + b"\0" + body).digest())
