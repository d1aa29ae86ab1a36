"""Resources over HTTP: `/api/resource/{id}[/path]`, for whoever shows the token of a live session."""

from __future__ import annotations

from typing import Any, Final, cast
from urllib.parse import unquote, urlsplit

from litestar import Request
from litestar.handlers import ASGIRouteHandler, asgi

from ws402.errors import ForbiddenError, NotFoundError, WS402Error
from ws402.server.addresses import query_value
from ws402.server.resources.base import Receive, Resource, Scope, Send
from ws402.server.resources.http_answers import FORWARDED, abort, is_gone
from ws402.server.sessions.service import Sessions
from ws402.server.sessions.session import Session
from ws402.server.sockets.handshake import error_body
from ws402.server.web.answers import error_headers, send_error, send_json
from ws402.server.web.callers import bearer, client_address
from ws402.server.web.paid import PaidRequests, duration_of
from ws402.server.web.schema import SchemaRoutes

PREFIX: Final = "/api/resource"


class ResourceRoutes:
    """Plain ASGI: answers are streamed and may be of any kind."""

    def __init__(self, sessions: Sessions, schema: SchemaRoutes, paid: PaidRequests) -> None:
        self._sessions = sessions
        self._schema = schema
        self._paid = paid

    def handlers(self) -> list[ASGIRouteHandler]:
        """The routes."""

        @asgi(PREFIX, is_mount=True, copy_scope=False)
        async def resource(scope: Any, receive: Any, send: Any) -> None:
            await self.answer(scope, receive, send)

        return [resource]

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Find the resource and the session, then let the resource answer."""
        resource_id, path = _split(scope)
        token = query_value(str(scope.get("query_string", b""), "latin-1"), "token") or bearer(scope)
        session = self._sessions.live.by_http_token(token) if token is not None else None
        if session is not None and session.resource.settings.id != resource_id:
            session = None
        schema = path == "/schema" and scope["method"] == "GET"
        if session is not None and not schema:
            scope.setdefault("extensions", {})[FORWARDED] = self._seen(scope)
            await _serve(session, path, scope, receive, send)  # also when the resource is not sold any more
            return
        resource = self._sessions.resources.get(resource_id)
        if resource is None:
            await send_error(
                send, NotFoundError("There is no such resource here.", remedy="GET /api/resources lists them.")
            )
            return
        if schema:
            await self._describe(resource_id, scope, send)
            return
        if token is None:
            try:
                await self._sell(resource, path, scope, receive, send)
            except WS402Error as error:
                await send_error(send, error)
            return
        refusal = ForbiddenError(
            "The token is not (or no longer) good for this resource.",
            remedy="Open a session; the token lives as long as it does.",
            code="token_refused",
        )
        await send_error(send, refusal)

    async def _describe(self, resource_id: str, scope: Scope, send: Send) -> None:
        """`/api/resource/{id}/schema`; a path `schema` of an upstream is therefore not to be had."""
        try:
            answer = await self._schema.describe(Request(cast("Any", scope)), resource_id)
        except WS402Error as error:
            await send_error(send, error)
        else:
            await send_json(send, answer)

    async def _sell(self, resource: Resource, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Ask for a payment, or answer for the one that the request shows."""
        paid = self._paid
        found = paid.offers(resource, duration_of(scope)) if resource.over_http else []
        payment = paid.payment(scope) if found else None
        bought = await paid.buy(resource, found, payment, "request", scope, send)
        if bought is None:
            return
        over_http = self._sessions.over_http
        if is_gone(scope):
            over_http.give_back(bought.answer)
            return
        headers = bought.receipt
        session = over_http.session(bought.answer, resource, bought.offer.token, scope)

        async def refuse(error: WS402Error) -> None:
            await send_json(send, error_body(error), error.status, error_headers(error) | headers)

        scope.setdefault("extensions", {})[FORWARDED] = self._seen(scope)
        await over_http.serve(session, path, scope, receive, send, headers, refuse)

    def _seen(self, scope: Scope) -> tuple[str, str, str]:
        """The client's address, and the scheme and host by which it came here."""
        site = urlsplit(self._paid.base(scope))
        return client_address(self._sessions.proxies, scope), site.scheme, site.netloc


async def _serve(session: Session, path: str, scope: Scope, receive: Receive, send: Send) -> None:
    begun = False

    async def watched(message: Any) -> None:
        nonlocal begun
        begun = True
        await send(message)

    try:
        await session.resource.serve(session, path, scope, receive, watched)
    except WS402Error as error:
        if begun:
            await abort(scope)
        else:
            await send_error(send, error)


def _split(scope: Scope) -> tuple[str, str]:
    """The resource's id, and what follows: empty, or a path as the client sent it (still percent-encoded)."""
    raw = str(scope.get("raw_path", b""), "latin-1").partition("?")[0]
    _, _, below = raw.partition(PREFIX)
    resource_id, slash, path = below.lstrip("/").partition("/")
    return unquote(resource_id), slash + path
