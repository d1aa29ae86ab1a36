"""One way in for every call: key, limits, body, work, answer. Plain ASGI inside Litestar, for it is cheap.

Litestar's handler with a typed body costs more than the ledger's share of a call. These handlers are routed by Litestar
and do the rest themselves, by the wire's msgspec types.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec
from litestar import asgi
from litestar.handlers import ASGIRouteHandler
from litestar.types import Receive, Scope, Send

from ws402.errors import UnavailableError, WS402Error
from ws402.gateway.api.errors import (
    Headers,
    InternalError,
    MediaTypeError,
    MethodError,
    TimedOutError,
    TooLargeError,
    decode,
    decode_query,
    describe,
)
from ws402.gateway.auth.errors import KeysMissingError
from ws402.gateway.auth.keys import Authenticator, Principal
from ws402.gateway.auth.keys import Scope as KeyScope
from ws402.observability import metrics, tracing

log = logging.getLogger(__name__)

Handle = Callable[[Scope, Receive, Send], Awaitable[None]]

REQUEST_SECONDS: Final = 40.0
"""Longer than a verify call waits for its payment, and than stock servers wait for anything."""

OPS_PATH: Final = "/api/ops"
"""Where batches of operations come in."""

_BASE_HEADERS: Final[Headers] = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
_encode: Final = msgspec.json.Encoder().encode


class _GoneError(Exception):
    """The client left before its request was complete."""


async def still_there(receive: Receive) -> bool:
    """Whether the client still waits for the answer; to be asked once, after its whole request was read."""
    news = asyncio.ensure_future(receive())  # nothing can come now but the news that it left
    await asyncio.sleep(0)
    gone = news.done()
    news.cancel()
    return not gone


class Deadlines:
    """Cancels requests that take too long, from one timer for all: a time-out object each costs more than all else."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._running: dict[asyncio.Task[Any], float] = {}
        self._late: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def enter(self) -> asyncio.Task[Any]:
        """Watch the request of this task, until `leave`."""
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None  # noqa: S101 - a request runs in a task
        self._running[task] = loop.time() + self._seconds
        if self._timer is None:
            self._timer = loop.call_later(1.0, self._tick, loop)
        return task

    def leave(self, task: asyncio.Task[Any]) -> None:
        """The request is answered, or given up."""
        self._running.pop(task, None)
        self._late.discard(task)

    def is_late(self, task: asyncio.Task[Any]) -> bool:
        """Whether its cancellation was ours; then it is over, and the request can be answered."""
        if task not in self._late:
            return False
        self._late.discard(task)
        return task.uncancel() == 0

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for task in [task for task, deadline in self._running.items() if deadline <= now]:
            del self._running[task]
            self._late.add(task)
            task.cancel()
        self._timer = loop.call_later(1.0, self._tick, loop) if self._running else None


