"""What operators ask of events, and what they change: look, send again, enable an endpoint."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from ws402.errors import InvalidRequestError, NotFoundError
from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.entries import insert_ignore
from ws402.gateway.ledger.event_tables import EventState, event_deliveries, events
from ws402.gateway.webhooks.store import wants
from ws402.gateway.webhooks.worker import Webhooks
from ws402.settings import WebhookSettings

MOST: Final = 500
"""Events of one answer, and of one command."""


class Records:
    """Over one ledger. `webhooks` is None where nobody is told: then only what is there can be looked at."""

    def __init__(self, database: Database, webhooks: Webhooks | None) -> None:
        self._database = database
        self._webhooks = webhooks

    async def listed(
        self,
        *,
        kind: str | None = None,
        state: str | None = None,
        endpoint: str | None = None,
        subject: str | None = None,
        before: str | None = None,
        limit: int = 100,
    ) -> list[dict[str, Any]]:
        """Events, newest first, with how far each is at its endpoints; `before`: older than the one of this id."""
        query = select(*events.c["id", "type", "subject", "tenant", "created_at"])
        for column, value in ((events.c.type, kind), (events.c.subject, subject)):
            query = query if value is None else query.where(column == value)
        if state is not None or endpoint is not None:
            mine = select(event_deliveries.c.event_id)
            mine = mine if state is None else mine.where(event_deliveries.c.state == state)
            mine = mine if endpoint is None else mine.where(event_deliveries.c.endpoint == endpoint)
            query = query.where(events.c.id.in_(mine))
        query = query if before is None else query.where(events.c.id < before)
        async with self._database.read() as connection:
            found = (await connection.execute(query.order_by(events.c.id.desc()).limit(limit))).all()
            ways = select(event_deliveries).where(event_deliveries.c.event_id.in_([row.id for row in found]))
            deliveries = (await connection.execute(ways.order_by(event_deliveries.c.endpoint))).all()
        return [
            {
                "id": row.id,
                "type": row.type,
                "subject": row.subject,
                "tenant": row.tenant,
                "createdAt": row.created_at,
                "deliveries": [_delivery(each) for each in deliveries if each.event_id == row.id],
            }
            for row in found
        ]

    async def one(self, event_id: str) -> dict[str, Any]:
        """An event with what is sent of it. Raises NotFoundError."""
        async with self._database.read() as connection:
            row = (await connection.execute(select(events).where(events.c.id == event_id))).first()
            if row is None:
                raise NotFoundError(f"There is no event '{event_id}'.", remedy="List them with: ws402 ops events list")
            ways = select(event_deliveries).where(event_deliveries.c.event_id == event_id)
            found = await connection.execute(ways.order_by(event_deliveries.c.endpoint))
            deliveries = [_delivery(each) for each in found]
        return {
            "id": row.id,
            "type": row.type,
            "subject": row.subject,
            "tenant": row.tenant,
            "createdAt": row.created_at,
            "body": json.loads(row.body),
            "deliveries": deliveries,
        }

    async def endpoints(self) -> list[dict[str, Any]]:
        """The endpoints of the settings, and how they stand."""
        webhooks = self._webhooks
        if webhooks is None:
            return []
        standing = await webhooks.standing()
        return [
            {
                "name": each.name,
                "events": each.events,
                "tenants": each.tenants,
                "pending": standing[each.name].pending,
                "oldestAt": standing[each.name].oldest_at,
                "disabledAt": standing[each.name].disabled_at,
            }
            for each in webhooks.endpoints
        ]

    async def replay(
        self, ids: Sequence[str], endpoint: str | None, *, failed: bool = False, dry_run: bool = False
    ) -> list[str]:
        """Send events again, with their ids and bytes: these, or with `failed` all that an endpoint was given up on.

        `endpoint` None: to every endpoint that is told of them. Answers the events' ids. Raises InvalidRequestError,
        also when an endpoint is named that is not told of one (another tenant's, say), and NotFoundError.
        """
        targets = self._targets(endpoint)
        if bool(ids) == failed:
            raise InvalidRequestError(
                "Name events, or ask for all failed ones.", remedy="Give ids of events, or --failed, not both."
            )
        async with self._database.begin(dry_run=dry_run) as connection:
            chosen = select(*events.c["id", "type", "tenant", "created_at"]).order_by(events.c.id).limit(MOST)
            if failed:
                given_up = select(event_deliveries.c.event_id).where(
                    event_deliveries.c.state == EventState.FAILED,
                    event_deliveries.c.endpoint.in_([each.name for each in targets]),
                )
                chosen = chosen.where(events.c.id.in_(given_up))
            else:
                chosen = chosen.where(events.c.id.in_(ids))
            found = (await connection.execute(chosen)).all()
            if missing := set(ids) - {row.id for row in found}:
                raise NotFoundError(
                    f"There is no event '{min(missing)}'.", remedy="List them with: ws402 ops events list"
                )
            sent: set[str] = set()
            for each in targets:
                wanted = [row for row in found if wants(each, row.type, row.tenant)]
                if wanted:
                    await self._again(connection, each, wanted, failed=failed)
                sent.update(row.id for row in wanted)
            if others := set(ids) - sent:
                who = "The webhooks are" if endpoint is None else f"The webhook '{endpoint}' is"
                raise InvalidRequestError(
                    f"{who} not told of event '{min(others)}'.",
                    remedy="Leave that event out, or widen `events` and `tenants` of the webhook.",
                )
        if self._webhooks is not None and not dry_run:
            self._webhooks.wake()
        return sorted(sent)

    async def enable(self, name: str, *, dry_run: bool = False) -> bool:
        """Send to an endpoint again that was disabled; whether it was. Raises InvalidRequestError."""
        (endpoint,) = self._targets(name)
        assert self._webhooks is not None  # noqa: S101 - it has the endpoint
        if dry_run:
            return await self._webhooks.store.disabled(endpoint.name)
        changed = await self._webhooks.store.disable(endpoint.name, None)
        self._webhooks.wake()
        return changed

    def _targets(self, name: str | None) -> list[WebhookSettings]:
        known = {} if self._webhooks is None else {each.name: each for each in self._webhooks.endpoints}
        if not known:
            raise InvalidRequestError("This gateway has no webhooks.", remedy="Set WEBHOOKS (docs/webhooks.md).")
        if name is not None and name not in known:
            raise InvalidRequestError(f"There is no webhook '{name}'.", remedy=f"Use one of: {', '.join(known)}.")
        return list(known.values()) if name is None else [known[name]]

    async def _again(
        self, connection: AsyncConnection, endpoint: WebhookSettings, found: Sequence[Any], *, failed: bool
    ) -> None:
        """Due now at one endpoint; with `failed`, only what it was given up on."""
        now = self._database.now_ms()
        ids = [row.id for row in found]
        fresh = {"state": EventState.PENDING, "attempts": 0, "next_at": now, "updated_at": now}
        mine = (event_deliveries.c.endpoint == endpoint.name) & event_deliveries.c.event_id.in_(ids)
        if failed:
            mine &= event_deliveries.c.state == EventState.FAILED
        else:
            rows = [
                {"event_id": row.id, "endpoint": endpoint.name, "created_at": row.created_at, **fresh} for row in found
            ]
            await connection.execute(insert_ignore(connection, event_deliveries), rows)
        await connection.execute(update(event_deliveries).where(mine).values(fresh))


def _delivery(row: Any) -> dict[str, Any]:
    return {
        "endpoint": row.endpoint,
        "state": row.state,
        "attempts": row.attempts,
        "nextAt": row.next_at if row.state == EventState.PENDING else None,
        "status": row.status,
        "error": row.error,
        "updatedAt": row.updated_at,
    }
