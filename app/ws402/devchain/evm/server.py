"""The running chain: a thread of its own with the engine, its block timer and JSON-RPC over HTTP."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import msgspec
import uvicorn
from eth_utils.address import to_checksum_address

from ws402.devchain.evm.accounts import DevAccount, derive
from ws402.devchain.evm.contracts import deploy_data, load_artifact
from ws402.devchain.evm.engine import Engine
from ws402.devchain.evm.errors import PARSE_ERROR, RpcError
from ws402.devchain.evm.rpc import Rpc
from ws402.devchain.evm.shapes import data
from ws402.errors import ConfigurationError, WS402Error

MAX_BODY: Final = 5 * 1024 * 1024
ETHER: Final = 10**18
T = TypeVar("T")
log = logging.getLogger(__name__)


class DevToken(msgspec.Struct, frozen=True):
    """The demo token: a dollar of 6 decimals with EIP-2612 and EIP-3009; anybody may call `mint(address,uint256)`."""

    address: str
    symbol: str = "DUSD"
    decimals: int = 6
    eip712_name: str = "Demo Dollar"
    eip712_version: str = "1"


class EvmDevChain:
    """An EVM chain with funded accounts at `rpc_url`; `with` or `async with` starts and ends it.

    `block_time` seconds lie between blocks, 0 makes none by time; `automine` makes one at once for each transaction.
    The block `final_after` behind the head is `safe` and `finalized`. `balance` is in wei. `port` 0 takes a free one.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        chain_id: int = 84532,
        block_time: float = 1.0,
        automine: bool = False,
        final_after: int = 2,
        accounts: int = 10,
        balance: int = 10_000 * ETHER,
    ) -> None:
        if block_time < 0:
            raise ConfigurationError("The block time is negative.", remedy="Give seconds, or 0 for none.")
        if block_time == 0:
            automine = True
        self.host = host
        self.port = port
        self.chain_id = chain_id
        self.accounts: Sequence[DevAccount] = derive(accounts)
        self._automine = automine
        self._block_time = block_time
        self._final_after = final_after
        self._balance = balance
        self._token: DevToken | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._rpc: Rpc | None = None
        self._stop = asyncio.Event()

    @property
    def rpc_url(self) -> str:
        """Where it answers."""
        return f"http://{self.host}:{self.port}"

    @property
    def token(self) -> DevToken:
        """The demo token, deployed at the start."""
        if self._token is None:
            raise WS402Error("The development chain is not running.", remedy="Start it first.")
        return self._token

    # --- Life ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start and wait until it answers. Raises ConfigurationError when the port cannot be had."""
        listener = _listen(self.host, self.port)
        self.port = listener.getsockname()[1]
        started: Future[None] = Future()
        work = (started, listener)
        self._thread = threading.Thread(target=self._run, args=work, name="ws402-devchain", daemon=True)
        self._thread.start()
        started.result()
        self._token = DevToken(self.deploy(load_artifact("DemoToken"), sender=self.accounts[-1]))

    def stop(self) -> None:
        """End it; all its state is gone. Harmless when it does not run."""
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

    def mine(self, blocks: int = 1) -> None:
        """Make blocks now."""
        self._on_loop(lambda rpc: [rpc.engine.mine() for _ in range(blocks)])

    def reorg(self, depth: int, *, keep: bool = False) -> None:
        """Replace the newest blocks by new ones; `keep`: their transactions go back into the pool, else are lost."""
        self._on_loop(lambda rpc: rpc.engine.reorg(depth, keep=keep))

    def deploy(self, artifact: dict[str, Any], *arguments: Any, sender: DevAccount | None = None) -> str:
        """Create a contract and answer its address (checksummed), in a block already. Raises RpcError."""

        def create(rpc: Rpc) -> str:
            call = {"from": (sender or self.accounts[0]).address, "data": data(deploy_data(artifact, arguments))}
            tx = rpc.eth_sendTransaction(call)
            if rpc.eth_getTransactionReceipt(tx) is None:
                rpc.engine.mine()
            receipt = rpc.eth_getTransactionReceipt(tx)
            if receipt is None or receipt["status"] != "0x1":
                raise RpcError(f"the creation of {artifact.get('contractName', 'the contract')} failed")
            return str(to_checksum_address(receipt["contractAddress"]))

        return self._on_loop(create)

    def _on_loop(self, work: Callable[[Rpc], T]) -> T:
        rpc, loop = self._rpc, self._loop
        if rpc is None or loop is None or self._thread is None:
            raise WS402Error("The development chain is not running.", remedy="Start it first.")

        async def run() -> T:
            return work(rpc)

        return asyncio.run_coroutine_threadsafe(run(), loop).result(timeout=60)

    # --- The thread ----------------------------------------------------------------------------------------------

    def _run(self, started: Future[None], listener: socket.socket) -> None:
        try:
            with listener:
                asyncio.run(self._serve(started, listener))
        except BaseException as error:
            if not started.done():
                started.set_exception(error)
                return
            log.exception("the development chain stopped")
            raise

    async def _serve(self, started: Future[None], listener: socket.socket) -> None:
        balances = {bytes.fromhex(each.address[2:]): self._balance for each in self.accounts}
        engine = Engine(self.chain_id, balances, self._final_after)
        keys = {each.address: each.key for each in self.accounts}
        rpc = self._rpc = Rpc(engine, keys, automine=self._automine)
        rpc.interval = self._block_time
        self._loop = asyncio.get_running_loop()
        self._stop.clear()
        config = uvicorn.Config(
            _application(rpc),
            log_level="warning",
            access_log=False,
            interface="asgi3",
            lifespan="off",
            ws="none",
            timeout_keep_alive=60,
            timeout_graceful_shutdown=1,
        )
        server = _Server(config, started)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        timer = asyncio.create_task(_make_blocks(rpc))
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait({serving, stopping, timer}, return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        timer.cancel()
        stopping.cancel()
        for ended in await asyncio.gather(serving, timer, stopping, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended


class _Server(uvicorn.Server):
    """Says when it answers."""

    def __init__(self, config: uvicorn.Config, started: Future[None]) -> None:
        super().__init__(config)
        self._told = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._told.set_result(None)


async def _make_blocks(rpc: Rpc) -> None:
    """A block every interval, measured from the last one that the timer made; looks anew when it was changed."""
    while True:
        interval = rpc.interval
        await asyncio.sleep(interval or 0.05)
        if interval and rpc.interval:
            rpc.engine.mine()


def _application(rpc: Rpc) -> Callable[[Any, Any, Any], Awaitable[None]]:
    """JSON-RPC over HTTP POST, open to every web page: the chain is worth nothing."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["method"] == "OPTIONS":
            await _reply(send, 204, b"")
        elif scope["method"] != "POST":
            await _reply(send, 405, b"POST JSON-RPC requests here.\n", b"text/plain")
        elif (body := await _read(receive)) is None:
            await _reply(send, 413, b"request body too large\n", b"text/plain")
        else:
            await _reply(send, 200, _respond(rpc, body))

    return application


def _respond(rpc: Rpc, body: bytes) -> bytes:
    try:
        request = msgspec.json.decode(body)
    except msgspec.DecodeError:
        refusal = RpcError("parse error", PARSE_ERROR).body()
        return msgspec.json.encode({"jsonrpc": "2.0", "id": None, "error": refusal})
    answer = rpc.answer(request)
    return b"" if answer is None else msgspec.json.encode(answer)


def _listen(host: str, port: int) -> socket.socket:
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
        (b"access-control-allow-headers", b"content-type"),
        (b"access-control-max-age", b"600"),
        # A page on a public address may ask for this local one (Private Network Access).
        (b"access-control-allow-private-network", b"true"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
