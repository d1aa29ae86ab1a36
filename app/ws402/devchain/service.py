"""A running embedded chain: a thread of its own with the chain, its clock and JSON-RPC over HTTP (and WebSocket)."""

from __future__ import annotations

import abc
import asyncio
import logging
import socket
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar

import msgspec
import uvicorn

from ws402.devchain.jsonrpc import JsonRpc, refusal
from ws402.devchain.state import State
from ws402.errors import ConfigurationError, WS402Error

MAX_BODY: Final = 5 * 1024 * 1024
R = TypeVar("R", bound=JsonRpc)
T = TypeVar("T")
log = logging.getLogger(__name__)


class DevChain(abc.ABC, Generic[R]):
    """A chain at `rpc_url`; `with` or `async with` starts and ends it. `port` 0 takes a free one."""

    def __init__(self, host: str, port: int, state: Path | None = None) -> None:
        """`state`: the file in which it is kept; in memory only without one."""
        self.host = host
        self.port = port
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._rpc: R | None = None
        self._stop = asyncio.Event()
        self._path = state
        self._state: State | None = None

    @property
    def rpc_url(self) -> str:
        """Where it answers."""
        return f"http://{self.host}:{self.port}"

    @abc.abstractmethod
    def _create(self) -> R:
        """The chain, in the thread where it will run. Raises ConfigurationError."""

    @abc.abstractmethod
    async def _keep_time(self, rpc: R) -> None:
        """Make blocks by time, for ever."""

    def _open_state(self, kind: str) -> State | None:
        """The file in which it is kept, if any, until the chain ends. Raises ConfigurationError."""
        if self._path is not None:
            self._state = State(self._path, kind)
        return self._state

    def _listen(self) -> list[socket.socket]:
        """The sockets to serve, with `port` set. Raises ConfigurationError when a port cannot be had."""
        listener = listen(self.host, self.port)
        self.port = listener.getsockname()[1]
        return [listener]

    async def _converse(self, rpc: R, receive: Any, send: Any) -> None:
        """A WebSocket connection, from its handshake on; refused by default."""
        del rpc, receive
        await send({"type": "websocket.close"})

    # --- Life ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start and wait until it answers. Raises ConfigurationError when the port cannot be had."""
        listeners = self._listen()
        started: Future[None] = Future()
        work = (started, listeners)
        self._thread = threading.Thread(target=self._run, args=work, name="ws402-devchain", daemon=True)
        self._thread.start()
        started.result()

    def stop(self) -> None:
        """End it; what is in no file is gone. Harmless when it does not run."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)

    # --- Without HTTP --------------------------------------------------------------------------------------------

    def rpc(self, method: str, *params: Any) -> Any:
        """One JSON-RPC method, past HTTP. Raises RpcError."""
        return self._on_loop(lambda rpc: rpc.call(method, *params))

    def _on_loop(self, work: Callable[[R], T]) -> T:
        rpc, loop = self._rpc, self._loop
        if rpc is None or loop is None or self._thread is None:
            raise WS402Error("The development chain is not running.", remedy="Start it first.")

        async def run() -> T:
            return work(rpc)

        return asyncio.run_coroutine_threadsafe(run(), loop).result(timeout=60)

    # --- The thread ----------------------------------------------------------------------------------------------

    def _run(self, started: Future[None], listeners: list[socket.socket]) -> None:
        try:
            asyncio.run(self._serve(started, listeners))
        except BaseException as error:
            if not started.done():
                started.set_exception(error)
                return
            log.exception("the development chain stopped")
            raise
        finally:
            state, self._state = self._state, None
            if state is not None:
                state.close()
            for listener in listeners:
                listener.close()

    async def _serve(self, started: Future[None], listeners: list[socket.socket]) -> None:
        rpc = self._rpc = self._create()
        self._loop = asyncio.get_running_loop()
        self._stop.clear()
        config = uvicorn.Config(
            self._application(rpc),
            log_level="warning",
            access_log=False,
            interface="asgi3",
            lifespan="off",
            ws="websockets-sansio",
            timeout_keep_alive=60,
            timeout_graceful_shutdown=1,
        )
        server = _Server(config, started)
        serving = asyncio.create_task(server.serve(sockets=listeners))
        timer = asyncio.create_task(self._keep_time(rpc))
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait({serving, stopping, timer}, return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        timer.cancel()
        stopping.cancel()
        for ended in await asyncio.gather(serving, timer, stopping, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended

    def _application(self, rpc: R) -> Callable[[Any, Any, Any], Awaitable[None]]:
        """JSON-RPC over HTTP POST, open to every web page: the chain is worth nothing. GET /health says ok."""

        async def application(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "websocket":
                await self._converse(rpc, receive, send)
            elif scope["method"] == "OPTIONS":
                await _reply(send, 204, b"")
            elif scope["method"] == "GET" and scope["path"] == "/health":
                await _reply(send, 200, b"ok", b"text/plain")
            elif scope["method"] != "POST":
                await _reply(send, 405, b"POST JSON-RPC requests here.\n", b"text/plain")
            elif (body := await _read(receive)) is None:
                await _reply(send, 413, b"request body too large\n", b"text/plain")
            else:
                await _reply(send, 200, respond(rpc, body))

        return application


class _Server(uvicorn.Server):
    """Says when it answers."""

    def __init__(self, config: uvicorn.Config, started: Future[None]) -> None:
        super().__init__(config)
        self._told = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._told.set_result(None)


def respond(rpc: JsonRpc, body: bytes | str) -> bytes:
    """The answer to what was sent, in JSON; empty when nothing is to be answered."""
    try:
        request = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return msgspec.json.encode(refusal(None, rpc.parse_error()))
    answer = rpc.answer(request)
    return b"" if answer is None else msgspec.json.encode(answer)


def listen(host: str, port: int) -> socket.socket:
    """A bound socket. Raises ConfigurationError."""
    # asyncio turns Nagle's algorithm off only where the protocol is named; with it, each answer would wait 40 ms.
    listener = socket.socket(proto=socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigurationError(
            f"The development chain cannot listen on {host}:{port}: {reason}.",
            remedy="Choose another port with --port (0 takes a free one).",
        ) from error
    return listener


async def _read(receive: Any) -> bytes | None:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > MAX_BODY:
            return None
        if not message.get("more_body"):
            return bytes(body)


async def _reply(send: Any, status: int, body: bytes, kind: bytes = b"application/json") -> None:
    headers = [
        (b"content-type", kind),
        (b"content-length", str(len(body)).encode()),
        (b"access-control-allow-origin", b"*"),
        (b"access-control-allow-methods", b"POST, OPTIONS"),
        (b"access-control-allow-headers", b"content-type, solana-client"),
        (b"access-control-max-age", b"600"),
        # A page on a public address may ask for this local one (Private Network Access).
        (b"access-control-allow-private-network", b"true"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
