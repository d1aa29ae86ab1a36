"""Several endpoints of one network: the best healthy one answers, the next takes over, and two agree where asked to."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

import httpx

from ws402.chains.base import ChainUnavailableError, WrongChainError
from ws402.chains.rpc.endpoint import Answer, Call, Endpoint, EndpointError
from ws402.chains.rpc.replies import Dialect, ReplyError

log = logging.getLogger(__name__)

T = TypeVar("T")
Work = Callable[[Endpoint], Awaitable[T]]

CONNECTIONS: Final = httpx.Limits(max_connections=64, max_keepalive_connections=32, keepalive_expiry=30)


class Pool:
    """Endpoints, best first. `timeout` is for one HTTP request, in seconds."""

    def __init__(self, network: str, urls: Sequence[str], dialect: Dialect, timeout: float) -> None:
        # httpx logs every request's whole URL at INFO, and URLs hold access keys.
        logging.getLogger("httpx").setLevel(logging.WARNING)
        self.network = network
        self._http = httpx.AsyncClient(timeout=timeout, limits=CONNECTIONS, follow_redirects=False)
        self.endpoints = [Endpoint(url, self._http, dialect, timeout, network) for url in dict.fromkeys(urls)]

    async def close(self) -> None:
        """Close connections."""
        await self._http.aclose()

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
        """Those that work first, in the configured order; resting ones only when nothing else is left."""
        return sorted(self.endpoints, key=lambda each: each.rest)

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
