"""A mock gateway over HTTP: the real API's own code over the mock's bookkeeping, in a thread of the test's process."""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections import deque
from concurrent.futures import Future
from typing import Any, Final, Self

import msgspec
from pydantic import SecretStr

from ws402.errors import WS402Error
from ws402.gateway.api.app import create_app
from ws402.gateway.api.errors import Headers, decode
from ws402.gateway.api.requests import refuse, reply
from ws402.gateway.auth.keys import Authenticator
from ws402.provider.mock.faults import Faults
from ws402.provider.mock.provider import MockPaymentProvider
from ws402.provider.mock.service import MockPaymentService
from ws402.serving import HttpServer
from ws402.settings import GatewaySettings
from ws402.testing.control import AnyCommand, obey, state

CONTROL_PATH: Final = "/mock"

_commands: Final[msgspec.json.Decoder[AnyCommand]] = msgspec.json.Decoder(AnyCommand)


class HttpFaults:
    """What goes wrong on the way between a provider and the gateway. Each applies to the next calls, in order."""

    def __init__(self) -> None:
        self._planned: deque[tuple[str, int, bytes, Headers]] = deque()

    def answer(self, status: int, body: bytes = b"", *, times: int = 1, retry_after: int | None = None) -> None:
        """Answer the next calls so, and do nothing."""
        headers = [] if retry_after is None else [(b"retry-after", str(retry_after).encode())]
        self._planned.extend([("answer", status, body, headers)] * times)

    def garble(self, *, times: int = 1) -> None:
        """Do the next calls and answer what is no JSON."""
        self._planned.extend([("garble", 200, b"<html>not a gateway</html>", [])] * times)

    def cut(self, *, times: int = 1) -> None:
        """Do the next calls and cut the connection in the middle of the answer."""
        self._planned.extend([("cut", 200, b"", [])] * times)

    def clear(self) -> None:
        """Work well again."""
        self._planned.clear()

    def next(self) -> tuple[str, int, bytes, Headers] | None:
        """What goes wrong with this call."""
        return self._planned.popleft() if self._planned else None


class MockGateway:
    """A mock gateway on a port of this machine: `with MockGateway() as gateway: …`.

    `provider` is its inside: `provider.pay`, `provider.sessions`, `provider.audit()`; `faults` its knobs, `http` what
    goes wrong on the way. Servers in any language find it by `environment`, and test authors who are not in this
    process control it by POST /mock (see `ws402.testing.control`). The control needs no key: bind it to this machine.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        api_key: str | None = None,
        network: str = "base-sepolia",
        auto_pay: bool = True,
    ) -> None:
        self.service = MockPaymentService(network=network, auto_pay=auto_pay)
        self.provider = MockPaymentProvider(self.service)
        self.http = HttpFaults()
        self.api_key = api_key or secrets.token_hex(32)
        self.admin_key = secrets.token_hex(32)
        # Built without the environment: a mock does not take a real gateway's settings.
        settings = GatewaySettings.model_construct(
            gateway_api_key=[SecretStr(self.api_key)], gateway_admin_key=[SecretStr(self.admin_key)]
        )
        self._app: Any = create_app(self.service, Authenticator(settings), settings)
        self._server = HttpServer(host, port)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    @property
    def url(self) -> str:
        """Its address."""
        return self._server.url

    @property
    def faults(self) -> Faults:
        """The knobs of the gateway itself."""
        return self.service.faults

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which a WS402 server finds it."""
        return {"PROVIDER": "proxy", "GATEWAY_URL": self.url, "GATEWAY_API_KEY": self.api_key}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Serve, in a thread of its own."""
        ready: Future[None] = Future()

        def run() -> None:
            try:
                asyncio.run(self._run(ready))
            except BaseException as error:
                if ready.done():
                    raise
                ready.set_exception(error)

        self._thread = threading.Thread(target=run, name="ws402 mock", daemon=True)
        self._thread.start()
        ready.result(10)

    def close(self) -> None:
        """End."""
        if self._thread is not None and self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(40)
            self._thread = None

    async def _run(self, ready: Future[None]) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        await self._server.start(self.asgi)
        ready.set_result(None)
        await self._stop.wait()
        await self._server.close()

    async def asgi(self, scope: Any, receive: Any, send: Any) -> None:
        """The application: the control, the faults, the API."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"] == CONTROL_PATH:
            await self._control(scope["method"], receive, send)
        elif scope["path"].startswith("/api/") and (planned := self.http.next()) is not None:
            await self._misbehave(planned, scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _control(self, method: str, receive: Any, send: Any) -> None:
        body = b""
        more = method == "POST"
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        try:
            content = state(self.provider) if method == "GET" else obey(self.provider, decode(_commands, body))
        except WS402Error as error:
            await refuse(send, error)
        else:
            await reply(send, 200, msgspec.json.encode(content))

    async def _misbehave(self, planned: tuple[str, int, bytes, Headers], scope: Any, receive: Any, send: Any) -> None:
        kind, status, body, headers = planned
        if kind != "answer":
            await self._app(scope, receive, _nowhere)
        if kind == "cut":
            start = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1000")]}
            await send(start)
            await send({"type": "http.response.body", "body": b'{"results":', "more_body": True})
            return  # uvicorn closes the connection of an answer that is not complete
        await reply(send, status, body, headers)


async def _nowhere(message: Any) -> None:
    """An answer that nobody gets."""
