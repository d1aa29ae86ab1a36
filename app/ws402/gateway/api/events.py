"""Operators' calls about events and webhooks."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar.handlers import ASGIRouteHandler

from ws402.gateway.api.admin_messages import Done, EndpointCommand, ReplayCommand
from ws402.gateway.api.commands import Commands
from ws402.gateway.api.requests import Requests
from ws402.gateway.auth.keys import LOOK
from ws402.gateway.ledger.event_tables import EventState
from ws402.gateway.webhooks.records import MOST, Records
from ws402.protocol.events import EventType


class EventsQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """GET /api/admin/events. `before`: the id of an event; older ones are listed."""

    type: EventType | None = None
    state: EventState | None = None
    endpoint: str | None = None
    subject: str | None = None
    before: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=MOST)] = 100


class EventQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """GET /api/admin/event."""

    id: str


class EventRoutes:
    """All need a key of the admin scope; the audit log keeps every change."""

    def __init__(self, records: Records, commands: Commands) -> None:
        self._records = records
        self._commands = commands

    def handlers(self, requests: Requests) -> list[ASGIRouteHandler]:
        """All of them."""
        return [
            requests.query("/api/admin/events", EventsQuery, self.events, *LOOK),
            requests.query("/api/admin/event", EventQuery, self.event, *LOOK),
            requests.get("/api/admin/events/endpoints", self.endpoints, *LOOK),
            self._commands.post(requests, "/api/admin/events/replay", ReplayCommand, self.replay),
            self._commands.post(requests, "/api/admin/events/enable", EndpointCommand, self.enable),
        ]

    async def events(self, query: EventsQuery) -> dict[str, Any]:
        """Events, newest first."""
        found = await self._records.listed(
            kind=query.type,
            state=query.state,
            endpoint=query.endpoint,
            subject=query.subject,
            before=query.before,
            limit=query.limit,
        )
        return {"events": found}

    async def event(self, query: EventQuery) -> dict[str, Any]:
        """One event, with its body."""
        return await self._records.one(query.id)

    async def endpoints(self) -> dict[str, Any]:
        """The endpoints, and how they stand."""
        return {"endpoints": await self._records.endpoints()}

    async def replay(self, command: ReplayCommand) -> Done:
        """Send events again."""
        done = await self._records.replay(command.ids, command.endpoint, failed=command.failed, dry_run=command.dry_run)
        return Done(done=done)

    async def enable(self, command: EndpointCommand) -> Done:
        """Send to a disabled endpoint again."""
        changed = await self._records.enable(command.endpoint, dry_run=command.dry_run)
        return Done(done=[command.endpoint] if changed else [])
