"""One attempt: an event posted to a receiver, and what came of it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import httpx

from ws402 import __version__
from ws402.outgoing import http_client

GONE: Final = 410
"""The receiver wants no more events (Standard Webhooks): its endpoint is disabled."""

MOST_ANSWER: Final = 65_536
"""Bytes of an answer that are read, so that its connection can be used again; what they say does not matter."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`status` is HTTP's, None without an answer; `reason` is few words for metrics, `error` a sentence for people."""

    status: int | None
    reason: str = ""
    error: str | None = None
    retry_after: str | None = None

    @property
    def taken(self) -> bool:
        """Whether the receiver has it."""
        return self.reason == ""


class Poster:
    """Posts to one receiver, over connections of its own: another receiver's slowness does not keep it waiting."""

    def __init__(self, url: str, seconds: float, *, most: int) -> None:
        """`seconds`: for a whole attempt, however slowly an answer drips. `most`: connections at once."""
        self._url = url
        self._seconds = seconds
        self._client = http_client(
            follow_redirects=False,
            timeout=httpx.Timeout(seconds),
            limits=httpx.Limits(max_connections=most, max_keepalive_connections=most, keepalive_expiry=60),
            headers={"content-type": "application/json", "user-agent": f"ws402/{__version__}"},
        )

    async def post(self, headers: Mapping[str, str], body: bytes) -> Answer:
        """Post it once. Nothing is raised: everything that can happen is an answer."""
        try:
            async with asyncio.timeout(self._seconds):
                async with self._client.stream("POST", self._url, headers=headers, content=body) as answer:
                    self._client.cookies.clear()  # a receiver's are for browsers: nothing of it is kept, or sent back
                    await _read(answer)
                    return _judged(answer)
        except (TimeoutError, httpx.TimeoutException):
            return Answer(None, "timeout", f"no answer within {self._seconds:g} s")
        except (httpx.HTTPError, OSError, ValueError) as error:
            if isinstance(_root(error), ssl.SSLError):
                return Answer(None, "tls", "its certificate or TLS is refused")
            kind = "connect" if isinstance(error, httpx.ConnectError) else "broken"
            what = "it cannot be reached" if kind == "connect" else "the connection broke, or its answer is no HTTP"
            return Answer(None, kind, what)

    async def close(self) -> None:
        """Close its connections."""
        await self._client.aclose()


async def _read(answer: httpx.Response) -> None:
    size = 0
    async for part in answer.aiter_raw():
        size += len(part)
        if size > MOST_ANSWER:
            return  # which closes the connection


def _judged(answer: httpx.Response) -> Answer:
    status = answer.status_code
    if answer.is_success:
        return Answer(status)
    if answer.is_redirect or 300 <= status < 400:
        return Answer(status, "redirect", f"it answered {status}; redirects are not followed: correct the url")
    if status == GONE:
        return Answer(status, "gone", "it answered 410 (Gone): the endpoint is disabled")
    return Answer(status, f"{status // 100}xx", f"it answered {status}", answer.headers.get("retry-after"))


def _root(error: BaseException) -> BaseException:
    """What it began with."""
    while (before := error.__cause__ or error.__context__) is not None:
        error = before
    return error
