"""One JSON-RPC endpoint: batches over pooled connections, its health, and whether it serves the right chain."""

from __future__ import annotations

import itertools
import logging
import re
import time
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import msgspec

from ws402.chains.base import WrongChainError
from ws402.chains.rpc.batches import BatchLimit, BatchRefusedError, refused_by_status, refused_by_words
from ws402.chains.rpc.http import Answered, AnswerTooLargeError, BusyError, Link, UnreadableError
from ws402.chains.rpc.replies import Dialect, ReplyError, decode_body
from ws402.observability.rpc import observed

log = logging.getLogger(__name__)

MAX_BACKOFF: Final = 30.0

SHORTEST_KEY: Final = 8
"""Shorter parts of a URL are words such as `rpc` or `v2`."""

Call = tuple[str, list[Any]]
Answer = Any
"""A call's result, or a ReplyError in its place."""


class EndpointError(Exception):
    """The endpoint did not answer in a usable way. The message names no secret."""


class Endpoint:
    """Calls one URL. The URL may hold an access key: only `name`, its host, is ever shown."""

    def __init__(self, url: str, name: str, link: Link, dialect: Dialect, network: str = "") -> None:
        self.name = name
        self._url = url
        self._secrets = secrets_in(url)
        self._network = network
        self._link = link
        self._dialect = dialect
        self._ids = itertools.count(1)
        self._batch = BatchLimit()
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
        (answer,) = await self._exchange([(self._dialect.probe, [])])
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
        taken = 0
        while len(answers) < len(calls):
            part = calls[len(answers) : len(answers) + self._batch.calls]
            some, shrunk = await self._some(part)
            if fault := next((each for each in some if _is_fault(each)), None):
                if not optional:
                    raise self._failed(fault.message)
            elif (shrunk or taken) and not isinstance(some[0], ReplyError):
                # What was refused is answered in a smaller request: it was the size, and no other trouble.
                self._batch.learn(taken or len(some))
            taken = len(some) if not shrunk and len(some) < len(part) else 0
            answers += some
        self._failures = 0
        self._blocked_until = 0.0
        return answers

    async def _some(self, calls: Sequence[Call]) -> tuple[list[Answer], bool]:
        """Answers to the first of these calls, at least one, and whether more at once were refused."""
        count = len(calls)
        while True:
            try:
                return await self._exchange(calls[:count]), count < len(calls)
            except BatchRefusedError as refusal:
                log.info("%s takes no batch of %d calls: %s", self.name, count, refusal)
                count //= 2

    async def _exchange(self, calls: Sequence[Call]) -> list[Answer]:
        """One HTTP request: answers to all calls, or to those before the first that it had no room for.

        Raises BatchRefusedError when that is none and there are several.
        """
        first = next(self._ids)
        ids = [first, *itertools.islice(self._ids, len(calls) - 1)]
        bodies = [
            {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
            for number, (method, params) in zip(ids, calls, strict=True)
        ]
        with observed(self._network, [method for method, _ in calls]) as note:
            answered = await self._post(msgspec.json.encode(bodies if len(calls) > 1 else bodies[0]), len(calls))
            decoded = self._decoded(answered, len(calls))
            if len(calls) == 1:
                answers = [self._result(decoded, answered.status)]
            else:
                answers = self._results(ids, decoded, answered.status)
            note([isinstance(each, ReplyError) for each in answers])
        return answers

    async def _post(self, content: bytes, count: int) -> Answered:
        try:
            return await self._link.post(self._url, content)
        except AnswerTooLargeError:
            if count > 1:
                msg = "the answer is too large"
                raise BatchRefusedError(msg) from None
            raise self._failed("an answer that is too large") from None
        except BusyError:
            raise EndpointError(f"{self.name}: too many questions wait for it") from None
        except UnreadableError:
            raise self._failed("an answer that cannot be unpacked") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError, RuntimeError) as error:
            # The exception's own text may quote the URL. A client that was closed meanwhile raises RuntimeError.
            raise self._failed(type(error).__name__) from None

    def _decoded(self, answered: Answered, count: int) -> Any:
        try:
            decoded = decode_body(answered.body)
        except ReplyError:
            if count > 1 and refused_by_status(answered.status, answered.body):
                msg = f"HTTP status {answered.status}"
                raise BatchRefusedError(msg) from None
            if answered.status == httpx.codes.TOO_MANY_REQUESTS:
                raise self._too_many(answered) from None
            raise self._failed(f"HTTP status {answered.status} without JSON") from None
        if answered.status == httpx.codes.TOO_MANY_REQUESTS and not (
            count > 1 and refused_by_status(answered.status, answered.body)
        ):
            raise self._too_many(answered)
        return decoded

    def _results(self, ids: Sequence[int], decoded: Any, status: int) -> list[Answer]:
        listed = decoded if isinstance(decoded, list) else [decoded]
        by_id = {each["id"]: each for each in listed if isinstance(each, dict) and type(each.get("id")) is int}
        if not by_id.keys() <= set(ids):
            raise self._failed("answers to other calls than were sent")
        answers: list[Answer] = []
        for number in ids:
            answer = self._result(by_id[number], status) if number in by_id else None
            if number not in by_id or _had_no_room(answer):
                break
            answers.append(answer)
        if answers:
            return answers
        if by_id:
            raise self._refusal(self._result(by_id[ids[0]], status) if ids[0] in by_id else None, status)
        told = next(
            (each["error"] for each in listed if isinstance(each, dict) and each.get("error") is not None), None
        )
        raise self._refusal(self._error(told) if told is not None else None, status)

    def _refusal(self, error: ReplyError | None, status: int) -> Exception:
        """Of several calls none was answered: ask for fewer, unless that would only make it worse."""
        if error is not None and error.too_fast and not refused_by_words(error.text):
            return self._failed(error.message)
        return BatchRefusedError(error.message if error is not None else f"HTTP status {status}, no answers")

    def _result(self, answer: Any, status: int) -> Answer:
        if not isinstance(answer, dict) or ("result" not in answer and answer.get("error") is None):
            raise self._failed(f"HTTP status {status} and no answer")
        return self._error(answer["error"]) if answer.get("error") is not None else answer["result"]

    def _error(self, told: Any) -> ReplyError:
        """An endpoint may quote the access key of its URL in what it refuses."""
        if isinstance(told, dict) and isinstance(told.get("message"), str):
            for secret in self._secrets:
                told = {**told, "message": told["message"].replace(secret, "***")}
        return self._dialect.read_error(told)

    def _too_many(self, answered: Answered) -> EndpointError:
        return self._failed("too many requests", answered.headers.get("retry-after"))

    def _failed(self, reason: str, retry_after: str | None = None) -> EndpointError:
        """Note the failure; it is left alone for a while and must show its chain again afterwards."""
        self._failures += 1
        self.verified = False
        wait = 0.25 * 2 ** min(self._failures, 10)
        if retry_after is not None and retry_after.isdecimal():
            wait = max(wait, min(float(retry_after[:9]), MAX_BACKOFF))
        self._blocked_until = time.monotonic() + min(wait, MAX_BACKOFF)
        return EndpointError(f"{self.name}: {reason}")


def secrets_in(url: str) -> list[str]:
    """The parts of an RPC endpoint's URL that may be access keys: user, password, long parts of path and query."""
    parts = urlsplit(url)
    userinfo = parts.netloc.rpartition("@")[0]
    found = re.split(r"[:/&=?]", f"{userinfo}/{parts.path}/{parts.query}")
    return sorted({each for each in found if len(each) >= SHORTEST_KEY}, key=len, reverse=True)


def _is_fault(answer: Answer) -> bool:
    return isinstance(answer, ReplyError) and answer.endpoint_fault


def _had_no_room(answer: Answer) -> bool:
    """Whether an answer in a batch may be another one when fewer are asked for."""
    return isinstance(answer, ReplyError) and (answer.endpoint_fault or refused_by_words(answer.text))
