"""The gateway's errors on the caller's side."""

from __future__ import annotations

from typing import Final

import msgspec

from ws402.errors import (
    ConflictError,
    ForbiddenError,
    InvalidRequestError,
    NoSolanaError,
    NotFoundError,
    RateLimitedError,
    UnauthorizedError,
    UnavailableError,
    WS402Error,
)
from ws402.protocol import ErrorResponse, OpError

_KINDS: Final = {
    kind.status: kind
    for kind in (InvalidRequestError, UnauthorizedError, ForbiddenError, NotFoundError, ConflictError, NoSolanaError)
}
_decoder: Final = msgspec.json.Decoder(ErrorResponse)


def is_ours(content: bytes) -> bool:
    """Whether a gateway wrote this answer, which is no good one, and not somebody between us and it."""
    answer = _read(content)
    return answer is not None and answer.code is not None


def _read(content: bytes) -> ErrorResponse | None:
    try:
        return _decoder.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def error_of(status: int, content: bytes, retry_after: str | None) -> WS402Error:
    """The error that an HTTP answer stands for."""
    answer = _read(content) or ErrorResponse(error="", message=f"The gateway answered {status} without saying why.")
    if status == RateLimitedError.status:
        seconds = float(retry_after) if retry_after and retry_after.isdigit() else 1.0
        return RateLimitedError(answer.message, retry_after=seconds, remedy=answer.remedy)
    error = _error(status, answer.message, answer.code, answer.remedy)
    if answer.refundable is not None:
        error.refundable = int(answer.refundable)  # type: ignore[attr-defined]  # as the gateway's own error has it
    return error


def error_of_op(answer: OpError) -> WS402Error:
    """The error that an operation's answer stands for."""
    status = answer.status or (UnavailableError.status if answer.retry else InvalidRequestError.status)
    return _error(status, answer.message, answer.code, answer.remedy)


def _error(status: int, message: str, code: str | None, remedy: str | None) -> WS402Error:
    kind = _KINDS.get(status, UnavailableError if status >= 500 else InvalidRequestError)
    return kind(message, remedy=remedy, code=code)
