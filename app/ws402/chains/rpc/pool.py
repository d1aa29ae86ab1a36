"""Several endpoints of one network: the best healthy one answers, the next takes over, and two agree where asked to."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import httpx

from ws402.chains.base import ChainUnavailableError, WrongChainError
from ws402.chains.rpc.endpoint import Answer, Call, Endpoint, EndpointError
from ws402.chains.rpc.heads import Heads
from ws402.chains.rpc.http import Link
from ws402.chains.rpc.replies import Dialect, ReplyError
from ws402.errors import ConfigurationError

log = logging.getLogger(__name__)

T = TypeVar("T")
Work = Callable[[Endpoint], Awaitable[T]]

CONNECTIONS: Final = 32
"""Requests at once, for each purpose."""

COMPARE_SECONDS: Final = 5.0
"""How often the heads of all endpoints are compared."""


class Pool:
    """Endpoints, best first, over connections of their own. `timeout` is for one HTTP request, in seconds.

    Raises ConfigurationError for a URL that is none; it quotes nothing of it.
    """

    def __init__(
        self,
        network: str,
        urls: Sequence[str],
        dialect: Dialect,
        timeout: float,
        *,
        heads: Heads,
        proxy: str | None = None,
    ) -> None:
        # httpx logs every request's whole URL at INFO, and URLs hold access keys.
        logging.getLogger("httpx").setLevel(logging.WARNING)
        self.network = network
        self.heads = heads
        self._link = Link(timeout, CONNECTIONS, check_proxy(network, proxy))
        self.endpoints = [
            Endpoint(url, name, self._link, dialect, network) for name, url in named(network, urls).items()
        ]
        self._compare_at = 0.0
        self._comparing: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Close connections."""
        if self._comparing is not None:
            self._comparing.cancel()
            await asyncio.gather(self._comparing, return_exceptions=True)
        await self._link.close()

    async def verify(self, *, every: bool) -> None:
        """Check that endpoints serve the right chain. `every`: all that answer must; else a wrong one is only not used.

        Raises WrongChainError, and ChainUnavailableError when none answers.
        """
        for endpoint in self.endpoints:
            endpoint.verified = False
        answers = await asyncio.gather(*(each.verify() for each in self.endpoints), return_exceptions=True)
        troubles = [answer for answer in answers if answer is not None]
        for trouble in troubles:
            if not isinstance(trouble, EndpointError | WrongChainError):
                raise trouble
        wrong = next((each for each in troubles if isinstance(each, WrongChainError)), None)
        if wrong is not None and (every or len(troubles) == len(answers)):
            raise wrong
        if len(troubles) == len(answers):
            raise self._unavailable(troubles)
        for trouble in troubles:
            log.warning("%s: an endpoint is not used: %s", self.network, trouble)

    async def run(self, work: Work[T]) -> T:
        """Do all of `work` on one endpoint, on the next one if that fails. Raises ChainUnavailableError.

        `work` raises EndpointError or WrongChainError to pass to the next endpoint; ReplyError is its caller's.
        """
        troubles: list[BaseException] = []
        for endpoint in self._order():
            try:
                return await work(endpoint)
            except (EndpointError, WrongChainError) as trouble:
                log.debug("%s: %s", self.network, trouble)
                troubles.append(trouble)
        raise self._unavailable(troubles)

    async def search(self, work: Work[T], rank: Callable[[T], int], enough: int) -> T:
        """As `run`, but an answer of less than `enough` rank is believed only when no other endpoint knows better.

        The other ones that work are asked at once, and the best answer counts. Raises ChainUnavailableError.
        """
        waiting = self._order()
        troubles: list[BaseException] = []
        while waiting:
            endpoint = waiting.pop(0)
            try:
                answer = await work(endpoint)
            except (EndpointError, WrongChainError) as trouble:
                log.debug("%s: %s", self.network, trouble)
                troubles.append(trouble)
                continue
            if rank(answer) >= enough:
                return answer
            others = await asyncio.gather(*(work(each) for each in waiting if not each.rest), return_exceptions=True)
            for other in others:
                if isinstance(other, BaseException):
                    if not isinstance(other, EndpointError | WrongChainError):
                        raise other
                elif rank(other) > rank(answer):
                    answer = other
            return answer
        raise self._unavailable(troubles)

    async def newest(self, work: Work[T], height: Callable[[T], int]) -> T:
        """As `run`, for a question about the head; now and then the heads of all endpoints are compared besides."""
        if len(self.endpoints) > 1 and time.monotonic() >= self._compare_at:
            self._compare_at = time.monotonic() + COMPARE_SECONDS
            if self._comparing is None or self._comparing.done():
                # Apart from the caller, who must not wait for the slowest.
                self._comparing = asyncio.create_task(
                    self._compare(work, height), name=f"compare the heads of {self.network}"
                )
        return await self.run(work)

    async def _compare(self, work: Work[T], height: Callable[[T], int]) -> None:
        asked = [each for each in self.endpoints if not each.rest]
        answers = await asyncio.gather(*(work(each) for each in asked), return_exceptions=True)
        found: dict[str, int] = {}
        for endpoint, answer in zip(asked, answers, strict=True):
            if isinstance(answer, BaseException):
                log.debug("%s: no head of %s to compare: %s", self.network, endpoint.name, answer)
            else:
                found[endpoint.name] = height(answer)
        self.heads.compared(found)

    async def agree(self, work: Work[T]) -> T:
        """Do `work` on endpoints until two of them answer the same. Raises ChainUnavailableError when no two do."""
        answers: list[T] = []
        troubles: list[BaseException] = []
        waiting = self._order()
        while waiting:
            # Two at once; further ones only when those fail or differ.
            count = max(1, 2 - len(answers))
            batch, waiting = waiting[:count], waiting[count:]
            for answer in await asyncio.gather(*(work(each) for each in batch), return_exceptions=True):
                if isinstance(answer, EndpointError | WrongChainError):
                    troubles.append(answer)
                elif isinstance(answer, BaseException):
                    raise answer
                elif answer in answers:
                    return answer
                else:
                    answers.append(answer)
        if len(answers) > 1:
            log.error("%s: the RPC endpoints do not agree with each other", self.network)
            raise ChainUnavailableError(f"No two RPC endpoints of {self.network} agree.")
        raise self._unavailable(troubles, "Two must agree on this amount.")

    async def every(self, work: Work[T]) -> list[T]:
        """Do `work` on every endpoint. Raises ChainUnavailableError when any of them does not answer."""
        answers = await asyncio.gather(*(work(each) for each in self.endpoints), return_exceptions=True)
        troubles = [each for each in answers if isinstance(each, BaseException)]
        for trouble in troubles:
            if not isinstance(trouble, EndpointError | WrongChainError):
                raise trouble
        if troubles:
            raise self._unavailable(troubles, "All must answer this.")
        return [each for each in answers if not isinstance(each, BaseException)]

    async def batch(self, calls: Sequence[Call]) -> list[Answer]:
        """Answers in order, from one endpoint; error answers stand as ReplyErrors."""
        return await self.run(lambda endpoint: endpoint.call(calls))

    async def call(self, method: str, *params: Any) -> Any:
        """One result. Raises ReplyError, ChainUnavailableError."""
        (answer,) = await self.batch([(method, list(params))])
        if isinstance(answer, ReplyError):
            raise answer
        return answer

    def _order(self) -> list[Endpoint]:
        """Those that work first, in the configured order, those behind the others after them, resting ones last."""
        return sorted(self.endpoints, key=lambda each: (each.rest > 0, self.heads.lags(each.name), each.rest))

    def _unavailable(self, troubles: Sequence[BaseException], why: str = "") -> ChainUnavailableError:
        told = "; ".join(str(each) for each in troubles) or "none is configured"
        return ChainUnavailableError(
            f"No RPC endpoint of {self.network} answers as it must ({told}).{' ' if why else ''}{why}",
            remedy="Check the endpoints and the network; it is tried again.",
        )


