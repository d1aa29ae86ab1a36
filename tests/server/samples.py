"""Python resources for tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from ws402.server.resources import AsyncStream


async def echo(stream: AsyncStream) -> None:
    async for message in stream:
        await stream.send(message)


async def countdown(stream: AsyncStream) -> AsyncIterator[str]:
    for left in (3, 2, 1):
        yield f"{left} for {stream.user_id}"


async def forever(stream: AsyncStream) -> AsyncIterator[bytes]:
    while True:
        yield b"x" * 10_000


async def flood(stream: Any) -> None:
    """Sends on although the client does not read."""
    async for _ in stream:
        for _ in range(1000):
            stream._stream.send(b"x" * 10_000)
            await asyncio.sleep(0)


async def broken(stream: AsyncStream) -> None:
    async for _ in stream:
        raise RuntimeError("a secret detail")


cancelled: list[str] = []


async def patient(stream: AsyncStream) -> None:
    """Notes that it was cancelled at the end of its session."""
    try:
        await asyncio.Event().wait()
    finally:
        cancelled.append(stream.session_id)


async def slow_to_read(stream: AsyncStream) -> None:
    """Reads one message in a while."""
    async for message in stream:
        await asyncio.sleep(0.002)
        await stream.send(f"{len(message)}")


async def large(stream: AsyncStream) -> None:
    """A message of as many bytes as the client says, then a small one."""
    async for message in stream:
        await stream.send(b"x" * int(message))
        await stream.send("all of it")


not_a_function = 7


def not_async(stream: AsyncStream) -> None:
    """Cannot be a resource."""


async def model(stream: AsyncStream) -> None:
    """Charges as many tokens as a message says, and answers whether the session goes on."""
    try:
        async for message in stream:
            await stream.send(f"{stream.charge(int(message), 'tokens')} {stream.charge(10**6, 'unpriced')}")
    finally:
        cancelled.append(stream.session_id)


async def without_stream() -> None:
    """Cannot be a resource: it takes no stream."""


async def wants_more(stream: AsyncStream, more: str) -> None:
    """Cannot be a resource: nobody gives it more."""
