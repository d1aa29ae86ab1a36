"""One JSON-RPC endpoint: batches over a pooled connection, its health, and whether it serves the right chain."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import msgspec

from ws402.chains.base import WrongChainError
from ws402.chains.rpc.replies import Dialect, ReplyError, decode_body
from ws402.observability.rpc import observed

log = logging.getLogger(__name__)

BATCH: Final = 50
"""Calls in one HTTP request; halved for an endpoint that refuses."""

MAX_BACKOFF: Final = 30.0

HEADERS: Final = {"content-type": "application/json", "accept": "application/json"}

Call = tuple[str, list[Any]]
Answer = Any
"""A call's result, or a ReplyError in its place."""


class EndpointError(Exception):
    """The endpoint did not answer in a usable way. The message names no secret."""


class Endpoint:
    """Calls one URL. The URL may hold an access key: only `name`, its host, is ever shown."""

    def __init__(self, url: str, http: httpx.AsyncClient, dialect: Dialect, seconds: float, network: str = "") -> None:
        self.name = urlsplit(url).netloc.rpartition("@")[2]
        self._url = url
        self._network = network
        self._http = http
        self._dialect = dialect
        self._seconds = seconds
        self._ids = itertools.count(1)
        self._batch = BATCH
        self._failures = 0
        self._blocked_until = 0.0
        self.verified = False
        """It served the right chain, and has not failed since."""

    @property
    def rest(self) -> float:
        """Seconds for which it should be left alone after failures."""
        return max(0.0, self._blocked_until - time.monotonic())

    async def verify(self) -> None:
        """Ask which chain it serves, unless that is known. Raises EndpointError, WrongChainError."""
        if self.verified:
            return
        (answer,) = await self._send([(self._dialect.probe, [])])
        if isinstance(answer, ReplyError):
            raise self._failed(answer.message)
        try:
            self._dialect.verify(self.name, answer)
        except WrongChainError:
            self._blocked_until = time.monotonic() + MAX_BACKOFF
            raise
        except (TypeError, ValueError):
            raise self._failed("no chain id") from None
        self.verified = True

    async def call(self, calls: Sequence[Call], *, optional: bool = False) -> list[Answer]:
        """Answers in the order of the calls; an error answer is a ReplyError in its place.

        Raises EndpointError, WrongChainError. So does an answer that is the endpoint's own fault, unless the calls are
        `optional`: ones that many endpoints do not offer.
        """
        await self.verify()
        answers: list[Answer] = []
        position = 0
        while position < len(calls):
            chunk = calls[position : position + self._batch]
            answers += await self._send(chunk)
            position = len(answers)
        for answer in answers:
            if isinstance(answer, ReplyError) and answer.endpoint_fault and not optional:
                raise self._failed(answer.message)
        self._failures = 0
        self._blocked_until = 0.0
        return answers

    async def _send(self, calls: Sequence[Call]) -> list[Answer]:
        """One HTTP request; answers a part of the calls when the endpoint takes no batch of this size."""
        first = next(self._ids)
        ids = [first, *itertools.islice(self._ids, len(calls) - 1)]
        bodies = [
            {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
            for number, (method, params) in zip(ids, calls, strict=True)
        ]
        with observed(self._network, [method for method, _ in calls]) as note:
            answers = await self._exchange(bodies, calls)
            note([isinstance(each, ReplyError) for each in answers])
        return answers

    async def _exchange(self, bodies: list[dict[str, Any]], calls: Sequence[Call]) -> list[Answer]:
        single = len(bodies) == 1
        content = msgspec.json.encode(bodies[0] if single else bodies)
        try:
            # The client's own time-outs are for each read: an endpoint could drip its answer for ever.
            async with asyncio.timeout(self._seconds):
                response = await self._http.post(self._url, content=content, headers=HEADERS)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            # The exception's own text may quote the URL.
            raise self._failed(type(error).__name__) from None
        if response.status_code == httpx.codes.TOO_MANY_REQUESTS:
            raise self._failed("too many requests", response.headers.get("retry-after"))
        try:
            decoded = decode_body(response.content)
        except ReplyError:
            raise self._failed(f"HTTP status {response.status_code} without JSON") from None
        if single:
            return [self._result(decoded, response.status_code)]
        if not isinstance(decoded, list):
            return await self._shrink(calls, decoded, response.status_code)
        by_id = {each.get("id"): each for each in decoded if isinstance(each, dict)}
        if any(body["id"] not in by_id for body in bodies):
            raise self._failed("a batch was answered in part")
        return [self._result(by_id[body["id"]], response.status_code) for body in bodies]

    async def _shrink(self, calls: Sequence[Call], decoded: Any, status: int) -> list[Answer]:
        """Ask again for fewer: the endpoint refused the whole batch."""
        error = self._dialect.read_error(decoded.get("error") if isinstance(decoded, dict) else None)
        if error.endpoint_fault and "batch" not in error.text:
            raise self._failed(error.message)
        self._batch = max(1, len(calls) // 2)
        log.info("%s takes no batch of %d calls (HTTP status %d): %s", self.name, len(calls), status, error.message)
        return await self._send(calls[: self._batch])

    def _result(self, answer: Any, status: int) -> Answer:
        if not isinstance(answer, dict) or ("result" not in answer and answer.get("error") is None):
            raise self._failed(f"HTTP status {status} and no answer")
        return self._dialect.read_error(answer["error"]) if answer.get("error") is not None else answer["result"]

    def _failed(self, reason: str, retry_after: str | None = None) -> EndpointError:
        """Note the failure; it is left alone for a while and must show its chain again afterwards."""
        self._failures += 1
        self.verified = False
        wait = 0.25 * 2 ** min(self._failures, 10)
        if retry_after is not None and retry_after.isdigit():
            wait = max(wait, float(retry_after))
        self._blocked_until = time.monotonic() + min(wait, MAX_BACKOFF)
        return EndpointError(f"{self.name}: {reason}")
