"""JSON-RPC over HTTP, no more than a wallet needs."""

from __future__ import annotations

import asyncio
import itertools
import random
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import msgspec

from ws402.client.errors import NodeUnavailableError
from ws402.outgoing import http_client

ATTEMPTS: Final = 4
_BUSY: Final = (429, 500, 502, 503, 504)


class RpcError(Exception):
    """The node answered with an error: its text is for people, `code` is its number."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class _Error(msgspec.Struct):
    message: str = ""
    code: int = 0


class _Answer(msgspec.Struct):
    result: Any = None
    error: _Error | None = None


_decoder = msgspec.json.Decoder(_Answer)


class Rpc:
    """One endpoint. Its address may hold an access key: only its host is shown in errors."""

    def __init__(self, url: str, *, timeout: float = 10) -> None:
        self._url = url
        self.host = urlsplit(url).netloc.rpartition("@")[2]
        self._http = http_client(timeout=timeout)
        self._ids = itertools.count(1)

    async def __call__(self, method: str, *params: Any) -> Any:
        """One call, repeated when the node cannot be reached. Raises RpcError, NodeUnavailableError."""
        body = {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params}
        problem = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                await asyncio.sleep(random.uniform(0, 0.25 * 2**attempt))  # noqa: S311 - spreads load, hides nothing
            try:
                response = await self._http.post(self._url, json=body)
                answer = _decoder.decode(response.content)
            except (httpx.TransportError, httpx.InvalidURL) as error:
                problem = type(error).__name__
                continue
            except msgspec.DecodeError:
                problem = f"HTTP {response.status_code}, no JSON-RPC"
                continue
            if response.status_code in _BUSY and answer.error is None:
                problem = f"HTTP {response.status_code}"
                continue
            if answer.error is not None:
                raise RpcError(answer.error.message, answer.error.code)
            return answer.result
        raise NodeUnavailableError(
            f"The wallet's node {self.host} does not answer ({problem}).", remedy="Check its address, or try later."
        )

    async def close(self) -> None:
        """Close connections."""
        await self._http.aclose()
