"""A wallet on the embedded chain and two servers to pay: the project's own with the mock provider, a scripted one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from tests.client.scripted import ScriptedServer
from tests.fixtures.evm import Evm

from ws402.client import EvmWallet, Store
from ws402.devchain.evm import EvmDevChain
from ws402.provider.mock.provider import MockPaymentProvider
from ws402.server.app import WS402Server, create_server
from ws402.settings import ResourceSettings, ServerSettings

PRICE = 10**13
RESOURCES = [
    ResourceSettings(id="ticker", name="Ticker", kind="ticker", price_per_second=PRICE),
    ResourceSettings(id="dear", name="Dear", kind="ticker", price_per_second=10**16),
    ResourceSettings(
        id="talk",
        kind="python",
        target="tests.server.samples:echo",
        price="0.00001 ETH per hour + 0.00001 ETH per message",
        estimated_use="100 messages",
    ),
]


@dataclass
class OurServer:
    """A running server of the project, its pretended gateway and its address."""

    server: WS402Server
    provider: MockPaymentProvider
    url: str


@pytest.fixture
def chain(shared_devchain: EvmDevChain) -> Iterator[Evm]:
    evm = Evm(shared_devchain.rpc_url, name="devchain")
    yield evm
    evm.close()


@pytest.fixture
def store() -> Iterator[Store]:
    """A payment store in memory."""
    with Store() as opened:
        yield opened


MakeWallet = Callable[..., EvmWallet]


@pytest.fixture
async def make_wallet() -> AsyncIterator[MakeWallet]:
    """Makes wallets as `EvmWallet` does, or of another `kind`, and closes them."""
    made: list[EvmWallet] = []

    def make(node: Any, key: Any, *, kind: type[EvmWallet] = EvmWallet, **options: Any) -> EvmWallet:
        made.append(kind(node, key, **options))
        return made[-1]

    yield make
    for wallet in made:
        await wallet.close()


@pytest.fixture
def wallet(chain: Evm, make_wallet: MakeWallet) -> EvmWallet:
    return make_wallet(chain.url, bytes(chain.account(10**18).key))


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as server:
        yield server


@pytest.fixture
async def ours() -> AsyncIterator[OurServer]:
    provider = MockPaymentProvider()
    settings = ServerSettings(
        port=0, resources=RESOURCES, update_interval=100, max_session_duration=3600, drain_seconds=1
    )
    server = create_server(settings, provider)
    started = asyncio.Event()
    serving = asyncio.create_task(server.serve(started=started.set))
    await asyncio.wait([asyncio.create_task(started.wait()), serving], return_when=asyncio.FIRST_COMPLETED)
    yield OurServer(server, provider, f"http://127.0.0.1:{server.port}")
    await server.stop()
    await serving
