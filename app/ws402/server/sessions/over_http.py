"""A session that is one plain HTTP answer: metered from its first byte to its end, or until the client leaves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from ws402.errors import UnavailableError, WS402Error
from ws402.money import parse_amount
from ws402.observability import metrics
from ws402.protocol import CollectResponse, EndReason, ReleaseRequest, TokenTerms
from ws402.server.resources.base import Receive, Resource, Scope, Send
from ws402.server.resources.http_answers import abort, header, is_gone
from ws402.server.sessions.context import SessionContext
from ws402.server.sessions.http_line import HttpLine
from ws402.server.sessions.live import Live
from ws402.server.sessions.meter import Meter
from ws402.server.sessions.session import Session
from ws402.settings import ServerSettings

FAILED: Final = 500
"""An answer of this status or a higher one is no delivery: it costs nothing."""

OnError = Callable[[WS402Error], Any]

logger = logging.getLogger(__name__)


class OverHttp:
    """Serves what was collected."""

    def __init__(self, settings: ServerSettings, context: SessionContext, live: Live) -> None:
        self._settings = settings
        self._context = context
        self._live = live

    def give_back(self, opened: CollectResponse) -> None:
        """Who paid is gone before the answer: the same payment can be shown again for a while, then all goes back."""
        request = ReleaseRequest(
            session_id=opened.session_id or "",
            epoch=opened.epoch or 0,
            elapsed_ms=opened.elapsed_ms,
            bytes_transferred=0,
            message_count=0,
        )
        self._context.ends.deliver(request, lambda _request, _answer: None)

    async def serve(
        self,
        session: Session,
        path: str,
        scope: Scope,
        receive: Receive,
        send: Send,
        headers: Mapping[str, str],
        refuse: OnError,
    ) -> None:
        """Let the resource answer, with these headers besides its own; `refuse` answers an error."""
        answer = _Answer(session, self._context.wheel.clock, send, headers)
        hears = _Hears(receive)
        watch = asyncio.get_running_loop().create_task(_watch(session, answer, hears, scope))
        try:
            await session.resource.open(session)
            self._live.add(session)
            metrics.SESSIONS_OPENED.inc()
            await session.resource.serve(session, path, scope, hears, answer)
        except WS402Error as error:
            await self._failed(answer, scope, refuse, error)
        except Exception:
            logger.exception("resource %s failed", session.resource.settings.id)
            await self._failed(answer, scope, refuse, UnavailableError("The resource failed; all is refunded."))
        finally:
            watch.cancel()
            left = is_gone(scope) and not answer.whole
            session.finish(EndReason.CLIENT_CLOSED if left else EndReason.RESOURCE_ENDED, unused=not answer.delivers)

    async def _failed(self, answer: _Answer, scope: Scope, refuse: OnError, error: WS402Error) -> None:
        if answer.status:
            await abort(scope)
        elif not is_gone(scope):
            await refuse(error)

    def session(self, opened: CollectResponse, resource: Resource, token: TokenTerms, scope: Scope) -> Session:
        """A session that nobody else has, for one answer."""
        meter = Meter(
            paid=parse_amount(opened.paid),
            price=resource.settings.terms,
            now=self._context.wheel.clock(),
            limit_ms=self._settings.max_session_duration * 1000,
            used_ms=opened.elapsed_ms,
        )
        return Session(
            self._context,
            HttpLine(opened.payer or "", lambda: is_gone(scope)),
            resource,
            meter,
            session_id=opened.session_id or "",
            epoch=opened.epoch or 0,
            network=token.network,
            asset=token.asset,
        )


class _Answer:
    """Passes the resource's answer on; the meter runs from its head on."""

    def __init__(self, session: Session, clock: Callable[[], int], send: Send, headers: Mapping[str, str]) -> None:
        self._session = session
        self._clock = clock
        self._send = send
        self._headers = headers
        self.status = 0
        self.whole = False

    @property
    def delivers(self) -> bool:
        """Whether something was delivered that is worth its price."""
        return 0 < self.status < FAILED

    async def __call__(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            ours = {name.encode(): value.encode("latin-1") for name, value in self._headers.items()}
            kept = [(name, value) for name, value in message["headers"] if name not in ours]
            message = {**message, "headers": [*kept, *ours.items()]}
            if self._session.live:
                now = self._clock()
                self._session.meter.begin(now)
                self._session.start(now)
        elif not message.get("more_body", False):
            self.whole = True
        await self._send(message)


class _Hears:
    """The request's body for the resource, and, behind it, whether the client hangs up."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.read = asyncio.Event()

    async def __call__(self) -> Any:
        message = await self._receive()
        if message["type"] != "http.request" or not message.get("more_body", False):
            self.read.set()
        return message

    async def hung_up(self) -> None:
        """Wait until the client is gone, once its request is whole."""
        while (await self._receive())["type"] == "http.request":
            pass


async def _watch(session: Session, answer: _Answer, hears: _Hears, scope: Scope) -> None:
    """End the session when its client leaves, however long the resource is silent."""
    if header(scope, b"content-length") not in ("", "0") or header(scope, b"transfer-encoding"):
        await hears.read.wait()
    await hears.hung_up()
    if not answer.whole:  # a finished answer looks the same
        session.client_left(1000)
