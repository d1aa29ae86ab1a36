"""What stands in a socket's place when a session is one plain HTTP answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ws402.protocol import Message


class HttpLine:
    """Carries no messages: what there is to say is in the answer's headers, and at the session's address.

    `gone` tells whether the client hung up. The resource ends the answer when the session ends.
    """

    subprotocol: str | None = None
    transport: Any = None
    paused = True
    """Usage updates have nowhere to go."""

    def __init__(self, user_id: str, gone: Callable[[], bool]) -> None:
        self.user_id = user_id
        self.query = ""
        self.close_with: tuple[int, str] = (1000, "")
        self._gone = gone

    @property
    def open(self) -> bool:
        """Whether the client is still there."""
        return not self._gone()

    def ping(self) -> bool:
        """Whether the client is still there."""
        return not self._gone()

    def send(self, *messages: Message) -> None:
        """Nothing is told."""

    def send_message(self, message: str | bytes) -> None:
        """Nothing is told."""

    def hold(self, held: bool) -> None:
        """There is nothing to hold back."""

    def await_close(self, code: int, reason: str, seconds: float) -> None:
        """There is nothing to close."""

    def close(self, code: int, reason: str = "") -> None:
        """There is nothing to close."""

    def abort(self) -> None:
        """There is nothing to drop."""
