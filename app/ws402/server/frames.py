"""WebSocket frames of a server (RFC 6455 §5.2: unmasked, unfragmented), written without any object in between."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

TEXT: Final = 0x81
BINARY: Final = 0x82

_quiet = logging.getLogger("ws402.server.frames")
_quiet.setLevel(logging.WARNING)  # the library logs every closed connection


def frame(first: int, payload: bytes) -> bytes:
    """One whole message; `first` is TEXT or BINARY."""
    size = len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    if size < 65536:
        return bytes((first, 126, size >> 8, size & 0xFF)) + payload
    return bytes((first, 127)) + size.to_bytes(8, "big") + payload


class Connection(ServerProtocol):
    """The sans-I/O protocol of the websockets library: handshake, parsing, pongs, close codes. No compression."""

    def __init__(self, max_size: int) -> None:
        super().__init__(max_size=max_size, logger=_quiet)

    def select_subprotocol(self, subprotocols: Sequence[Subprotocol]) -> Subprotocol | None:
        """The client's favourite: browsers give up when they offer some and none is taken."""
        return subprotocols[0] if subprotocols else None
