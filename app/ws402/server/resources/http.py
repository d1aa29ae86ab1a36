"""An HTTP service in front of which the server stands: a streaming reverse proxy for holders of a session's token."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final
from urllib.parse import urlsplit

import httpx

from ws402.errors import ConfigurationError, InvalidRequestError
from ws402.prices import BYTES
from ws402.server.resources.base import Receive, ResourceUnavailableError, Scope, Send, Stream
from ws402.server.resources.below import below, seen_by_client
from ws402.server.resources.http_answers import abort, header, is_gone, safe_headers
from ws402.server.resources.requests import MAX_REQUESTS, HttpServed
from ws402.server.resources.upstream_headers import HOP_BY_HOP, is_token, named, query_parts, request_headers
from ws402.settings import ResourceSettings

CONNECT_SECONDS: Final = 10.0
IDLE_SECONDS: Final = 300.0
KEPT_SECONDS: Final = 4.0
"""How long an idle connection is kept: less than the 5 s after which many services close theirs."""
REPEATABLE: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
"""Methods whose request may be sent twice (RFC 9110 §9.2.2)."""

CHARGE: Final = "x-ws402-charge"
"""An answer's header that says what else than bytes to charge; the client does not get it."""

logger = logging.getLogger(__name__)


class BodyTooLargeError(InvalidRequestError):
    """The request's body is larger than the resource takes."""

    code = "too_large"
    status = 413


class _ClientGoneError(Exception):
    """The client hung up before its request was whole."""


class HttpResource(HttpServed):
    """Requests go below the target and nowhere else. Redirects are the client's to follow, and lead here again."""

    def __init__(self, settings: ResourceSettings) -> None:
        super().__init__(settings)
        self._client: httpx.AsyncClient | None = None
        self._fresh: httpx.AsyncClient | None = None
        """Uses each connection once."""

    def check(self) -> None:
        """The target is an http:// or https:// URL without a query."""
        target = urlsplit(self.settings.target)
        if target.scheme not in ("http", "https") or not target.hostname or target.query or target.fragment:
            raise ConfigurationError(
                f"Resource '{self.settings.id}': '{self.settings.target}' is no HTTP URL to a folder.",
                remedy="Write it as http://host:port/path, without a query.",
            )

    async def start(self) -> None:
        """Open the connection pool."""
        self._client, self._fresh = _client(keep=100), _client(keep=0)

    async def close(self) -> None:
        """Close the connection pool."""
        for client in (self._client, self._fresh):
            if client is not None:
                await client.aclose()

    async def answer(self, stream: Stream, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and its answer back, piece by piece."""
        request = httpx.Request(
            scope["method"],
            self._url(path, scope),
            headers=request_headers(stream, scope),
            content=_body(stream, scope, receive, self.settings.max_request_bytes),
        )
        try:
            answer = await self._send(request)
        except _ClientGoneError:
            return
        except httpx.HTTPError as error:
            logger.warning("resource %s: the upstream cannot be reached: %s", self.settings.id, type(error).__name__)
            raise ResourceUnavailableError("The resource cannot be reached now.") from error
        try:
            await self._pass_on(stream, answer, path, scope, send)
        finally:
            await answer.aclose()

    async def _send(self, request: httpx.Request) -> httpx.Response:
        """The head of the answer. A kept connection may have been closed while the request was on its way: what may be
        sent twice is then sent once more, on a new one.
        """
        client, fresh = self._client, self._fresh
        assert client is not None and fresh is not None, "start() was not called"  # noqa: S101, PT018 - the server does
        try:
            return await client.send(request, stream=True)
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
            if request.method not in REPEATABLE or not isinstance(request.stream, httpx.ByteStream):
                raise
        return await fresh.send(request, stream=True)

    async def _pass_on(self, stream: Stream, answer: httpx.Response, path: str, scope: Scope, send: Send) -> None:
        dropped = HOP_BY_HOP | named(answer.headers.get("connection", "")) | {"set-cookie", "server", "date", CHARGE}
        self._charge(stream, answer.headers.get(CHARGE, ""))
        ours = safe_headers()
        replaced = {name.decode() for name, _ in ours}
        headers = [
            (name, value)
            for name, value in ((key.lower(), value) for key, value in answer.headers.raw)
            if name.decode("latin-1") not in dropped | replaced
        ]
        for name in ("location", "content-location"):
            if (address := answer.headers.get(name)) is not None:
                headers = [each for each in headers if each[0] != name.encode()]
                if (shown := self._address(address, answer, path, scope)) is not None:
                    headers.append((name.encode(), shown.encode("latin-1", "replace")))
        await send({"type": "http.response.start", "status": answer.status_code, "headers": headers + ours})
        try:
            async for piece in answer.aiter_raw():
                if not stream.live or is_gone(scope):
                    await abort(scope)
                    return
                stream.count(len(piece))
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        except httpx.HTTPError:
            await abort(scope)
            return
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _charge(self, stream: Stream, said: str) -> None:
        """What the upstream says that the request used: `tokens=250, images=1`."""
        for each in filter(None, (part.strip() for part in said.split(","))):
            unit, _, count = each.partition("=")
            if count.isascii() and count.isdigit() and len(count) < 16:
                stream.charge(int(count), unit)
            else:
                logger.warning("resource %s: the upstream's %s cannot be read", self.settings.id, CHARGE)

    def _address(self, address: str, answer: httpx.Response, path: str, scope: Scope) -> str | None:
        """The upstream's `Location` as a client of this server can use it; None when it leads past the resource."""
        token = "&".join(filter(is_token, query_parts(scope)))
        shown = seen_by_client(address, str(answer.request.url), self.settings.target, self.settings.id, path, token)
        if shown is None:
            logger.warning("resource %s: the upstream redirects to where nobody gets", self.settings.id)
        return shown

    def _url(self, path: str, scope: Scope) -> str:
        """The upstream's address for a path below the resource. Raises InvalidRequestError for one that leaves it."""
        query = "&".join(part for part in query_parts(scope) if not is_token(part))
        return f"{self.settings.target.rstrip('/')}{below(path)}" + (f"?{query}" if query else "")


def _client(keep: int) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        timeout=httpx.Timeout(IDLE_SECONDS, connect=CONNECT_SECONDS, pool=CONNECT_SECONDS),
        limits=httpx.Limits(
            max_connections=MAX_REQUESTS, max_keepalive_connections=keep, keepalive_expiry=KEPT_SECONDS
        ),
        follow_redirects=False,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),  # one session's would go with another's requests
        trust_env=False,
    )


def _body(stream: Stream, scope: Scope, receive: Receive, most: int) -> AsyncIterator[bytes] | None:
    """The request's body as it arrives, or None. Raises BodyTooLargeError, also in the middle."""
    length = header(scope, b"content-length")
    if not length and not header(scope, b"transfer-encoding"):
        return None
    if length and int(length) > most:
        raise _too_large(most)
    return _pieces(stream, receive, most)


async def _pieces(stream: Stream, receive: Receive, most: int) -> AsyncIterator[bytes]:
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise _ClientGoneError
        if piece := message.get("body", b""):
            size += len(piece)
            if size > most:
                raise _too_large(most)
            stream.charge(len(piece), BYTES)
            yield piece
        if not message.get("more_body", False):
            return


def _too_large(most: int) -> BodyTooLargeError:
    return BodyTooLargeError(f"The resource takes at most {most} bytes in a request.", remedy="Send less at once.")
