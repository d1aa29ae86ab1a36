"""JSON answers and errors: one family with the gateway's."""

from __future__ import annotations

import gzip
import logging
import math
from typing import Any, Final

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException

from ws402.errors import RateLimitedError, UnauthorizedError, WS402Error
from ws402.protocol import ErrorResponse
from ws402.protocol.phrases import phrase
from ws402.server.resources.base import Send
from ws402.server.sockets.handshake import error_body

logger = logging.getLogger(__name__)

AnyRequest = Request[Any, Any, Any]


def json(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response[bytes]:
    """A JSON answer. Nothing here may be cached: invoices, sessions and health are of now."""
    return Response(
        msgspec.json.encode(body),
        status_code=status,
        media_type="application/json",
        headers={"cache-control": "no-store", **(headers or {})},
    )


LEAST_PACKED: Final = 1024
"""Bytes of a body from which packing it saves more than it costs."""


def packed_json(body: Any, accepted: str) -> Response[bytes]:
    """The same of what everybody may know, packed where `accepted` (Accept-Encoding) takes that: secrets never are."""
    answer = json(body)
    answer.headers["vary"] = "accept-encoding"
    if takes_gzip(accepted) and len(answer.content) >= LEAST_PACKED:
        answer.content = gzip.compress(answer.content, 6, mtime=0)
        answer.headers["content-encoding"] = "gzip"
    return answer


def takes_gzip(accepted: str) -> bool:
    """By Accept-Encoding (RFC 9110, 12.5.3)."""
    for each in accepted.lower().split(","):
        name, _, weight = each.replace(" ", "").partition(";q=")
        if name in ("gzip", "x-gzip"):
            return not weight or weight.strip("0.") != ""
    return False


def ws402_error(_: AnyRequest, error: WS402Error) -> Response[bytes]:
    """An error that was raised on purpose."""
    return json(error_body(error), error.status, error_headers(error))


def http_error(_: AnyRequest, error: HTTPException) -> Response[bytes]:
    """What Litestar refuses by itself."""
    name = phrase(error.status_code)
    message = "There is nothing at this path." if error.status_code == 404 else f"{name}."
    body = ErrorResponse(error=name, message=message, code=name.lower().replace(" ", "_"))
    return json(body, error.status_code, dict(error.headers or {}))


def internal_error(request: AnyRequest, error: Exception) -> Response[bytes]:
    """A bug: the log has it, the answer has no internals."""
    logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return json(ErrorResponse(error="Internal Server Error", message="The server failed.", code="internal"), 500)


def error_headers(error: WS402Error) -> dict[str, str]:
    """Headers that belong to an error."""
    if isinstance(error, RateLimitedError):
        return {"retry-after": str(max(1, math.ceil(error.retry_after)))}
    if isinstance(error, UnauthorizedError):
        return {"www-authenticate": 'Bearer realm="ws402"'}
    return {}


async def send_error(send: Send, error: WS402Error, *, schema_url: str | None = None) -> None:
    """An error from an ASGI handler."""
    body = error_body(error)
    headers = error_headers(error)
    if schema_url is not None:
        body.schema_url = schema_url
        headers["link"] = f'<{schema_url}>; rel="payment"'
    await send_json(send, body, error.status, headers)


async def send_json(send: Send, body: Any, status: int = 200, more: dict[str, str] | None = None) -> None:
    """A JSON answer from an ASGI handler."""
    encoded = msgspec.json.encode(body)
    headers = {"content-type": "application/json", "cache-control": "no-store", **(more or {})}
    headers["content-length"] = str(len(encoded))
    raw = [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": encoded, "more_body": False})
