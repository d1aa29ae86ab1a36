"""WebSocket frames of a server (RFC 6455 §5.2: unmasked, unfragmented), written without any object in between."""

from __future__ import annotations

import logging
from typing import Final

from websockets.protocol import OPEN
from websockets.server import ServerProtocol

TEXT: Final = 0x81
BINARY: Final = 0x82

_quiet = logging.getLogger("ws402.server.sockets.frames")
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
    """The sans-I/O protocol of the websockets library after the handshake: parsing, pongs, close codes."""

    def __init__(self, max_size: int) -> None:
        super().__init__(state=OPEN, max_size=max_size, logger=_quiet)
