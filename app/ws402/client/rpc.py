"""JSON-RPC over HTTP, no more than a wallet needs. A node is not trusted: its answers are bounded and typed."""

from __future__ import annotations

import itertools
import random
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import msgspec

from ws402.client.errors import NodeUnavailableError
from ws402.client.reading import CALL_SECONDS, TooLargeError, decode, read_answer
from ws402.deadlines import awake, nap, within
from ws402.outgoing import http_client

ATTEMPTS: Final = 4
MAX_TEXT: Final = 300
"""Characters of a node's own words that are shown."""
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


class _NoAnswerError(Exception):
    """What came is no answer to the call; another try may get one."""


class Rpc:
    """One endpoint. Its address may hold an access key: only its host is shown in errors.

    `timeout`: seconds for one try, all of its bytes; a call with its repetitions takes at most 30 s.
    """

    def __init__(self, url: str, *, timeout: float = 10) -> None:
        self._url = url
        self.host = urlsplit(url).netloc.rpartition("@")[2]
        self._timeout = timeout
        self._http = http_client(timeout=timeout)
        self._ids = itertools.count(1)

    async def __call__(self, method: str, *params: Any) -> Any:
        """One call, repeated when the node cannot be reached. Raises RpcError, NodeUnavailableError."""
        problem = ""
        end = awake() + CALL_SECONDS
        for attempt in range(ATTEMPTS):
            if attempt:
                await nap(random.uniform(0, 0.25 * 2**attempt))  # noqa: S311 - spreads load, hides nothing
            if (left := end - awake()) <= 0:
                break
            try:
                answer = await within(min(left, self._timeout), self._ask(method, params))
            except TimeoutError:
                problem = f"no whole answer in {self._timeout:g} s"
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                problem = type(error).__name__
            except (TooLargeError, _NoAnswerError) as error:
                problem = str(error)
            else:
                if answer.error is not None:
                    raise RpcError(answer.error.message[:MAX_TEXT], answer.error.code)
                return answer.result
        raise NodeUnavailableError(
            f"The wallet's node {self.host} does not answer ({problem}).", remedy="Check its address, or try later."
        )

    async def _ask(self, method: str, params: tuple[Any, ...]) -> _Answer:
        body = {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params}
        response = await read_answer(self._http, "POST", self._url, json=body)
        try:
            answer = decode(response.body, _Answer)
        except msgspec.DecodeError:
            raise _NoAnswerError(f"HTTP {response.status}, no JSON-RPC") from None
        if response.status in _BUSY and answer.error is None:
            raise _NoAnswerError(f"HTTP {response.status}")
        return answer

    async def close(self) -> None:
        """Close connections."""
        await self._http.aclose()
