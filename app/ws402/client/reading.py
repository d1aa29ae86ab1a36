"""What a server or a node answers over HTTP, bounded in bytes and in time: neither is trusted."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import httpx
import msgspec

from ws402.nesting import too_deep

MAX_ANSWER_BYTES: Final = 1024 * 1024
"""Of an answer as it is read; of a compressed one, of what comes out of it."""
CALL_SECONDS: Final = 30
"""For a whole call, whatever is tried again within it, and however slowly the bytes come."""

T = TypeVar("T")


class TooLargeError(Exception):
    """The answer has more bytes than a client reads."""

    def __init__(self) -> None:
        super().__init__(f"its answer is larger than {MAX_ANSWER_BYTES // 1024} KiB")


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer."""

    status: int
    body: bytes

    @property
    def ok(self) -> bool:
        """2xx."""
        return 200 <= self.status < 300


async def read_answer(http: httpx.AsyncClient, method: str, url: str, *, json: Any = None) -> Answer:
    """Ask, and read the whole answer. Has no deadline of its own. Raises TooLargeError, httpx.HTTPError, InvalidURL.

    Gzip is undone here, piece by piece, for httpx undoes it before anybody could count the bytes.
    """
    async with http.stream(method, url, json=json, headers={"Accept-Encoding": "gzip"}) as response:
        if response.headers.get("Content-Encoding", "identity").lower() in ("gzip", "x-gzip"):
            unpack = zlib.decompressobj(16 + zlib.MAX_WBITS)
        else:
            unpack = None
        body = bytearray()
        taken = 0
        async for part in response.aiter_raw():
            taken += len(part)
            try:
                body += part if unpack is None else unpack.decompress(part, MAX_ANSWER_BYTES + 1 - len(body))
            except zlib.error as error:
                raise httpx.DecodingError("The answer is not the gzip that it claims to be.") from error
            if max(len(body), taken) > MAX_ANSWER_BYTES:
                raise TooLargeError
        return Answer(response.status_code, bytes(body))


def decode(body: bytes | str, kind: type[T]) -> T:
    """Read JSON. Raises msgspec.DecodeError for whatever it is that cannot be read, too deep a nesting included."""
    if too_deep(body):
        raise msgspec.DecodeError("JSON is nested too deeply")
    return msgspec.json.decode(body, type=kind)
