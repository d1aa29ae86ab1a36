"""HTTP to RPC endpoints: a bounded number of connections for one purpose, answers that are read with a bound."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

import httpx

from ws402.outgoing import http_client

MAX_ANSWER_BYTES: Final = 32 * 1024 * 1024
"""An answer may have this many bytes, packed and unpacked: ten full blocks of Base take some 10 MiB."""

HEADERS: Final = {"content-type": "application/json", "accept": "application/json", "accept-encoding": "gzip"}


class AnswerTooLargeError(Exception):
    """The answer has more than MAX_ANSWER_BYTES; the rest of it was not read."""


class BusyError(Exception):
    """All connections for this purpose were in use for too long. Says nothing about the endpoint."""


class UnreadableError(Exception):
    """The answer is packed in a way that was not asked for, or its packing is broken."""


class Answered(NamedTuple):
    """An HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Link:
    """Connections for one purpose: `most` requests at once, whatever others do with theirs."""

    def __init__(self, seconds: float, most: int, proxy: str | None = None) -> None:
        limits = httpx.Limits(max_connections=most, max_keepalive_connections=most // 2, keepalive_expiry=30)
        self._http = http_client(timeout=seconds, limits=limits, follow_redirects=False, proxy=proxy)
        self._seconds = seconds
        self._turns = asyncio.Semaphore(most)

    async def close(self) -> None:
        """Close connections."""
        await self._http.aclose()

    async def post(self, url: str, content: bytes) -> Answered:
        """One exchange.

        Raises BusyError, AnswerTooLargeError, UnreadableError, httpx.HTTPError, OSError (TimeoutError, for one).
        """
        async with self._turn():
            # The client's own time-outs are for each read: an endpoint could drip its answer for ever.
            async with asyncio.timeout(self._seconds):
                async with self._http.stream("POST", url, content=content, headers=HEADERS) as response:
                    return Answered(response.status_code, response.headers, await _read(response, MAX_ANSWER_BYTES))

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._seconds):
                await self._turns.acquire()
        except TimeoutError:
            raise BusyError from None
        try:
            yield
        finally:
            self._turns.release()


async def _read(response: httpx.Response, most: int) -> bytes:
    """The body, unpacked by ourselves: what unpacks it elsewhere has no bound, and a kilobyte can hold a megabyte."""
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"", "identity", "gzip", "x-gzip"}:
        raise UnreadableError
    unpack = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS) if encoding.endswith("gzip") else None
    received, body = 0, bytearray()
    async for chunk in response.aiter_raw():
        received += len(chunk)
        try:
            body += chunk if unpack is None else unpack.decompress(chunk, most - len(body) + 1)
        except zlib.error:
            raise UnreadableError from None
        if max(received, len(body)) > most:
            raise AnswerTooLargeError
    return bytes(body)
