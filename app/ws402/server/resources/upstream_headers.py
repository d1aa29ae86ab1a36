"""The headers of a request to an upstream: what the client sent, without what is ours or of one hop, and who it is."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_plus

from ws402.server.resources.base import Scope, Stream, header_value
from ws402.server.resources.http_answers import FORWARDED, header

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

_NOT_SENT: Final = HOP_BY_HOP | {"host", "cookie", "content-length"}
"""Cookies of this server's origin are not the upstream's."""

_WHO: Final = frozenset(
    {
        "forwarded",
        "x-forwarded",
        "x-real-ip",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-original-forwarded-for",
        "x-original-host",
        "x-original-url",
        "x-rewrite-url",
        "x-remote-addr",
        "x-remote-ip",
        "x-remote-user",
        "true-client-ip",
        "cf-connecting-ip",
        "fastly-client-ip",
        "client-ip",
    }
)
"""With `x-forwarded-*`: what a service believes its proxy of the client, so that no client may say it itself."""

_FOLDED: Final = re.compile(r"[^a-z0-9]")


def request_headers(stream: Stream, scope: Scope) -> list[tuple[bytes, bytes]]:
    """The headers of the request to the upstream. Nothing is added that the client did not send, but for who it is."""
    per_hop = named(",".join(str(value, "latin-1") for name, value in scope["headers"] if name == b"connection"))
    own_token = not any(map(is_token, query_parts(scope)))
    headers: list[tuple[bytes, bytes]] = []
    for name, value in scope["headers"]:
        text = str(name, "latin-1")
        if text in _NOT_SENT or text in per_hop or _is_claim(text) or (text == "authorization" and own_token):
            continue
        headers.append((name, value))
    if length := header(scope, b"content-length"):
        headers.append((b"content-length", length.encode("latin-1")))
    for name, told in _seen(scope):
        headers.append((name, told.encode("latin-1", "replace")))
    headers.append((b"X-WS402-Session", stream.id.encode()))
    headers.append((b"X-WS402-User", header_value(stream.user_id).encode()))
    return headers


def _is_claim(name: str) -> bool:
    """Whether a header says what only we may say. Services fold other letters than these into `_` or `-`."""
    plain = _FOLDED.sub("-", name)
    return plain.startswith(("x-ws402-", "x-forwarded-")) or plain in _WHO


def _seen(scope: Scope) -> list[tuple[bytes, str]]:
    """What we saw of the client, or what a proxy did that we trust."""
    seen = scope.get("extensions", {}).get(FORWARDED)
    if seen is None:
        return []
    address, scheme, host = seen
    return [(b"X-Forwarded-For", address), (b"X-Forwarded-Proto", scheme), (b"X-Forwarded-Host", host)]


def query_parts(scope: Scope) -> list[str]:
    """The parts of the query, as the client wrote them."""
    text = str(scope.get("query_string", b""), "latin-1")
    return text.split("&") if text else []


def is_token(part: str) -> bool:
    """Whether a part of the query is the session's token, which is nobody's business but ours."""
    return unquote_plus(part.partition("=")[0]) == "token"


def named(connection: str) -> frozenset[str]:
    """Headers that a Connection header declares to be of this hop."""
    return frozenset(name.strip().lower() for name in connection.split(",") if name.strip())