def guarded(work: Work[T]) -> Work[T]:
    """Let malformed answers, too, pass to the next endpoint."""

    async def careful(endpoint: Endpoint) -> T:
        try:
            return await work(endpoint)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise EndpointError(f"{endpoint.name}: a malformed answer ({type(error).__name__})") from error

    return careful


def named(network: str, urls: Sequence[str]) -> dict[str, str]:
    """URLs of endpoints by the names that logs may show: their hosts, numbered where two are the same.

    Raises ConfigurationError, which quotes nothing: what is wrong may be a part of an access key.
    """
    found: dict[str, str] = {}
    for position, url in enumerate(dict.fromkeys(urls), 1):
        host = _host(url)
        if host is None:
            raise ConfigurationError(
                f"RPC endpoint {position} of {network} is no URL of the form https://host/path.",
                remedy="Percent-encode @, /, ? and # within its user, password and access key.",
            )
        name = host if host not in found else f"{host}#{position}"
        found[name] = url
    return found


def _host(url: str) -> str | None:
    """Host and port; None for what is not surely a whole URL of HTTP: what follows a stray / or # may be a secret."""
    try:
        parts = urlsplit(url)
        httpx.URL(url)
        port = parts.port
    except (ValueError, httpx.InvalidURL):
        return None
    host = parts.hostname
    if parts.scheme not in {"http", "https"} or not host or parts.fragment or any(each.isspace() for each in url):
        return None
    if "@" in parts.path + parts.query:  # the end of a user and password that were cut in two
        return None
    shown = f"[{host}]" if ":" in host else host
    return shown if port is None else f"{shown}:{port}"


def check_proxy(network: str, proxy: str | None) -> str | None:
    """An HTTP proxy's URL. Raises ConfigurationError, which quotes nothing of it."""
    if proxy is not None and _host(proxy) is None:
        raise ConfigurationError(
            f"The proxy of {network} is no URL of the form http://user:password@host:port.",
            remedy="Use an HTTP proxy (SOCKS is not offered), and percent-encode special characters.",
        )
    return proxy
