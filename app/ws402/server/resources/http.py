"""An HTTP service in front of which the server stands: a streaming reverse proxy for holders of a session's token."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final
from urllib.parse import quote, unquote, unquote_plus, urlsplit, urlunsplit

import httpx

from ws402.errors import ConfigurationError, InvalidRequestError
from ws402.server.resources.base import (
    Receive,
    Resource,
    ResourceUnavailableError,
    Scope,
    Send,
    Stream,
    header_value,
)
from ws402.server.resources.http_answers import abort, header, is_gone, safe_headers
from ws402.settings import ResourceSettings

CONNECT_SECONDS: Final = 10.0
IDLE_SECONDS: Final = 300.0

HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "expect",
    }
)
"""RFC 9110 §7.6.1: they belong to one connection."""

NOT_SENT: Final = HOP_BY_HOP | {"host", "cookie", "content-length"}
"""Cookies of this server's origin are not the upstream's."""

PATH_SAFE: Final = "%:@!$&'()*+,;=~"
"""What may stand in a path segment (RFC 3986 §3.3), and what is percent-encoded already."""

logger = logging.getLogger(__name__)


class _ClientGoneError(Exception):
    """The client hung up before its request was whole."""


class HttpResource(Resource):
    """Requests go below the target and nowhere else. Redirects are the client's to follow, and lead here again."""

    over_http = True

    def __init__(self, settings: ResourceSettings) -> None:
        super().__init__(settings)
        self._client: httpx.AsyncClient | None = None

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
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(IDLE_SECONDS, connect=CONNECT_SECONDS, pool=CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=1000, max_keepalive_connections=100),
            follow_redirects=False,
            cookies=CookieJar(
                DefaultCookiePolicy(allowed_domains=[])
            ),  # one session's would go with another's requests
            trust_env=False,
        )

    async def close(self) -> None:
        """Close the connection pool."""
        if self._client is not None:
            await self._client.aclose()

    async def serve(self, stream: Stream, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and its answer back, piece by piece."""
        client = self._client
        assert client is not None, "start() was not called"  # noqa: S101 - the server calls it first
        request = client.build_request(
            scope["method"],
            self._url(path, scope),
            headers=self._headers(stream, scope),
            content=_body(scope, receive),
        )
        try:
            answer = await client.send(request, stream=True)
        except _ClientGoneError:
            return
        except httpx.HTTPError as error:
            logger.warning("resource %s: the upstream cannot be reached: %s", self.settings.id, type(error).__name__)
            raise ResourceUnavailableError("The resource cannot be reached now.") from error
        try:
            await self._pass_on(stream, answer, path, scope, send)
        finally:
            await answer.aclose()

    async def _pass_on(self, stream: Stream, answer: httpx.Response, path: str, scope: Scope, send: Send) -> None:
        dropped = HOP_BY_HOP | _named(answer.headers.get("connection", "")) | {"set-cookie", "server", "date"}
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
                if (shown := self._address(address, path, scope)) is not None:
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

    def _address(self, address: str, path: str, scope: Scope) -> str | None:
        """The upstream's `Location` as a client of this server can use it; None when it leads past the resource."""
        target, parts = urlsplit(self.settings.target), urlsplit(address)
        if parts.netloc and (parts.scheme or target.scheme, parts.netloc) != (target.scheme, target.netloc):
            return address  # another site
        below = parts.path
        if parts.netloc or below.startswith("/"):
            base = target.path.rstrip("/")
            below = below.removeprefix(base)
            if not parts.path.startswith(base) or below[:1] not in ("", "/") or ".." in below:
                logger.warning("resource %s: the upstream redirects to where nobody gets", self.settings.id)
                return None
            raw = str(scope.get("raw_path", b""), "latin-1").partition("?")[0]
            below = raw.removesuffix(path) + below
        query = "&".join(part for part in (parts.query, *filter(_is_token, _query(scope))) if part)
        return urlunsplit(("", "", below, query, parts.fragment))

    def _url(self, path: str, scope: Scope) -> str:
        """The upstream's address for a path below the resource. Raises InvalidRequestError for one that leaves it."""
        base = self.settings.target.rstrip("/")
        parts = path.split("/")[1:]
        for part in parts:
            plain = part
            while plain != (once := unquote(plain)):
                plain = once
            if plain in (".", "..") or any(letter in plain for letter in "/\\\0\r\n"):
                raise InvalidRequestError("The path leaves the resource.", remedy="Ask for a path without '..'.")
        below = "".join("/" + quote(part, safe=PATH_SAFE) for part in parts)
        query = "&".join(part for part in _query(scope) if not _is_token(part))
        return f"{base}{below}" + (f"?{query}" if query else "")

    def _headers(self, stream: Stream, scope: Scope) -> list[tuple[str, str]]:
        named = _named(",".join(str(value, "latin-1") for name, value in scope["headers"] if name == b"connection"))
        own_token = not any(map(_is_token, _query(scope)))
        headers = []
        for raw_name, raw_value in scope["headers"]:
            name = str(raw_name, "latin-1")
            if name in NOT_SENT or name in named or name.startswith("x-ws402-"):
                continue
            if name == "authorization" and own_token:
                continue
            headers.append((name, str(raw_value, "latin-1")))
        if length := header(scope, b"content-length"):
            headers.append(("content-length", length))
        headers += [("X-WS402-Session", stream.id), ("X-WS402-User", header_value(stream.user_id))]
        return headers


def _query(scope: Scope) -> list[str]:
    """The parts of the query, as the client wrote them."""
    text = str(scope.get("query_string", b""), "latin-1")
    return text.split("&") if text else []


def _is_token(part: str) -> bool:
    """Whether a part of the query is the session's token, which is nobody's business but ours."""
    return unquote_plus(part.partition("=")[0]) == "token"


def _named(connection: str) -> frozenset[str]:
    """Headers that a Connection header declares to be of this hop."""
    return frozenset(name.strip().lower() for name in connection.split(",") if name.strip())


def _body(scope: Scope, receive: Receive) -> AsyncIterator[bytes] | None:
    """The request's body as it arrives, or None."""
    if not header(scope, b"content-length") and not header(scope, b"transfer-encoding"):
        return None
    return _pieces(receive)


async def _pieces(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise _ClientGoneError
        if piece := message.get("body", b""):
            yield piece
        if not message.get("more_body", False):
            return
