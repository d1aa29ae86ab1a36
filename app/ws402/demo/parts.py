"""What the demonstration starts: an embedded chain in this process, the gateway and the servers as they really run."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import httpx
from eth_account import Account

from ws402.client.rpc import Rpc
from ws402.devchain.evm import EvmDevChain
from ws402.errors import WS402Error

START_SECONDS: Final = 30
STOP_SECONDS: Final = 15
NETWORK: Final = "base-sepolia"
CHAIN_ID: Final = 84532
ETHER: Final = 10**18
ETH_PRICE: Final = 20_000_000_000_000
"""Wei a second."""
TOKEN_PRICE: Final = 2_500
"""Millionths of a demo dollar a second."""
_MINT: Final = "0x40c10f19"
_RUN: Final = "from ws402.cli import main; main()"


class DemoError(WS402Error):
    """A part of the demonstration did not work."""

    code = "demo"


class Ports:
    """Ports of this machine, none given out twice."""

    def __init__(self) -> None:
        self._given: set[int] = set()

    def pick(self, wanted: int) -> int:
        """The wanted port when it is free, else (and for 0) any free one. Raises DemoError."""
        for port in (wanted, *(0 for _ in range(50))):
            with socket.socket() as probe, suppress(OSError):
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", port))
                found = int(probe.getsockname()[1])
                if found not in self._given:
                    self._given.add(found)
                    return found
        raise DemoError("There is no free port on 127.0.0.1.")


class Program:
    """One `ws402` command as a process of its own, with its output in a file."""

    def __init__(
        self, name: str, arguments: list[str], environment: Mapping[str, str], folder: Path, ready: str
    ) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._arguments = arguments
        self._environment = dict(environment)
        self._folder = folder
        self._ready = ready
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it and wait until it answers. Raises DemoError with the end of its output."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                _RUN,
                *self._arguments,
                env=kept | self._environment,
                cwd=self._folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C is ours to pass on
            )
        async with httpx.AsyncClient() as http:
            for _ in range(START_SECONDS * 10):
                if self._process.returncode is not None:
                    raise DemoError(f"The {self.name} ended at its start:\n{self.tail()}")
                with suppress(httpx.TransportError):
                    if (await http.get(self._ready, timeout=2)).is_success:
                        return
                await asyncio.sleep(0.1)
        raise DemoError(f"The {self.name} does not answer after {START_SECONDS} s:\n{self.tail()}")

    async def stop(self) -> None:
        """End it as an operator does; by force when it does not obey."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), STOP_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()

    async def restart(self) -> None:
        """What a rolling update does."""
        await self.stop()
        await self.start()

    def tail(self) -> str:
        """The end of its output."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])


class Parts:
    """All of them; `gateway_settings` is what the gateway was given, for the audit."""

    def __init__(self, folder: Path, *, port: int, gateway_port: int, rpc_port: int) -> None:
        ports = Ports()
        self.folder = folder
        merchant = Account.from_key(secrets.token_bytes(32))
        self._key = "0x" + merchant.key.hex()
        self.merchant: str = merchant.address
        self._api_key = secrets.token_hex(32)
        self.chain = EvmDevChain(port=ports.pick(rpc_port), block_time=1.0, final_after=2, accounts=20)
        self._gateway_port = ports.pick(gateway_port)
        self.gateway_url = f"http://127.0.0.1:{self._gateway_port}"
        self.gateway: Program | None = None
        self.servers: list[Program] = []
        self.server_urls: list[str] = []
        self._ports = [ports.pick(port + at if port else 0) for at in range(3)]
        self.gateway_settings: dict[str, Any] = {}

    async def start_chain(self) -> None:
        """The chain, and coins for the gateway's refunds: their fees are the merchant's."""
        await asyncio.to_thread(self.chain.start)
        rpc = Rpc(self.chain.rpc_url)
        try:
            payer = self.chain.accounts[0].address
            await send(rpc, {"from": payer, "to": self.merchant, "value": hex(ETHER)})
        finally:
            await rpc.close()

    async def start_gateway(self) -> None:
        """The gateway on a ledger in a file, paid in the chain's coin and in its demo token."""
        token = self.chain.token
        self.gateway_settings = {
            "database_url": f"sqlite:///{self.folder / 'ledger.db'}",
            "gateway_api_key": self._api_key,
            "gateway_port": self._gateway_port,
            "evm_networks": [
                {
                    "network": NETWORK,
                    "chain_id": CHAIN_ID,
                    "rpc": [self.chain.rpc_url],
                    "merchant_private_key": self._key,
                    "tokens": [{"symbol": token.symbol, "contract": token.address, "decimals": token.decimals}],
                    "poll_seconds": 0.3,
                }
            ],
        }
        environment = {
            name.upper(): value if isinstance(value, str) else json.dumps(value)
            for name, value in self.gateway_settings.items()
        }
        self.gateway = Program("gateway", ["gateway"], environment, self.folder, f"{self.gateway_url}/health/ready")
        await self.gateway.start()

    async def start_servers(self) -> None:
        """Three servers, each of which sells the same."""
        resources = [
            {"id": "ticker", "name": "Live ticker", "kind": "ticker", "price_per_second": ETH_PRICE},
            {
                "id": "dollars",
                "name": "Live ticker, paid in demo dollars",
                "kind": "ticker",
                "price_per_second": TOKEN_PRICE,
                "asset": self.chain.token.symbol,
            },
        ]
        for port in self._ports:
            url = f"http://127.0.0.1:{port}"
            environment = {
                "PORT": str(port),
                "GATEWAY_URL": self.gateway_url,
                "GATEWAY_API_KEY": self._api_key,
                "RESOURCES": json.dumps(resources),
                "UPDATE_INTERVAL": "500",
                "CHECKPOINT_SECONDS": "1",
                "DRAIN_SECONDS": "1",
                "DEV_RPC_URL": self.chain.rpc_url,
            }
            name = f"server-{port}"
            self.servers.append(Program(name, ["server"], environment, self.folder, f"{url}/gateway-health"))
            self.server_urls.append(url)
        await asyncio.gather(*(server.start() for server in self.servers))

    async def mint(self, address: str, amount: int) -> None:
        """Demo dollars for an account of the chain."""
        rpc = Rpc(self.chain.rpc_url)
        try:
            data = _MINT + address[2:].lower().rjust(64, "0") + f"{amount:064x}"
            await send(rpc, {"from": self.chain.accounts[0].address, "to": self.chain.token.address, "data": data})
        finally:
            await rpc.close()

    async def stop(self) -> None:
        """End everything that was started: servers first, so that their last settlements are delivered."""
        await asyncio.gather(*(server.stop() for server in self.servers))
        if self.gateway is not None:
            await self.gateway.stop()
        await asyncio.to_thread(self.chain.stop)


async def send(rpc: Rpc, transaction: dict[str, str]) -> None:
    """Send from a test account and wait for the block. Raises DemoError."""
    tx = await rpc("eth_sendTransaction", transaction)
    for _ in range(200):
        if await rpc("eth_getTransactionReceipt", tx):
            return
        await asyncio.sleep(0.1)
    raise DemoError(f"The transaction {tx} is in no block after 20 s.")
