"""The floor: a server that moves the same bytes and does nothing else. What it takes is the kernel's and uvloop's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from websockets.utils import accept_key

STARTED = b'{"type":"session_started","sessionId":"' + b"s" * 150 + b'"}'
UPDATE = b'{"type":"usage_update","sessionId":"' + b"s" * 150 + b'"}'


class BareServer:
    def __init__(self, update_interval_ms: int) -> None:
        self.clients: set[_Client] = set()
        self._interval = update_interval_ms / 1000
        self._server: asyncio.Server | None = None

    @property
    def live(self) -> int:
        return len(self.clients)

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def serve(self, *, started: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Client(self), "127.0.0.1", 0, backlog=4096)
        started()
        ticks = round(self._interval / 0.05)
        update = _frame(UPDATE)
        while True:
            clients = list(self.clients)
            for tick in range(ticks):
                await asyncio.sleep(0.05)
                for client in clients[tick::ticks]:
                    if client in self.clients:
                        client.transport.write(update)


class _Client(asyncio.Protocol):
    def __init__(self, server: BareServer) -> None:
        self.server = server
        self.upgraded = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if not self.upgraded:
            key = data.split(b"Sec-WebSocket-Key: ", 1)[1].split(b"\r\n", 1)[0]
            accept = accept_key(key.decode()).encode()
            self.transport.write(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
            )
            self.upgraded = True
        elif data[0] == 0x88:
            self.transport.write(b"\x88\x02\x03\xe8")
            self.transport.close()
        else:
            self.server.clients.add(self)
            self.transport.write(_frame(STARTED))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.server.clients.discard(self)


def _frame(payload: bytes) -> bytes:
    return bytes((0x81, 126)) + len(payload).to_bytes(2, "big") + payload
