"""Error answers of nodes, and what one kind of chain knows about them."""

from __future__ import annotations

from typing import Any, Final, Protocol

import msgspec

from ws402.errors import WS402Error

_TOO_FAST: Final = (
    "rate limit",
    "rate-limit",
    "ratelimit",
    "too many requests",
    "throttl",
    "quota",
    "capacity",
    "per second",
    "compute units",
    "daily",
)


class ReplyError(WS402Error):
    """A node answered a call with an error, `number` by its own count. Each kind of chain says what it means."""

    code = "rpc_error"

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.number = number

    @property
    def text(self) -> str:
        """The message in lower case."""
        return self.message.lower()

    @property
    def endpoint_fault(self) -> bool:
        """The endpoint cannot answer; another one may."""
        return True

    @property
    def too_fast(self) -> bool:
        """It is asked too often: asking more often still, for less at a time, does not help."""
        return self.number == 429 or any(each in self.text for each in _TOO_FAST)


class Dialect(Protocol):
    """What an endpoint needs to know about its kind of chain."""

    probe: str
    """The method whose answer tells which chain is served."""

    def verify(self, endpoint: str, answer: Any) -> None:
        """Check the probe's answer. Raises WrongChainError, or ValueError or TypeError for what is none."""

    def read_error(self, error: Any) -> ReplyError:
        """From an answer's `error` member, whatever it is."""


def decode_body(body: bytes) -> Any:
    """JSON. Raises ReplyError for what is none."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        raise ReplyError("the answer is not JSON: try again", -32603) from None
