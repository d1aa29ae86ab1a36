"""What the demonstration starts: embedded chains in this process, the gateway and the servers as they really run."""

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

from ws402.demo.chains import DemoChain, DemoError, EvmDemoChain, Goods, SolanaDemoChain

START_SECONDS: Final = 30
STOP_SECONDS: Final = 15
_RUN: Final = "from ws402.cli import main; main()"


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

    def pick_pair(self, wanted: int) -> int:
        """The wanted port when it and the next one are free, else 0: whoever listens takes any free pair."""
        first = self.pick(wanted)
        return first if first == wanted and self.pick(first + 1) == first + 1 else 0


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

    def __init__(self, folder: Path, *, port: int, gateway_port: int, rpc_port: int, solana_port: int) -> None:
        self.folder = folder
        self._api_key = secrets.token_hex(32)
        self._wanted = port, gateway_port
        self._free = Ports()
        self.evm = EvmDemoChain(self._free.pick(rpc_port))
        self.solana = SolanaDemoChain(self._free.pick_pair(solana_port))
        self.chains: tuple[DemoChain, ...] = (self.evm, self.solana)
        self.gateway_url = ""
        self.gateway: Program | None = None
        self.servers: list[Program] = []
        self.server_urls: list[str] = []
        self.gateway_settings: dict[str, Any] = {}

    def find(self, resource: str) -> tuple[DemoChain, Goods]:
        """A resource and the chain that it is paid on."""
        return next((chain, each) for chain in self.chains for each in chain.goods if each.id == resource)

    async def start_chains(self) -> None:
        """Both."""
        await asyncio.gather(*(chain.start() for chain in self.chains))

    async def start_gateway(self) -> None:
        """One gateway on a ledger in a file, paid in the coins and in the demo tokens of both chains."""
        port = self._free.pick(self._wanted[1])  # now: until it is used, somebody else may take it
        self.gateway_url = f"http://127.0.0.1:{port}"
        self.gateway_settings = {
            "database_url": f"sqlite:///{self.folder / 'ledger.db'}",
            "gateway_api_key": self._api_key,
            "gateway_port": port,
        }
        for name, entry in (chain.settings() for chain in self.chains):
            self.gateway_settings[name] = [entry]
        environment = {
            name.upper(): value if isinstance(value, str) else json.dumps(value)
            for name, value in self.gateway_settings.items()
        }
        self.gateway = Program("gateway", ["gateway"], environment, self.folder, f"{self.gateway_url}/health/ready")
        await self.gateway.start()

    async def start_servers(self) -> None:
        """Three servers, each of which sells the same."""
        resources = [
            {
                "id": each.id,
                "name": each.name,
                "kind": "ticker",
                "price_per_second": each.price,
                "network": chain.network,
                "asset": each.symbol,
            }
            for chain in self.chains
            for each in chain.goods
        ]
        wanted = self._wanted[0]
        for port in [self._free.pick(wanted + at if wanted else 0) for at in range(3)]:
            url = f"http://127.0.0.1:{port}"
            environment = {
                "PORT": str(port),
                "GATEWAY_URL": self.gateway_url,
                "GATEWAY_API_KEY": self._api_key,
                "RESOURCES": json.dumps(resources),
                "UPDATE_INTERVAL": "500",
                "CHECKPOINT_SECONDS": "1",
                "DRAIN_SECONDS": "1",
                "DEV_RPC_URL": self.evm.rpc_url,
                "DEV_SOLANA_RPC_URL": self.solana.rpc_url,
            }
            name = f"server-{port}"
            self.servers.append(Program(name, ["server"], environment, self.folder, f"{url}/gateway-health"))
            self.server_urls.append(url)
        await asyncio.gather(*(server.start() for server in self.servers))

    async def stop(self) -> None:
        """End everything that was started: servers first, so that their last settlements are delivered."""
        await asyncio.gather(*(server.stop() for server in self.servers))
        if self.gateway is not None:
            await self.gateway.stop()
        await asyncio.gather(*(chain.stop() for chain in self.chains))
