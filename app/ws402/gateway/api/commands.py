"""Operators' commands: each is in the audit log before it is carried out, and logged with the key that gave it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from litestar.handlers import ASGIRouteHandler
from litestar.types import Receive

from ws402.gateway.api.admin_messages import Command
from ws402.gateway.api.requests import Requests
from ws402.gateway.auth.keys import Principal, Scope
from ws402.gateway.books.audit_log import AuditLog

log = logging.getLogger(__name__)


class Commands:
    """Over one audit log."""

    def __init__(self, audit_log: AuditLog) -> None:
        self._audit_log = audit_log

    def post(self, requests: Requests, path: str, kind: Any, work: Callable[[Any], Awaitable[Any]]) -> ASGIRouteHandler:
        """The call of a command, for keys of the admin scope."""
        name = path.removeprefix("/api/admin/")

        async def handle(principal: Principal, command: Command, _: Receive) -> Any:
            return await self.carry_out(principal, name, command, work)

        return requests.post(path, kind, handle, scope=Scope.ADMIN)

    async def carry_out(
        self, principal: Principal, name: str, command: Command, work: Callable[[Any], Awaitable[Any]]
    ) -> Any:
        """Do what a command says. Raises ForbiddenError for a key that may only look, and what `work` raises."""
        principal.require(Scope.ADMIN)
        if not command.dry_run:
            await self._audit_log.note(principal.operator, name, command)
        answer = await work(command)
        log.warning(
            "operator %s: %s %s%s",
            principal.operator,
            name,
            msgspec.json.encode(command).decode(),
            " (dry run)" if command.dry_run else "",
        )
        return answer
