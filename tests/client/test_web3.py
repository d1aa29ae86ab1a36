"""A wallet over the caller's web3: it stays the caller's, errors are the wallet's, and nobody else loads web3."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator

import pytest
from tests.client.conftest import MakeWallet
from tests.client.scripted import PRICE, ScriptedServer
from tests.fixtures.evm import Evm
from web3 import AsyncHTTPProvider, AsyncWeb3
from web3.providers.async_base import AsyncBaseProvider
from web3.types import RPCEndpoint, RPCResponse

from ws402.client import NodeUnavailableError, WalletError, connect


@pytest.fixture
async def web3(chain: Evm) -> AsyncIterator[AsyncWeb3[AsyncHTTPProvider]]:
    made = AsyncWeb3(AsyncHTTPProvider(chain.url))
    yield made
    await made.provider.disconnect()


async def test_a_session_is_paid_through_it_and_it_stays_open(
    scripted: ScriptedServer, chain: Evm, make_wallet: MakeWallet, web3: AsyncWeb3[AsyncHTTPProvider]
) -> None:
    wallet = make_wallet(web3, chain.account())
    async with connect(
        scripted.url, wallet=wallet, resource="ticker", duration=60, max_amount=10**17, trust_first_use=True
    ) as session:
        assert session.paid == 60 * PRICE
    await wallet.close()
    assert await web3.eth.get_transaction_count(web3.to_checksum_address(wallet.address)) == 1


async def test_a_contract_that_is_no_token_is_told(
    chain: Evm, make_wallet: MakeWallet, web3: AsyncWeb3[AsyncHTTPProvider]
) -> None:
    wallet = make_wallet(web3, chain.account())
    for read in (wallet.decimals, wallet.balance):
        with pytest.raises(WalletError, match="refuses") as refused:
            await read("0x" + "0c" * 20)
        assert refused.value.code == "node_refused"


async def test_a_refused_call_has_the_nodes_words(
    chain: Evm, make_wallet: MakeWallet, web3: AsyncWeb3[AsyncHTTPProvider]
) -> None:
    by_url, by_web3 = make_wallet(chain.url, "0x" + "31" * 32), make_wallet(web3, "0x" + "31" * 32)
    said = []
    for wallet in (by_url, by_web3):
        with pytest.raises(WalletError) as refused:
            await wallet._call("eth_getBalance", "0x12", "latest")
        said.append(refused.value.message)
    assert said[0] == said[1]


async def test_a46_a_node_that_is_away_is_named_without_its_access_key(make_wallet: MakeWallet) -> None:
    web3 = AsyncWeb3(AsyncHTTPProvider("http://127.0.0.1:9/v2/SECRET", exception_retry_configuration=None))
    wallet = make_wallet(web3, "0x" + "11" * 32)
    with pytest.raises(NodeUnavailableError, match=r"127\.0\.0\.1:9") as failed:
        await wallet.chain()
    assert "SECRET" not in str(failed.value)
    assert "SECRET" not in repr(wallet)
    await web3.provider.disconnect()


class Stranger(AsyncBaseProvider):
    """A caller's own provider, without an address, that counts what it is asked."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.inner = AsyncHTTPProvider(url)
        self.asked: list[str] = []

    async def make_request(self, method: RPCEndpoint, params: object) -> RPCResponse:
        self.asked.append(method)
        return await self.inner.make_request(method, params)


async def test_every_call_goes_through_the_callers_provider(chain: Evm, make_wallet: MakeWallet) -> None:
    provider = Stranger(chain.url)
    wallet = make_wallet(AsyncWeb3(provider), chain.account(5))
    assert await wallet.balance() == 5
    assert await wallet.chain() == f"eip155:{chain.chain_id}"
    assert provider.asked == ["eth_getBalance", "eth_chainId"]
    assert repr(wallet).endswith("on Stranger)")
    await provider.inner.disconnect()


def test_who_gives_no_web3_does_not_load_it() -> None:
    code = (
        "import sys, ws402.cli.pay; from ws402.client import EvmWallet;"
        "EvmWallet('http://127.0.0.1:9', '0x' + '11' * 32);"
        "print(sorted({'web3', 'aiohttp'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
