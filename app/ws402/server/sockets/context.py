"""What all sockets of a server share, and what they know of the session that lives on one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ws402.server.addresses import TrustedProxies
from ws402.server.catalog import Catalog
from ws402.server.sockets.admission import Admission
from ws402.server.sockets.handshake import Upgrade
from ws402.server.wheel import Wheel

if TYPE_CHECKING:
    from ws402.server.sockets.socket import Socket


class Occupant(Protocol):
    """The session on a socket."""

    def received(self, message: str | bytes, size: int) -> None:
        """A message of the client, of this many bytes, for the resource."""

    def writable(self) -> None:
        """The client reads again."""

    def client_left(self, code: int) -> None:
        """The socket is closed or lost, with this close code."""

    def hand_over(self) -> None:
        """The server stops: give the session back."""

    def read_too_slowly(self) -> None:
        """More waits for the client than may; the connection is cut off."""


class Messages(Protocol):
    """Takes what clients write to us."""

    def greet(self, socket: Socket, text: str) -> None:
        """A text message before the payment."""

    def control(self, session: Any, text: str) -> bool:
        """Whether a text message of a live session was for us."""


@dataclass(slots=True)
class SocketContext:
    """`user_id` names who opens a socket with this query string."""

    wheel: Wheel
    admission: Admission
    proxies: TrustedProxies
    catalog: Catalog
    inbox: Messages
    user_id: Callable[[Upgrade, str], str]
    handshake_seconds: float
    max_write_buffer_bytes: int
