"""The opening handshake of a WebSocket (RFC 6455 §4.2), from request headers that an HTTP parser has read already."""

from __future__ import annotations

import binascii
import math
from email.utils import formatdate
from typing import Final

import msgspec
from websockets.utils import accept_key

from ws402.errors import InvalidRequestError, RateLimitedError, WS402Error
from ws402.protocol import ErrorResponse, encode
from ws402.protocol.phrases import phrase

VERSION: Final = b"13"
MAX_TARGET: Final = 4_096
"""Bytes of path and query, which a session keeps."""
MAX_SUBPROTOCOL: Final = 256


class HandshakeError(InvalidRequestError):
    """The request is no WebSocket handshake that we speak."""

    code = "handshake"


class VersionError(HandshakeError):
    """Another version of the WebSocket protocol."""

    code = "websocket_version"
    status = 426


class TargetError(HandshakeError):
    """The request's path and query are too long."""

    code = "target_too_long"
    status = 414


class BusyError(RateLimitedError):
    """This server takes no more sockets now; another one may."""

    code = "busy"
    status = 503


class Upgrade(msgspec.Struct, frozen=True):
    """A request to open a socket: `path` with its query, headers with lower-case names."""

    path: str
    headers: list[tuple[bytes, bytes]]

    def header(self, name: str) -> str | None:
        """A header's value; several of one name are joined, in order."""
        wanted = name.lower().encode()
        values = [str(value, "latin-1") for key, value in self.headers if key == wanted]
        return ",".join(values) if values else None


def accept(request: Upgrade) -> tuple[bytes, str | None]:
    """The response that opens the socket, and the subprotocol in it. Raises HandshakeError.

    That it is a GET with `Upgrade: websocket` was checked before. The subprotocol is the client's favourite: browsers
    give up when they offer some and none is taken.
    """
    if len(request.path) > MAX_TARGET:
        raise TargetError(
            f"The address is longer than {MAX_TARGET} bytes.", remedy="Send in messages what does not fit into it."
        )
    key = version = offered = None
    for name, value in request.headers:
        if name == b"sec-websocket-key":
            if key is not None:
                raise HandshakeError("Sec-WebSocket-Key was sent twice.")
            key = value
        elif name == b"sec-websocket-version":
            version = value
        elif name == b"sec-websocket-protocol" and offered is None:
            offered = value
    if version != VERSION:
        raise VersionError("This server speaks version 13 of the WebSocket protocol.")
    text = _key(key)
    subprotocol = str(offered, "latin-1").split(",")[0].strip() if offered else ""
    if len(subprotocol) > MAX_SUBPROTOCOL:
        raise HandshakeError(f"The subprotocol's name is longer than {MAX_SUBPROTOCOL} characters.")
    chosen = f"Sec-WebSocket-Protocol: {subprotocol}\r\n" if subprotocol else ""
    response = (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept_key(text)}\r\n{chosen}\r\n"
    )
    return response.encode("latin-1"), subprotocol or None


def rejection(error: WS402Error) -> bytes:
    """The response to an upgrade that is refused, in the same JSON family as every other error."""
    body = encode(error_body(error))
    lines = [
        f"HTTP/1.1 {error.status} {phrase(error.status)}",
        f"Date: {formatdate(usegmt=True)}",
        "Connection: close",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    if isinstance(error, RateLimitedError):
        lines.append(f"Retry-After: {math.ceil(error.retry_after)}")
    if isinstance(error, VersionError):
        lines.append("Sec-WebSocket-Version: 13")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def error_body(error: WS402Error) -> ErrorResponse:
    """An error as both HTTP APIs write it."""
    return ErrorResponse(error=phrase(error.status), message=error.message, code=error.code, remedy=error.remedy)


def _key(value: bytes | None) -> str:
    """The client's key, which must be 16 bytes in base64."""
    try:
        raw = binascii.a2b_base64(value or b"", strict_mode=True)
    except binascii.Error:
        raw = b""
    if value is None or len(raw) != 16:
        raise HandshakeError("Sec-WebSocket-Key is not 16 bytes in base64.")
    return str(value, "ascii")
