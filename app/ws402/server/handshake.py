"""Why an upgrade is refused, as an HTTP response in the same JSON family as every other error."""

from __future__ import annotations

import math
from email.utils import formatdate
from http import HTTPStatus

from websockets.datastructures import Headers
from websockets.http11 import Response

from ws402.errors import RateLimitedError, WS402Error
from ws402.protocol import ErrorResponse, encode


class BusyError(RateLimitedError):
    """This server takes no more sockets now; another one may."""

    code = "busy"
    status = 503


def rejection(error: WS402Error) -> Response:
    """The response to an upgrade that is refused."""
    body = encode(error_body(error))
    headers = Headers(
        [
            ("Date", formatdate(usegmt=True)),
            ("Connection", "close"),
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
        ]
    )
    if isinstance(error, RateLimitedError):
        headers["Retry-After"] = str(math.ceil(error.retry_after))
    return Response(error.status, HTTPStatus(error.status).phrase, headers, body)


def error_body(error: WS402Error) -> ErrorResponse:
    """An error as both HTTP APIs write it."""
    return ErrorResponse(
        error=HTTPStatus(error.status).phrase, message=error.message, code=error.code, remedy=error.remedy
    )
