"""Sessions between payment and settlement: checkpoints, release, resume, and servers that vanish."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, bindparam, select, update

from ws402.errors import ConflictError, NotFoundError, WS402Error
from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.idempotency import Keyed, Replays
from ws402.gateway.ledger.ids import digest, new_token
from ws402.gateway.ledger.states import OVER, SessionState
from ws402.gateway.ledger.tables import checkpoints, sessions
from ws402.gateway.usage.settlement import CLOCK_TOLERANCE_MS, SET_USAGE, Settle, lock_sessions, unpriced
from ws402.money import wire_amount
from ws402.protocol import (
    Checkpoint,
    CheckpointResponse,
    EndReason,
    ReleaseRequest,
    ResumeRequest,
    ResumeResponse,
    SettleRequest,
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
        now = self._database.now_ms()
        results: list[CheckpointResponse | WS402Error] = []
        usage: dict[str, dict[str, Any]] = {}
        released: dict[str, dict[str, Any]] = {}
        async with self._database.begin() as connection:
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
                    released[row.id] = {"b_id": row.id}
            if usage:
                await connection.execute(SET_USAGE, list(usage.values()))
            if released:
                await connection.execute(_RELEASE, list(released.values()))
        return results

    async def resume(self, ops: Sequence[Resume]) -> list[ResumeResponse | WS402Error]:
        """Hand sessions to the servers that show their one-time tokens; the former holders are superseded."""
        now = self._database.now_ms()
        replays: Replays[ResumeResponse] = Replays(ResumeResponse, now)
        changes: list[dict[str, Any]] = []
        seen: set[str] = set()
        async with self._database.begin() as connection:
            hashes = {digest(op.request.token) for op in ops}
            ids = select(sessions.c.id).where(sessions.c.resume_hash.in_(hashes))
            locked = await lock_sessions(connection, {row.id for row in await connection.execute(ids)})
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
                        "b_id": row.id,
                        "epoch": row.epoch + 1,
                        "resume_hash": digest(token),
                        "server_id": op.request.server_id,
                        "reported_at": now,
                    }
                )
                results.append(replays.keep(op, _resumed(row, token)))
            if changes:
                await connection.execute(
                    _TAKE_OVER, [{k: v for k, v in c.items() if k != "reported_at"} for c in changes]
                )
                await connection.execute(_TOUCH, [{"b_id": c["b_id"], "reported_at": now} for c in changes])
            await replays.save(connection)
        return results

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
        async with self._database.begin() as connection:
            await connection.execute(update(sessions).where(sessions.c.id.in_(ids)).values(answered=True))
        return [None] * len(ids)


_TOUCH = (
    update(checkpoints)
    .where(checkpoints.c.session_id == bindparam("b_id"))
    .values(reported_at=bindparam("reported_at"))
)
_RELEASE = update(sessions).where(sessions.c.id == bindparam("b_id")).values(state=SessionState.RELEASED)
_TAKE_OVER = (
    update(sessions)
    .where(sessions.c.id == bindparam("b_id"))
    .values(
        state=SessionState.LIVE,
        epoch=bindparam("epoch"),
        resume_hash=bindparam("resume_hash"),
        server_id=bindparam("server_id"),
    )
)


def _used(report: Checkpoint, row: Row[Any], before: dict[str, Any] | None, now: int) -> dict[str, Any]:
    """A session's usage after a report, behind the one that an earlier report of the same batch left."""
    known = before or row._mapping  # noqa: SLF001 - SQLAlchemy's documented name
    return {
        "b_id": row.id,
        "elapsed_ms": max(known["elapsed_ms"], min(report.elapsed_ms, now - row.opened_at + CLOCK_TOLERANCE_MS)),
        "bytes_transferred": max(known["bytes_transferred"], report.bytes_transferred),
        "message_count": max(known["message_count"], report.message_count),
        "reported_at": now,
    }


def _not_live(row: Row[Any], epoch: int, *, let_go: bool) -> EndReason | None:
    """Why the holder of `epoch` must let go of the session; None while it may go on."""
    if row.state in OVER:
        return EndReason(row.end_reason)
    return EndReason.SUPERSEDED if row.epoch != epoch or let_go else None


def _resumed(row: Row[Any], token: str) -> ResumeResponse:
    return ResumeResponse(
        session_id=row.id,
        epoch=row.epoch + 1,
        resume_token=token,
        resource_id=row.resource_id,
        payer=row.payer,
        network=row.network,
        asset=row.asset,
        paid=wire_amount(row.paid),
        price_per_second=wire_amount(row.price_per_second),
        elapsed_ms=row.elapsed_ms,
        bytes_transferred=row.bytes_transferred,
        message_count=row.message_count,
    )
