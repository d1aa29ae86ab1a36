"""A server of bytes: it answers every request with what a test gives, as fast or as slowly as the test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

Parts = Callable[[], AsyncIterator[bytes]]


class RawServer:
    """`parts` makes the bytes of an answer's body; `head` are further lines of its head."""

    def __init__(self, parts: Parts, *head: str) -> None:
        self.parts = parts
        self.sent = 0
        """Bytes of bodies that were handed to the network."""
        self.url = ""
        self._head = "".join(f"{line}\r\n" for line in ("HTTP/1.1 200 OK", "Connection: close", *head, ""))
        self._server: asyncio.Server | None = None
        self._answers: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for answer in self._answers:
            answer.cancel()
        await asyncio.gather(*self._answers, return_exceptions=True)
        await asyncio.sleep(0)  # in which the transports close their sockets

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._answers.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await reader.readuntil(b"\r\n\r\n")
                writer.write(self._head.encode())
                async for part in self.parts():
                    writer.write(part)
                    await writer.drain()
                    self.sent += len(part)
                writer.close()
                await writer.wait_closed()
        finally:
            writer.transport.abort()
            self._answers.discard(task)


def whole(body: bytes) -> Parts:
    """All of it at once."""

    async def parts() -> AsyncIterator[bytes]:
        yield body

    return parts


async def endless() -> AsyncIterator[bytes]:
    """More than anybody reads."""
    for _ in range(4096):
        yield b" " * 65536


async def trickling() -> AsyncIterator[bytes]:
    """Never silent for long, and never done."""
    while True:
        yield b" "
        await asyncio.sleep(0.02)
