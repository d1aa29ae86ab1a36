"""The answers of a batch of operations."""

from __future__ import annotations

from typing import Final

import msgspec

from ws402.errors import RateLimitedError, WS402Error
from ws402.protocol import OpError, OpResult

_encode: Final = msgspec.json.Encoder().encode


def succeeded(answer: msgspec.Struct) -> OpResult:
    """An operation's answer."""
    return OpResult(ok=msgspec.Raw(_encode(answer)))


def failed(error: WS402Error) -> OpResult:
    """An operation's error. Those of status 500 and above, and 429, may work later."""
    retry = error.status >= 500 or isinstance(error, RateLimitedError)
    return OpResult(
        error=OpError(code=error.code, message=error.message, retry=retry, remedy=error.remedy, status=error.status)
    )
