"""Sessions between payment and settlement: checkpoints, release, resume, and servers that vanish."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import msgspec
from sqlalchemy import select, update

from ws402.errors import ConflictError, NotFoundError, WS402Error
from ws402.gateway.ledger.bulk import update as update_rows
from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.idempotency import Keyed, Replays
from ws402.gateway.ledger.ids import digest, new_token
from ws402.gateway.ledger.statements import Statement, one_of
from ws402.gateway.ledger.states import OVER, SessionState
from ws402.gateway.ledger.tables import checkpoints, sessions
from ws402.gateway.ledger.transactions import Transaction
from ws402.gateway.usage.settlement import CLOCK_TOLERANCE_MS, Settle, lock_sessions, price_of, unpriced, used_units
from ws402.money import wire_amount
from ws402.protocol import (
    Checkpoint,
    CheckpointResponse,
    EndReason,
    ReleaseRequest,
    ResumeRequest,
    ResumeResponse,
    SettleRequest,
    price_terms,
)


@dataclass(slots=True)
class Report:
    """A checkpoint or a release of a tenant's session."""

    tenant: str
    request: Checkpoint


@dataclass(slots=True)
class Resume(Keyed):
    """A resume by a tenant's server."""

    request: ResumeRequest


class Sessions:
    """Live sessions in the ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def report(self, ops: Sequence[Report]) -> list[CheckpointResponse | WS402Error]:
        """Record usage so far, and who lets go of a session. Usage never goes back, within a batch neither."""
        return await self._database.run(partial(_report, ops, self._database.now_ms()))

    async def resume(self, ops: Sequence[Resume]) -> list[ResumeResponse | WS402Error]:
        """Hand sessions to the servers that show their one-time tokens; the former holders are superseded."""
        return await self._database.run(partial(_resume, ops, self._database.now_ms()))

    async def vanished(self, live_since: int, released_since: int, *, limit: int = 500) -> list[Settle]:
        """Settlements for sessions that no server has spoken for: at the last checkpoint, never past it."""
        query = (
            select(
                *sessions.c["id", "epoch", "state"], *checkpoints.c["elapsed_ms", "bytes_transferred", "message_count"]
            )
            .join(checkpoints, checkpoints.c.session_id == sessions.c.id)
            .where(sessions.c.metered)
            .where(
                ((sessions.c.state == SessionState.LIVE) & (checkpoints.c.reported_at < live_since))
                | ((sessions.c.state == SessionState.RELEASED) & (checkpoints.c.reported_at < released_since))
            )
            .limit(limit)
        )
        async with self._database.begin() as connection:
            rows = (await connection.execute(query)).all()
        return [
            Settle(
                tenant=None,
                request=SettleRequest(
                    session_id=row.id,
                    epoch=row.epoch,
                    elapsed_ms=row.elapsed_ms,
                    bytes_transferred=row.bytes_transferred,
                    message_count=row.message_count,
                    reason=EndReason.SERVER_VANISHED if row.state == SessionState.LIVE else EndReason.SERVER_DRAINING,
                ),
            )
            for row in rows
        ]

    async def mark_answered(self, ids: Sequence[str]) -> list[WS402Error | None]:
        """Stock servers have got the answers that opened these sessions: a repeated proof is a replay from now on."""
        await self._database.run(lambda connection: connection.fetch(ANSWERED, ids=ids))
        return [None] * len(ids)


ANSWERED: Final = Statement(update(sessions).where(one_of(sessions.c.id, "ids")).values(answered=True))
"""Stock servers have got the answers that opened the sessions `ids`."""

_BY_TOKEN: Final = Statement(select(sessions.c.id).where(one_of(sessions.c.resume_hash, "hashes")))


async def _report(ops: Sequence[Report], now: int, connection: Transaction) -> list[CheckpointResponse | WS402Error]:
    results: list[CheckpointResponse | WS402Error] = []
    usage: dict[str, dict[str, Any]] = {}
    released: dict[str, dict[str, Any]] = {}
    found = await lock_sessions(connection, {op.request.session_id for op in ops})
    for op in ops:
        row = found.get(op.request.session_id)
        if row is None or row.tenant != op.tenant:
            results.append(NotFoundError(f"There is no session '{op.request.session_id}'."))
            continue
        releases = isinstance(op.request, ReleaseRequest)
        let_go = row.state == SessionState.RELEASED or row.id in released
        reason = _not_live(row, op.request.epoch, let_go=let_go and not releases)
        results.append(CheckpointResponse(session_id=row.id, live=reason is None, reason=reason))
        if reason is not None:
            continue
        usage[row.id] = _used(op.request, row, usage.get(row.id), now)
        if releases:
            released[row.id] = {"id": row.id, "state": SessionState.RELEASED.value}
    await update_rows(connection, checkpoints, "session_id", list(usage.values()))
    await update_rows(connection, sessions, "id", list(released.values()))
    return results


async def _resume(ops: Sequence[Resume], now: int, connection: Transaction) -> list[ResumeResponse | WS402Error]:
    replays: Replays[ResumeResponse] = Replays(ResumeResponse, now)
    changes: list[dict[str, Any]] = []
    seen: set[str] = set()
    ids = await connection.fetch(_BY_TOKEN, hashes={digest(op.request.token) for op in ops})
    locked = await lock_sessions(connection, set(ids.scalars()))
    await replays.load(connection, ops)  # behind the locks: another gateway may just have answered
    by_hash = {row.resume_hash: row for row in locked.values()}
    results: list[ResumeResponse | WS402Error] = []
    for op in ops:
        if (before := replays.get(op)) is not None:
            results.append(before)
            continue
        row = by_hash.get(digest(op.request.token))
        if row is None or row.tenant != op.tenant or row.id in seen:
            results.append(
                ConflictError(
                    "The resume token is not valid: it was used, or its session has ended.",
                    remedy="Pay for a new session.",
                    code="bad_resume_token",
                )
            )
            continue
        if row.price_per_second is None:
            results.append(unpriced())
            continue
        if op.request.resource_id is not None and op.request.resource_id != row.resource_id:
            results.append(ConflictError("The session is for another resource.", code="resource_mismatch"))
            continue
        seen.add(row.id)
        token = new_token()
        changes.append(
            {
                "id": row.id,
                "state": SessionState.LIVE.value,
                "epoch": row.epoch + 1,
                "resume_hash": digest(token),
                "server_id": op.request.server_id,
            }
        )
        results.append(replays.keep(op, _resumed(row, token)))
    await update_rows(connection, sessions, "id", changes)
    await update_rows(
        connection, checkpoints, "session_id", [{"session_id": each["id"], "reported_at": now} for each in changes]
    )
    await replays.save(connection)
    return results


def _used(report: Checkpoint, row: Any, before: dict[str, Any] | None, now: int) -> dict[str, Any]:
    """A session's usage after a report, behind the one that an earlier report of the same batch left."""
    elapsed, transferred, messages, units = (
        (before["elapsed_ms"], before["bytes_transferred"], before["message_count"], before["units"])
        if before
        else (row.elapsed_ms, row.bytes_transferred, row.message_count, row.units)
    )
    return {
        "session_id": row.id,
        "elapsed_ms": max(elapsed, min(report.elapsed_ms, now - row.opened_at + CLOCK_TOLERANCE_MS)),
        "bytes_transferred": max(transferred, report.bytes_transferred),
        "message_count": max(messages, report.message_count),
        "units": used_units(row, units, report.units),
        "reported_at": now,
    }


def _not_live(row: Any, epoch: int, *, let_go: bool) -> EndReason | None:
    """Why the holder of `epoch` must let go of the session; None while it may go on."""
    if row.state in OVER:
        return EndReason(row.end_reason)
    return EndReason.SUPERSEDED if row.epoch != epoch or let_go else None


def _resumed(row: Any, token: str) -> ResumeResponse:
    price = price_of(row)
    return ResumeResponse(
        session_id=row.id,
        epoch=row.epoch + 1,
        resume_token=token,
        resource_id=row.resource_id,
        payer=row.payer,
        network=row.network,
        asset=row.asset,
        paid=wire_amount(row.paid),
        price_per_second=wire_amount(price.per_second),
        price=None if price.whole else price_terms(price),
        elapsed_ms=row.elapsed_ms,
        bytes_transferred=row.bytes_transferred,
        message_count=row.message_count,
        units=msgspec.json.decode(row.units) if row.units else None,
    )
