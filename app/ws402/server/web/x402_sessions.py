"""Sessions that are paid for over HTTP and used on a socket, and how any session stands."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

import msgspec
from litestar import Response, get
from litestar.handlers import ASGIRouteHandler, HTTPRouteHandler, asgi

from ws402.errors import InvalidRequestError, NotFoundError, WS402Error
from ws402.limits import PerMinute
from ws402.money import wire_amount
from ws402.server.addresses import group
from ws402.server.resources.base import Receive, Resource, Scope, Send
from ws402.server.sessions.service import Sessions
from ws402.server.web.answers import AnyRequest, json, send_error, send_json
from ws402.server.web.callers import client_address
from ws402.server.web.paid import MAX_DURATION, SESSIONS, Bought, PaidRequests

MAX_BODY: Final = 4096
LOOKS_PER_MINUTE: Final = 600
"""Looks at sessions that one address may have in a minute."""


class _Wanted(msgspec.Struct, rename="camel"):
    resource_id: str
    duration: int | None = None


_wanted: Final = msgspec.json.Decoder(_Wanted)


class X402SessionRoutes:
    """`/ws402/sessions`."""

    def __init__(self, sessions: Sessions, paid: PaidRequests) -> None:
        self._sessions = sessions
        self._paid = paid
        self._looks = PerMinute(LOOKS_PER_MINUTE)

    def handlers(self) -> list[ASGIRouteHandler | HTTPRouteHandler]:
        """The routes."""

        @asgi(SESSIONS, copy_scope=False)
        async def sessions(scope: Any, receive: Any, send: Any) -> None:
            try:
                await self._buy(scope, receive, send)
            except WS402Error as error:
                await send_error(send, error)

        @get(SESSIONS + "/{session_id:str}")
        async def session(request: AnyRequest) -> Response[bytes]:
            self._looks.take(group(client_address(self._sessions.proxies, request.scope)))
            return json(await self._sessions.provider.session(request.path_params["session_id"]))

        return [sessions, session]

    async def _buy(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST":
            raise NotFoundError("Sessions are made with POST.", remedy="POST {resourceId, duration}.")
        wanted = await _read(receive)
        resource = self._sessions.resources.get(wanted.resource_id)
        if resource is None:
            raise NotFoundError("There is no such resource here.", remedy="GET /api/resources lists them.")
        found = self._paid.offers(resource, wanted.duration)
        payment = self._paid.payment(scope)
        url = self._paid.base(scope) + SESSIONS
        bought = await self._paid.buy(resource, found, payment, "session", scope, send, url=url)
        if bought is not None:
            await self._tell(resource, bought, scope, send)

    async def _tell(self, resource: Resource, bought: Bought, scope: Scope, send: Send) -> None:
        base, id_, answer = self._paid.base(scope), quote(resource.settings.id), bought.answer
        terms = self._sessions.terms.current
        body = {
            "sessionId": answer.session_id,
            "resumeToken": answer.resume_token,
            "websocketUrl": f"ws{base.removeprefix('http')}/?resourceId={id_}",
            "resourceUrl": f"{base}/api/resource/{id_}",
            "pricePerSecond": wire_amount(resource.settings.terms.per_second),
            "paidAmount": answer.paid,
            "attachWithinSeconds": terms.attach_seconds if terms is not None else 0,
            "statusUrl": f"{base}{SESSIONS}/{answer.session_id}",
        }
        await send_json(send, body, 201, bought.receipt)


async def _read(receive: Receive) -> _Wanted:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > MAX_BODY:
            raise InvalidRequestError(f"The request has more than {MAX_BODY} bytes.")
        if message["type"] != "http.request" or not message.get("more_body", False):
            break
    try:
        wanted = _wanted.decode(body)
    except msgspec.DecodeError as error:
        raise InvalidRequestError(
            f"The request cannot be read: {error}.", remedy='Send {"resourceId": "…", "duration": seconds}.'
        ) from None
    if wanted.duration is not None and not 0 < wanted.duration <= MAX_DURATION:
        raise InvalidRequestError("'duration' must be between 1 second and a year.")
    return wanted
