"""What the wire's tests stand on: a running stack in each mode, funded wallets, and the stock peers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from typing import Any

import pytest
from tests.fixtures.evm import ETHER
from tests.fixtures.stack import Stack, postgres_ledger
from tests.wire.peers.client import Mode, StockClient
from tests.wire.peers.provider import StockProvider
from tests.wire.peers.wallet import Wallet

SETTINGS: dict[str, dict[str, str]] = {
    "legacy": {"VERIFY_WAIT_SECONDS": "3"},
    "strict": {"VERIFY_WAIT_SECONDS": "3", "BINDINGS": '["tag", "signature", "claim_token"]'},
}
"""The gateway's default takes stock clients; `strict` asks for the payment details' calldata."""

strict_only = pytest.mark.parametrize("mode", ["strict"], indirect=True, scope="session")
"""For a defence that the legacy binding does not claim to give."""

MakeWallet = Callable[..., Awaitable[Wallet]]
MakeClient = Callable[..., Awaitable[StockClient]]


@pytest.fixture(scope="session", params=["legacy", "strict"])
def mode(request: pytest.FixtureRequest) -> Any:
    """How payments are tied to their invoices."""
    return request.param


@pytest.fixture(scope="session")
def ledger(request: pytest.FixtureRequest) -> str:
    """Which database the gateway keeps its ledger in; see `on_both_ledgers`."""
    return str(getattr(request, "param", "sqlite"))


on_both_ledgers = pytest.mark.parametrize(
    "ledger", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)], indirect=True, scope="session"
)
"""For what the database decides."""


@pytest.fixture(scope="session")
def wire(tmp_path_factory: pytest.TempPathFactory, mode: Mode, ledger: str) -> Iterator[Stack]:
    """One chain, one gateway, two servers, in each mode; for many tests, which must not disturb each other."""
    with ExitStack() as opened:
        url = opened.enter_context(postgres_ledger()) if ledger == "postgresql" else None
        folder = tmp_path_factory.mktemp(f"wire-{mode}-{ledger}")
        stack = Stack(folder, gateway_settings=SETTINGS[mode], database_url=url)
        opened.callback(stack.stop)
        stack.start(servers=2)
        yield stack


@pytest.fixture
async def wallet(wire: Stack) -> AsyncIterator[MakeWallet]:
    """Makes wallets that hold one ether each, on the stack's chain or on another's."""
    async with AsyncExitStack() as opened:

        async def make(stack: Stack | None = None) -> Wallet:
            rpc = (stack or wire).rpc
            made = await opened.enter_async_context(Wallet(rpc.url))
            rpc.fund(made.address, ETHER)
            return made

        yield make


@pytest.fixture
async def client(wire: Stack, mode: Mode, wallet: MakeWallet) -> AsyncIterator[MakeClient]:
    """Makes stock clients of the first server (or of `url`), each with a wallet of its own unless it is given one."""
    async with AsyncExitStack() as opened:

        async def make(url: str | None = None, payer: Wallet | None = None) -> StockClient:
            made = StockClient(url or wire.server_url, payer or await wallet(), mode=mode)
            return await opened.enter_async_context(made)

        yield make


@pytest.fixture
async def provider(wire: Stack) -> AsyncIterator[StockProvider]:
    """The stock server's way to the gateway."""
    async with StockProvider(wire.gateway_url, wire.api_key) as made:
        yield made
