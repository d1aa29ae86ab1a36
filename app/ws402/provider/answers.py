"""The gateway's errors on the caller's side."""

from __future__ import annotations

from typing import Final

import msgspec

from ws402.errors import (
    ConflictError,
    ForbiddenError,
    InvalidRequestError,
    NotFoundError,
    RateLimitedError,
    UnauthorizedError,
    UnavailableError,
    WS402Error,
)
from ws402.protocol import ErrorResponse, OpError

_KINDS: Final = {
    kind.status: kind for kind in (InvalidRequestError, UnauthorizedError, ForbiddenError, NotFoundError, ConflictError)
}
_decoder: Final = msgspec.json.Decoder(ErrorResponse)


def error_of(status: int, content: bytes, retry_after: str | None) -> WS402Error:
    """The error that an HTTP answer stands for."""
    try:
        told = _decoder.decode(content)
    except msgspec.MsgspecError:
        told = ErrorResponse(error="", message=f"The gateway answered {status} without saying why.")
    if status == RateLimitedError.status:
        seconds = float(retry_after) if retry_after and retry_after.isdigit() else 1.0
        return RateLimitedError(told.message, retry_after=seconds, remedy=told.remedy)
    error = _error(status, told.message, told.code, told.remedy)
    if told.refundable is not None:
        error.refundable = int(told.refundable)  # type: ignore[attr-defined]  # as the gateway's own error has it
    return error


def error_of_op(told: OpError) -> WS402Error:
    """The error that an operation's answer stands for."""
    status = told.status or (UnavailableError.status if told.retry else InvalidRequestError.status)
    return _error(status, told.message, told.code, told.remedy)


def _error(status: int, message: str, code: str | None, remedy: str | None) -> WS402Error:
    kind = _KINDS.get(status, UnavailableError if status >= 500 else InvalidRequestError)
    return kind(message, remedy=remedy, code=code)