class Requests:
    """What all calls share: keys, limits, time-outs, and the figures of GET /api/stats."""

    def __init__(
        self, authenticator: Authenticator, *, max_body_bytes: int, request_seconds: float = REQUEST_SECONDS
    ) -> None:
        self._authenticator = authenticator
        self._max_body = max_body_bytes
        self._deadlines = Deadlines(request_seconds)
        self.serving = True
        """False while the gateway starts: every call is answered 503."""
        self.handles: dict[str, Handle] = {}
        """The calls with a body, by path, for those who route by themselves."""
        self.queries: dict[str, Any] = {}
        """By path: the fields of its query string."""
        self.calls = 0
        self.seconds = 0.0

    def check_ready(self) -> None:
        """Raises UnavailableError while no call could be let in."""
        self._authenticator.check_ready()

    def post(
        self,
        path: str,
        kind: Any,
        work: Callable[[Principal, Any, Receive], Awaitable[Any]],
        *,
        scope: KeyScope = KeyScope.PAYMENTS,
    ) -> ASGIRouteHandler:
        """A call with a JSON body of this type, for keys of a scope."""
        wanted = scope
        decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(kind)
        answered = metrics.RESPONSE_SECONDS.of(path, "200")

        async def handle(scope: Scope, receive: Receive, send: Send) -> None:
            begun = time.perf_counter()
            task = self._deadlines.enter()
            status = 200
            try:
                principal, length = await self._enter(scope, "POST", wanted)
                request = decode(decoder, await self._body(receive, length))
                if tracing.enabled():
                    content = _encode(await _traced(path, scope, work(principal, request, receive)))
                else:
                    content = _encode(await work(principal, request, receive))
            except Exception as error:  # noqa: BLE001 - every failure is answered
                status = await refuse(send, error)
            except asyncio.CancelledError:
                if not self._deadlines.is_late(task):
                    raise
                status = await refuse(send, TimedOutError())
            else:
                await reply(send, 200, content)
            finally:
                self._deadlines.leave(task)
            seconds = time.perf_counter() - begun
            self.calls += 1
            self.seconds += seconds
            (answered if status == 200 else metrics.RESPONSE_SECONDS.of(path, str(status))).observe(seconds)

        self.handles[path] = handle
        return _handler(path, handle)

    def get(self, path: str, work: Callable[[], Awaitable[Any]], *scopes: KeyScope) -> ASGIRouteHandler:
        """A call without a body; without scopes, one that needs no key."""

        async def handle(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - ASGI
            try:
                async with asyncio.timeout(REQUEST_SECONDS):
                    if scopes:
                        await self._enter(scope, "GET", *scopes)
                    else:
                        _check_method(scope, "GET")
                    content = await work()
            except Exception as error:  # noqa: BLE001 - every failure is answered
                await refuse(send, error)
            else:
                await reply(send, 200, content if isinstance(content, bytes) else _encode(content))

        return _handler(path, handle)

    def query(self, path: str, kind: Any, work: Callable[[Any], Awaitable[Any]], *scopes: KeyScope) -> ASGIRouteHandler:
        """A call without a body whose query string has these fields."""
        self.queries[path] = kind

        async def handle(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - ASGI
            try:
                async with asyncio.timeout(REQUEST_SECONDS):
                    await self._enter(scope, "GET", *scopes)
                    content = _encode(await work(decode_query(kind, scope["query_string"])))
            except Exception as error:  # noqa: BLE001 - every failure is answered
                await refuse(send, error)
            else:
                await reply(send, 200, content)

        return _handler(path, handle)

    async def _enter(self, scope: Mapping[str, Any], method: str, *scopes: KeyScope) -> tuple[Principal, int]:
        """As `_admit`; keys of the cluster that are not known yet are read first."""
        try:
            return self._admit(scope, method, *scopes)
        except KeysMissingError as missing:
            await missing.ask()
            return self._admit(scope, method, *scopes)

    def _admit(self, scope: Mapping[str, Any], method: str, *scopes: KeyScope) -> tuple[Principal, int]:
        """Whose request this is, and the length that it declares (0: none)."""
        _check_method(scope, method)
        if not self.serving:
            raise UnavailableError("The gateway is starting.", code="starting")
        authorization = media_type = length = None
        for name, value in scope["headers"]:
            if name == b"authorization":
                authorization = value if authorization is None else b""  # two are none
            elif name == b"content-type":
                media_type = value
            elif name == b"content-length":
                length = value
        client = scope.get("client")
        principal = self._authenticator.authenticate(authorization, client[0] if client else "")
        principal.require(*scopes)
        principal.spend()
        if media_type is not None and method == "POST" and not _is_json(media_type):
            raise MediaTypeError("The body must be JSON.", remedy="Send the header 'Content-Type: application/json'.")
        return principal, int(length or 0)

    async def _body(self, receive: Receive, length: int) -> bytes | bytearray:
        if length > self._max_body:
            raise self._too_large()
        message = await receive()
        body: bytes | bytearray = message.get("body", b"")  # type: ignore[assignment]
        while message.get("more_body"):
            if len(body) > self._max_body:
                raise self._too_large()
            message = await receive()
            body = bytes(body) + message.get("body", b"")  # type: ignore[operator]
        if message["type"] == "http.disconnect":
            raise _GoneError
        if len(body) > self._max_body:
            raise self._too_large()
        return body

    def _too_large(self) -> TooLargeError:
        return TooLargeError(f"The body has more than {self._max_body} bytes.", remedy="Send less at once.")


async def _traced(path: str, scope: Mapping[str, Any], work: Awaitable[Any]) -> Any:
    """A call in its own span (HTTP semantic conventions): below the caller's, or, for a stock server's call, the first.

    Operations of a batch bring their own; one that brings none was not sampled.
    """
    parent = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"traceparent"), None)
    span = None if parent is None and path == OPS_PATH else tracing.begin(f"POST {path}", tracing.SERVER, parent)
    if span is None:
        return await work
    span.set({"http.request.method": "POST", "http.route": path, "url.path": path, "url.scheme": scope["scheme"]})
    status, error = 200, None
    try:
        with tracing.use(None if path == OPS_PATH else span):
            return await work
    except WS402Error as failure:
        status, error = failure.status, failure.code
        raise
    finally:
        span.set({"http.response.status_code": status})
        span.end(error if status >= 500 else None)


def _check_method(scope: Mapping[str, Any], method: str) -> None:
    if scope["method"] != method:
        raise MethodError(method)


def _is_json(media_type: bytes) -> bool:
    essence = media_type.partition(b";")[0].strip().lower()
    return essence == b"application/json" or (essence.startswith(b"application/") and essence.endswith(b"+json"))


def _handler(path: str, handle: Handle) -> ASGIRouteHandler:
    return asgi(path, copy_scope=False)(handle)


async def reply(send: Send, status: int, content: bytes, extra: Headers | None = None) -> None:
    """Send a whole answer."""
    headers = [*_BASE_HEADERS, (b"content-length", b"%d" % len(content)), *(extra or ())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content, "more_body": False})


async def refuse(send: Send, error: Exception) -> int:
    """Answer with an error, and say with which status (499: the client was gone). What was not foreseen is logged, and
    the answer says no more than that.
    """
    if isinstance(error, _GoneError):
        return 499
    if isinstance(error, TimeoutError):
        error = TimedOutError()
    elif not isinstance(error, WS402Error) or error.status == InternalError.status:
        log.error("a call failed", exc_info=error)
        error = InternalError()
    body, headers = describe(error)
    await reply(send, error.status, _encode(body), headers)
    return error.status
