"""The answers of a batch of operations, written and read."""

from __future__ import annotations

from typing import Final, TypeVar

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
from ws402.protocol import OpError, OpResult

T = TypeVar("T")

_encoder: Final = msgspec.json.Encoder()


def succeeded(answer: msgspec.Struct) -> OpResult:
    """An operation's answer."""
    return OpResult(ok=msgspec.Raw(_encoder.encode(answer)))


def failed(error: WS402Error) -> OpResult:
    """An operation's error. Those of status 500 and above, and 429, may work later."""
    retry = error.status >= 500 or isinstance(error, RateLimitedError)
    return OpResult(
        error=OpError(code=error.code, message=error.message, retry=retry, remedy=error.remedy, status=error.status)
    )


def error_for(status: int, message: str, *, code: str | None = None, remedy: str | None = None) -> WS402Error:
    """The error that an HTTP status stands for, on the caller's side."""
    if status == RateLimitedError.status:
        return RateLimitedError(message, retry_after=1.0, remedy=remedy)
    kinds: tuple[type[WS402Error], ...] = (
        InvalidRequestError,
        UnauthorizedError,
        ForbiddenError,
        NotFoundError,
        ConflictError,
    )
    for kind in kinds:
        if kind.status == status:
            return kind(message, remedy=remedy, code=code)
    kind = UnavailableError if status >= 500 else InvalidRequestError
    return kind(message, remedy=remedy, code=code)
