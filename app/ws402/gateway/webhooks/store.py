"""Events and their deliveries in the ledger: what is due, what came of it, and what operators ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import bindparam, func, select, update

from ws402.errors import WS402Error
from ws402.gateway.ledger.bulk import insert_new
from ws402.gateway.ledger.bulk import update as update_rows
from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.entries import insert_ignore
from ws402.gateway.ledger.event_tables import EventState, event_deliveries, event_endpoints, events
from ws402.gateway.ledger.ids import digest
from ws402.gateway.ledger.statements import Statement, one_of
from ws402.gateway.ledger.transactions import Transaction
from ws402.settings import WebhookSettings

SLICE: Final = 500
"""Events that are planned in one transaction."""


@dataclass(frozen=True, slots=True)
class Due:
    """An event that one endpoint should be sent now."""

    event_id: str
    endpoint: str
    attempts: int
    """Made before."""
    body: str


@dataclass(frozen=True, slots=True)
class Result:
    """What came of an attempt. `next_at`: when the next one is due, of one that is pending still."""

    due: Due
    state: EventState
    at: int
    status: int | None
    error: str | None
    next_at: int = 0


@dataclass(frozen=True, slots=True)
class Standing:
    """How one endpoint stands."""

    pending: int
    oldest_at: int | None
    """When the oldest event that it was not sent yet was written, ms since the epoch."""
    disabled_at: int | None


_UNPLANNED: Final = Statement(
    select(*events.c["id", "type", "tenant", "created_at"])
    .where(events.c.planned.is_(False))
    .order_by(events.c.id)
    .limit(SLICE)
)
_DUE: Final = Statement(
    select(*event_deliveries.c["event_id", "endpoint", "attempts"], events.c.body)
    .join(events, events.c.id == event_deliveries.c.event_id)
    .where(
        event_deliveries.c.endpoint == bindparam("b_endpoint"),
        event_deliveries.c.state == EventState.PENDING,
        event_deliveries.c.next_at <= bindparam("b_at"),
    )
    .order_by(event_deliveries.c.next_at, event_deliveries.c.event_id)
    .limit(bindparam("b_limit"))
)
_LOCKED: Final = Statement(
    select(*event_deliveries.c["event_id", "endpoint", "state", "attempts"])
    .where(one_of(event_deliveries.c.event_id, "ids"))
    .order_by(event_deliveries.c.event_id, event_deliveries.c.endpoint)
    .with_for_update()
)


class Store:
    """Over one ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def plan(self, endpoints: Sequence[WebhookSettings]) -> int:
        """Give each new event to the endpoints that want it; answers how many were planned."""

        async def work(transaction: Transaction) -> int:
            found = await transaction.fetch(_UNPLANNED)
            rows = [
                {
                    "event_id": row.id,
                    "endpoint": each.name,
                    "state": EventState.PENDING.value,
                    "attempts": 0,
                    "next_at": row.created_at,
                    "created_at": row.created_at,
                    "updated_at": row.created_at,
                }
                for row in found
                for each in endpoints
                if wants(each, row.type, row.tenant)
            ]
            # Another gateway, which had the lease a moment ago, may have planned the same.
            await insert_new(transaction, event_deliveries, rows, key="event_id")
            await update_rows(transaction, events, "id", [{"planned": True, "id": row.id} for row in found])
            return len(found)

        return await self._database.run(work)

    async def due(self, endpoint: str, limit: int, at: int) -> list[Due]:
        """What an endpoint should be sent at this time (ms since the epoch), the longest due first."""
        asked = {"b_endpoint": endpoint, "b_at": at, "b_limit": limit}
        async with self._database.read() as connection:
            rows = await connection.execute(_DUE.clause, asked)
            return [Due(row.event_id, row.endpoint, row.attempts, row.body) for row in rows]

    async def record(self, results: Sequence[Result]) -> list[WS402Error | None]:
        """Write what came of attempts, unless somebody else has gone on with the same event meanwhile."""

        async def work(transaction: Transaction) -> None:
            locked = await transaction.fetch(_LOCKED, ids={each.due.event_id for each in results})
            known = {(row.event_id, row.endpoint): row for row in locked}
            for each in results:
                row = known.get((each.due.event_id, each.due.endpoint))
                if row is None or row.state != EventState.PENDING or row.attempts != each.due.attempts:
                    continue
                await transaction.fetch(
                    _RESULT,
                    b_id=each.due.event_id,
                    b_endpoint=each.due.endpoint,
                    state=each.state.value,
                    attempts=each.due.attempts + 1,
                    next_at=each.next_at,
                    status=each.status,
                    error=each.error,
                    updated_at=each.at,
                )

        await self._database.run(work)
        return [None] * len(results)

    async def settle_endpoints(self, endpoints: Sequence[WebhookSettings]) -> None:
        """Know these endpoints. One that was disabled, and has another address now, is enabled."""
        async with self._database.begin() as connection:
            for each in endpoints:
                url_hash = digest(each.url)
                row = {"name": each.name, "url_hash": url_hash, "disabled_at": None}
                await connection.execute(insert_ignore(connection, event_endpoints), [row])
                mine = (event_endpoints.c.name == each.name) & (event_endpoints.c.url_hash != url_hash)
                await connection.execute(
                    update(event_endpoints).where(mine).values(url_hash=url_hash, disabled_at=None)
                )

    async def disable(self, endpoint: str, at: int | None) -> bool:
        """Send it nothing from `at` (ms since the epoch) on; None: send again. Whether that is news."""
        was = event_endpoints.c.disabled_at.is_(None) if at else event_endpoints.c.disabled_at.is_not(None)
        async with self._database.begin() as connection:
            changed = await connection.execute(
                update(event_endpoints).where(event_endpoints.c.name == endpoint, was).values(disabled_at=at)
            )
        return bool(changed.rowcount)

    async def disabled(self, endpoint: str) -> bool:
        """Whether an endpoint is sent nothing."""
        query = select(event_endpoints.c.disabled_at).where(event_endpoints.c.name == endpoint)
        async with self._database.read() as connection:
            return (await connection.execute(query)).scalar() is not None

    async def standing(self, names: Sequence[str]) -> Mapping[str, Standing]:
        """How these endpoints stand."""
        pending = (
            select(
                event_deliveries.c.endpoint,
                func.count().label("total"),
                func.min(event_deliveries.c.created_at).label("oldest"),
            )
            .where(event_deliveries.c.endpoint.in_(names), event_deliveries.c.state == EventState.PENDING)
            .group_by(event_deliveries.c.endpoint)
        )
        async with self._database.read() as connection:
            disabled: dict[str, Any] = {
                row.name: row.disabled_at for row in await connection.execute(select(event_endpoints))
            }
            waiting = {row.endpoint: row for row in await connection.execute(pending)}
        return {
            name: Standing(
                pending=waiting[name].total if name in waiting else 0,
                oldest_at=waiting[name].oldest if name in waiting else None,
                disabled_at=disabled.get(name),
            )
            for name in names
        }


def wants(endpoint: WebhookSettings, kind: str, tenant: str | None) -> bool:
    """Whether an endpoint is told of such an event."""
    return (not endpoint.events or kind in endpoint.events) and (not endpoint.tenants or tenant in endpoint.tenants)


_RESULT: Final = Statement(
    update(event_deliveries)
    .where(event_deliveries.c.event_id == bindparam("b_id"), event_deliveries.c.endpoint == bindparam("b_endpoint"))
    .values({name: bindparam(name) for name in ("state", "attempts", "next_at", "status", "error", "updated_at")})
)
