"""HTTP to a gateway: kept-alive connections, time-outs, repetitions with full jitter, and a circuit breaker."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from ws402 import tls
from ws402.backoff import backoff
from ws402.breaker import Breaker
from ws402.errors import ConfigurationError, RateLimitedError, UnavailableError, WS402Error
from ws402.observability import metrics, tracing
from ws402.provider.answers import error_of, is_ours
from ws402.provider.credentials import Credential, LinkFiles
from ws402.provider.http1 import HttpClient, TransferError

log = logging.getLogger(__name__)

BACKOFF_SECONDS: Final = 0.1
MAX_BACKOFF_SECONDS: Final = 5.0
HEALTH_SECONDS: Final = 5.0
_LOCAL: Final = ("127.0.0.1", "localhost", "::1")


class Transport:
    """Calls of one gateway with one credential, which appears in no log, repr or error."""

    def __init__(
        self,
        gateway_url: str,
        credential: Credential,
        *,
        files: LinkFiles,
        timeout: float,
        retry_attempts: int,
        custom_headers: Mapping[str, str] | None,
    ) -> None:
        self.url = _checked(gateway_url)
        self._attempts = retry_attempts
        self._breaker = Breaker(_refusal)
        self._side_breaker = Breaker(_refusal)
        """Of calls that strangers can bring about: they must not keep those away that sessions need."""
        headers = {name.title(): value for name, value in (custom_headers or {}).items()}
        headers |= {"X-Ws402-Provider": "proxy", "Content-Type": "application/json", "Accept": "application/json"}
        headers.pop("Authorization", None)
        self._credential = credential
        # The gateway is inside: HTTP_PROXY is not for it. SSL_CERT_FILE may still name a private authority.
        context = tls.calling(files.ca, files.client_cert, files.client_key) if self.url.startswith("https") else None
        self._http = HttpClient(
            self.url,
            headers,
            timeout=timeout,
            connect_timeout=min(timeout, 5.0),
            tls=(lambda: context.value) if context is not None else None,
            authorization=credential.header,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    async def healthy(self) -> bool:
        """Whether the gateway answers now; one attempt."""
        try:
            answer = await self._http.request("GET", "/api/health", seconds=HEALTH_SECONDS)
        except TransferError:
            return False
        return answer.status == HTTPStatus.OK

    @property
    def breaker_open(self) -> bool:
        """Whether the gateway is left alone now."""
        return self._breaker.open

    async def call(
        self,
        method: str,
        path: str,
        content: bytes | None = None,
        *,
        lane: str = "single",
        traceparent: str | None = None,
        side: bool = False,
    ) -> bytes:
        """The body of a good answer. Repeats what may work later, so the call must be safe to repeat.

        `lane` is its name in metrics, `traceparent` what its spans stand below, `side` whether no session needs it.
        Raises UnavailableError when no attempt brought an answer, and the gateway's own refusal otherwise.
        """
        breaker = self._side_breaker if side else self._breaker
        attempt = 1
        while True:
            breaker.enter()
            try:
                return await self._traced(method, path, content, lane, traceparent, breaker)
            except WS402Error as error:
                metrics.LINK_ERRORS.inc(error.code)
                temporary = isinstance(error, UnavailableError | RateLimitedError)
                if not temporary or attempt >= self._attempts or breaker.open:
                    raise
                seconds = backoff(attempt, first=BACKOFF_SECONDS, most=MAX_BACKOFF_SECONDS)
                if isinstance(error, RateLimitedError):
                    seconds += min(error.retry_after, MAX_BACKOFF_SECONDS)
                log.debug("%s %s failed (%s), attempt %d", method, path, error.code, attempt)
                await asyncio.sleep(seconds)
                attempt += 1

    async def _traced(
        self, method: str, path: str, content: bytes | None, lane: str, traceparent: str | None, breaker: Breaker
    ) -> bytes:
        """One attempt, which has a span of its own in a trace (HTTP semantic conventions)."""
        span = None if traceparent is None else tracing.begin(method, tracing.CLIENT, traceparent)
        if span is None:
            return await self._once(method, path, content, lane, "", breaker)
        span.set({"http.request.method": method, "url.full": self.url + path, "ws402.lane": lane})
        error: str | None = None
        try:
            return await self._once(method, path, content, lane, f"traceparent: {span.traceparent}\r\n", breaker)
        except WS402Error as failure:
            error = failure.code
            raise
        finally:
            span.end(error)

    async def _once(
        self, method: str, path: str, content: bytes | None, lane: str, headers: str, breaker: Breaker
    ) -> bytes:
        begun = time.perf_counter()
        try:
            answer = await self._http.request(method, path, content, headers=headers)
            if answer.status == HTTPStatus.UNAUTHORIZED and self._credential.changed():
                answer = await self._http.request(method, path, content, headers=headers)
        except TransferError as error:
            breaker.failed()
            raise UnavailableError(
                f"The payment gateway cannot be reached: {error}.",
                remedy="Check GATEWAY_URL (http or https), that the gateway runs, and the certificates of both.",
                code="gateway_unavailable",
            ) from error
        except BaseException:
            breaker.left()
            raise
        metrics.LINK_SECONDS.of(lane).observe(time.perf_counter() - begun)
        log.debug("%s %s: %d", method, path, answer.status)
        if answer.status < 500 or is_ours(answer.content):
            breaker.succeeded()
        else:
            breaker.failed()  # somebody between us and the gateway, on its behalf
        if answer.status != HTTPStatus.OK:
            raise error_of(answer.status, answer.content, answer.headers.get("retry-after"))
        return answer.content


def _refusal() -> UnavailableError:
    return UnavailableError(
        "The payment gateway fails; not asking it for some seconds.",
        remedy="Check that GATEWAY_URL is right and that the gateway runs.",
        code="gateway_unavailable",
    )


def _checked(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError("GATEWAY_URL is not an http(s) address.", remedy="Write http://host:port.")
    if parts.username or parts.password:
        raise ConfigurationError("GATEWAY_URL holds a password.", remedy="Use GATEWAY_API_KEY instead.")
    if parts.scheme == "http" and parts.hostname not in _LOCAL:
        log.warning("the gateway %s is called without TLS; keep its network private", parts.hostname)
    return url.rstrip("/")
