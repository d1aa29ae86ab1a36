"""The audit log: a chain of hashes over every entry of the ledger, and over what operators did.

Entries are already written once, in the transaction of the operation that they record. So the log copies nothing and
costs an operation nothing: every some seconds one record is added with the digest of all entries since the last one.
An operator's command is a record of its own, written before it is carried out: no change without a record.

Each record's hash covers the hash before it. Whoever changes or removes a row must therefore rewrite all records after
it; with `AUDIT_LOG_KEY`, which is not in the database, that is not possible, and without it, the hashes that are logged
(and may be kept elsewhere, `--expect`) tell. The newest entries, of some seconds, are in no record yet.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import time
from typing import Any, Final

import msgspec
from pydantic import SecretStr
from sqlalchemy import Row, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.tables import audit_log, entries
from ws402.jobs import Job
from ws402.observability import metrics

log = logging.getLogger(__name__)

SEAL_SECONDS: Final = 10.0
"""How long an entry is in no record at most."""

CHUNK: Final = 2000
"""Entries read at once."""

MOST: Final = 20_000
"""Entries in one record: so that one part of a verification is never long."""

GENESIS: Final = "0" * 64
"""The hash before the first record."""


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """Where the chain ends."""

    number: int = 0
    hash: str = GENESIS
    last_entry: int = 0


class Verdict(msgspec.Struct, kw_only=True, rename="camel"):
    """What was verified: from the record after `after` to `number`. `more`: ask again from there."""

    after: int
    number: int
    hash: str
    last_entry: int
    entries: int = 0
    operations: int = 0
    unsealed: int = 0
    """Entries above the last record, when there are no more records."""
    more: bool = False
    expected: bool = False
    """Whether one of these records has the hash that was asked for."""
    problem: str | None = None
    """The first thing that is wrong."""


class AuditLog:
    """The log of one ledger. `key` makes its hashes ones that the database's owner cannot compute (HMAC-SHA-256)."""

    def __init__(self, database: Database, key: SecretStr | None = None) -> None:
        self._database = database
        self._key = key.get_secret_value().encode() if key is not None else None
        self.job = Job("audit log", self.seal, SEAL_SECONDS)

    def start(self) -> None:
        """Add records in the background."""
        self.job.start()

    async def close(self) -> None:
        """Add what is left, and end."""
        await self.job.close()
        await self.job.attempt()

    # --- adding ------------------------------------------------------------------------------------------------------

    async def seal(self) -> int:
        """Add records for all entries that are in none; answers how many entries those were."""
        total = 0
        while count := await self._seal():
            total += count
        metrics.AUDIT_LOG_TIME.set(time.time())
        return total

    async def note(self, who: str, what: str, command: Any) -> None:
        """Add a record of an operator's command: the key's id, the call, and its arguments."""
        content = msgspec.json.encode({"operator": who, "command": what, "arguments": msgspec.to_builtins(command)})
        async with self._database.begin() as connection:
            head = await self._lock(connection)
            await self._add(connection, head, "operator", content.decode(), head.last_entry)

    async def _seal(self) -> int:
        async with self._database.begin() as connection:
            through = await self._complete(connection)
        async with self._database.begin() as connection:
            head = await self._lock(connection)
            if through is None or through <= head.last_entry:
                return 0
            last, count, digest = await _digest(connection, head.last_entry, through, MOST)
            if not count:
                return 0
            content = msgspec.json.encode({"after": head.last_entry, "last": last, "count": count, "digest": digest})
            await self._add(connection, head, "entries", content.decode(), last)
        return count

    async def _complete(self, connection: AsyncConnection) -> int | None:
        """An entry's id below which none can come any more.

        PostgreSQL gives out ids before it commits. SHARE waits for those who insert now, and lets go at once.
        """
        if connection.dialect.name == "postgresql":
            await connection.execute(text("SET LOCAL lock_timeout = '500ms'"))
            await connection.execute(text("LOCK TABLE entries IN SHARE MODE"))
        newest: int | None = (await connection.execute(select(func.max(entries.c.id)))).scalar()
        return newest

    async def _lock(self, connection: AsyncConnection) -> Head:
        """The chain's end, which only this transaction may go on from. SQLite's writers queue anyway."""
        if connection.dialect.name == "postgresql":
            await connection.execute(text("SELECT pg_advisory_xact_lock(403)"))
        query = select(*audit_log.c["number", "hash", "last_entry"]).order_by(audit_log.c.number.desc()).limit(1)
        row = (await connection.execute(query)).first()
        return Head() if row is None else Head(number=row.number, hash=row.hash, last_entry=row.last_entry)

    async def _add(self, connection: AsyncConnection, head: Head, kind: str, content: str, last_entry: int) -> None:
        record: dict[str, Any] = {
            "number": head.number + 1,
            "kind": kind,
            "content": content,
            "last_entry": last_entry,
            "created_at": self._database.now_ms(),
            "previous": head.hash,
        }
        record["hash"] = self._hash(record)
        await connection.execute(audit_log.insert(), [record])
        metrics.AUDIT_LOG_RECORDS.inc()
        log.info("audit log: record %d (%s) %s", record["number"], kind, record["hash"])

    def _hash(self, record: dict[str, Any]) -> str:
        names = ("number", "kind", "content", "last_entry", "created_at", "previous")
        message = msgspec.json.encode([record[name] for name in names])
        if self._key is not None:
            return hmac.new(self._key, message, hashlib.sha256).hexdigest()
        return hashlib.sha256(message).hexdigest()

    # --- looking at ---------------------------------------------------------------------------------------------------

    async def records(
        self, *, kind: str | None = None, before: int | None = None, limit: int = 100
    ) -> tuple[list[dict[str, Any]], int | None]:
        """Records as they stand, newest first, numbered below `before`; and the `before` of the next ones, or None."""
        query = select(audit_log).order_by(audit_log.c.number.desc()).limit(limit + 1)
        if kind is not None:
            query = query.where(audit_log.c.kind == kind)
        if before is not None:
            query = query.where(audit_log.c.number < before)
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
        records = [
            {
                "number": row.number,
                "kind": row.kind,
                "createdAt": row.created_at,
                "hash": row.hash,
                **msgspec.json.decode(row.content),
            }
            for row in rows[:limit]
        ]
        return records, rows[limit - 1].number if len(rows) > limit else None

    # --- verifying ---------------------------------------------------------------------------------------------------

    async def verify(self, after: int = 0, *, expect: str | None = None, most: int = 200) -> Verdict:
        """Compute the hashes of records anew from what the ledger holds now, from the one after number `after` on.

        About as many entries as two records hold are read in one call; ask on while `more`.
        """
        async with self._database.read() as connection:
            head = await self._at(connection, after)
            if head is None:
                return Verdict(after=after, number=after, hash="", last_entry=0, problem=f"record {after} is missing")
            verdict = Verdict(after=after, number=after, hash=head.hash, last_entry=head.last_entry)
            query = select(audit_log).where(audit_log.c.number > after).order_by(audit_log.c.number).limit(most)
            records = (await connection.execute(query)).all()
            for record in records:
                verdict.problem = await self._wrong(connection, verdict, record)
                if verdict.problem is not None:
                    return verdict
                verdict.number, verdict.hash, verdict.last_entry = record.number, record.hash, record.last_entry
                verdict.expected = verdict.expected or record.hash == expect
                if verdict.entries > MOST:
                    break
            newest = (await connection.execute(select(func.max(audit_log.c.number)))).scalar() or 0
            verdict.more = verdict.number < newest
            if not verdict.more:
                above = select(func.count()).where(entries.c.id > verdict.last_entry)
                verdict.unsealed = (await connection.execute(above)).scalar_one()
        return verdict

    async def _at(self, connection: AsyncConnection, number: int) -> Head | None:
        if number == 0:
            return Head()
        row = (await connection.execute(select(audit_log).where(audit_log.c.number == number))).first()
        return None if row is None else Head(number=row.number, hash=row.hash, last_entry=row.last_entry)

    async def _wrong(self, connection: AsyncConnection, before: Verdict, record: Row[Any]) -> str | None:
        """What is wrong with the next record, or None."""
        name = f"record {record.number}"
        if record.number != before.number + 1:
            return f"record {before.number + 1} is missing"
        if record.previous != before.hash:
            return f"{name} does not follow record {before.number}"
        if not hmac.compare_digest(record.hash, self._hash(dict(record._mapping))):  # noqa: SLF001 - documented
            return f"{name} was changed, or AUDIT_LOG_KEY is not the one that it was made with"
        if record.kind != "entries":
            before.operations += 1
            return None
        content = msgspec.json.decode(record.content)
        last, count, digest = await _digest(connection, content["after"], record.last_entry, None)
        if (content["after"], content["last"]) != (before.last_entry, record.last_entry):
            return f"{name} leaves entries out"
        if (last, count, digest) != (content["last"], content["count"], content["digest"]):
            return (
                f"the entries {content['after'] + 1} to {content['last']} are not what {name} recorded: "
                f"{count} instead of {content['count']}, or changed"
            )
        before.entries += count
        return None


async def _digest(connection: AsyncConnection, after: int, through: int, most: int | None) -> tuple[int, int, str]:
    """The last id, the number and the SHA-256 of the entries above `after` up to `through`, at most so many."""
    made = hashlib.sha256()
    count, last = 0, after
    while most is None or count < most:
        query = (
            select(entries)
            .where(entries.c.id > last, entries.c.id <= through)
            .order_by(entries.c.id)
            .limit(CHUNK if most is None else min(CHUNK, most - count))
        )
        rows = (await connection.execute(query)).all()
        for row in rows:
            made.update(msgspec.json.encode([value if isinstance(value, str) else str(value) for value in row]) + b"\n")
        if not rows:
            break
        count += len(rows)
        last = rows[-1].id
    return last, count, made.hexdigest()
