"""RPC endpoints that are wrong, slow, down, odd or lying."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr
from tests.fixtures.nodes import Node
from tests.fixtures.processes import free_port
from tests.fixtures.worlds import EvmWorld

from ws402.chains.base import (
    BroadcastRefusedError,
    ChainUnavailableError,
    TxState,
    WrongChainError,
)
from ws402.chains.registry import chains_for
from ws402.chains.rpc import endpoint
from ws402.devchain.evm import EvmDevChain
from ws402.errors import ConfigurationError
from ws402.settings import EvmNetworkSettings, TokenSettings

MakeNode = Callable[[str], Node]
SECRET = "secret-access-key"


def nowhere() -> str:
    return f"http://127.0.0.1:{free_port()}/v2/{SECRET}"


# --- The wrong chain -------------------------------------------------------------------------------------------------


async def test_a12_an_endpoint_of_another_chain_is_refused_at_the_start(fresh_world: EvmWorld) -> None:
    with EvmDevChain(block_time=0, chain_id=1337) as other:
        url = f"{other.rpc_url}/{SECRET}"
        for urls in ([url], [fresh_world.evm.url, url]):
            with pytest.raises(WrongChainError, match="serves chain 1337, not 84532") as caught:
                async with fresh_world.over(*urls):
                    pass
            assert SECRET not in str(caught.value)


async def test_a12_an_endpoint_that_changes_its_chain_fails_readiness(
    fresh_world: EvmWorld, make_node: MakeNode
) -> None:
    node = make_node(fresh_world.evm.url)
    async with fresh_world.over(node.url) as chain:
        await chain.check()
        node.change = lambda method, _, result: "0x1" if method == "eth_chainId" else result
        with pytest.raises(WrongChainError):
            await chain.check()


async def test_a12_an_endpoint_must_show_its_chain_anew_after_it_failed(
    fresh_world: EvmWorld, make_node: MakeNode
) -> None:
    node = make_node(fresh_world.evm.url)
    async with fresh_world.over(node.url) as chain:
        node.status = 502
        with pytest.raises(ChainUnavailableError):
            await chain.head()
        node.status = None
        node.change = lambda method, _, result: "0x1" if method == "eth_chainId" else result
        with pytest.raises(ChainUnavailableError, match="serves chain 1"):
            await chain.head()


# --- Fail-over -------------------------------------------------------------------------------------------------------


async def test_no_endpoint_at_all_is_one_clear_error(fresh_world: EvmWorld) -> None:
    with pytest.raises(ChainUnavailableError, match="No RPC endpoint of base-sepolia answers") as caught:
        async with fresh_world.over(nowhere(), nowhere()):
            pass
    assert caught.value.remedy
    assert SECRET not in str(caught.value)


async def test_one_of_two_endpoints_is_enough(fresh_world: EvmWorld) -> None:
    async with fresh_world.over(nowhere(), fresh_world.evm.url) as chain:
        assert (await chain.head()).block > 0
        await chain.check()


def broken(node: Node, how: str) -> None:
    match how:
        case "down":
            node.status = 503
        case "limited":
            node.status = 429
        case "limited in JSON":
            node.errors["*"] = {"code": -32005, "message": "daily request count exceeded, request rate limited"}
        case "behind":
            node.change = lambda method, _, result: None if method == "eth_getBlockByNumber" else result
        case "garbage":
            node.change = lambda method, _, result: ["?"] if method == "eth_getBlockByNumber" else result
        case "slow":
            node.delay = 3.0


@pytest.mark.parametrize("how", ["down", "limited", "limited in JSON", "behind", "garbage", "slow"])
async def test_the_next_endpoint_takes_over(fresh_world: EvmWorld, make_node: MakeNode, how: str) -> None:
    node = make_node(fresh_world.evm.url)
    async with fresh_world.over(node.url, fresh_world.evm.url, rpc_timeout_seconds=0.5) as chain:
        tx = fresh_world.pay(fresh_world.payer(), "ETH", 5)
        broken(node, how)
        head = await chain.head()
        blocks = await chain.blocks(head.block, head.block)
        assert [each.tx for each in blocks[0].transfers] == [tx]


async def test_a_failing_endpoint_is_left_alone_for_a_while_and_used_again(
    fresh_world: EvmWorld, make_node: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(endpoint, "time", SimpleNamespace(monotonic=lambda: now))
    node = make_node(fresh_world.evm.url)
    async with fresh_world.over(node.url, fresh_world.evm.url) as chain:
        # The start compares heads in the background, which asks every endpoint.
        await asyncio.gather(*(each for each in asyncio.all_tasks() if each.get_name().startswith("compare the heads")))
        node.status = 503
        await chain.head()
        node.calls.clear()
        for _ in range(5):
            await chain.head()
        assert node.calls == []
        node.status = None
        now += 1
        await chain.head()
        assert node.calls[0] == "eth_chainId"


async def test_a_revert_is_an_answer_and_no_fault_of_the_endpoint(fresh_world: EvmWorld, make_node: MakeNode) -> None:
    node = make_node(fresh_world.evm.url)
    async with fresh_world.over(node.url, nowhere()) as chain:
        assert not await chain.check_signature(fresh_world.contract.address, "text", "0x" + "11" * 65)
        node.calls.clear()
        await chain.head()
        assert node.calls, "the endpoint is still the first choice"


async def test_an_endpoint_that_takes_only_small_batches_is_served_in_small_ones(
    fresh_world: EvmWorld, make_node: MakeNode
) -> None:
    node = make_node(fresh_world.evm.url)
    node.max_batch = 3
    async with fresh_world.over(node.url) as chain:
        tx = fresh_world.pay(fresh_world.payer(), "DUSD", 5)
        fresh_world.advance(20)
        head = await chain.head()
        blocks = await chain.blocks(head.block - 20, head.block)
        assert len(blocks) == 21
        assert [each.tx for block in blocks for each in block.transfers] == [tx]


@pytest.mark.parametrize(
    "lie",
    [
        lambda method, _, result: (
            [dict(each, blockHash="0x" + "00" * 32) for each in result] if method == "eth_getLogs" else result
        ),
        lambda method, _, result: (
            dict(result, blockHash="0x" + "00" * 32) if method == "eth_getTransactionReceipt" else result
        ),
        lambda method, params, result: (
            dict(result, number="0x1")
            if method == "eth_getBlockByNumber" and params[0] not in ("latest", "finalized")
            else result
        ),
    ],
    ids=["logs", "receipt", "number"],
)
async def test_a15_answers_about_different_blocks_are_not_mixed(
    fresh_world: EvmWorld, make_node: MakeNode, lie: Any
) -> None:
    node = make_node(fresh_world.evm.url)
    async with fresh_world.over(node.url) as chain:
        payer = fresh_world.payer()
        fresh_world.pay(payer, "DUSD", 5)
        fresh_world.pay(payer, "ETH", 5)
        head = await chain.head()
        assert sum(len(each.transfers) for each in await chain.blocks(head.block - 1, head.block)) == 2
        node.change = lie
        with pytest.raises(ChainUnavailableError):
            await chain.blocks(head.block - 1, head.block)


# --- Lies ------------------------------------------------------------------------------------------------------------


def inflate(method: str, params: list[Any], result: Any) -> Any:
    """A node that says a thousand times as much was paid."""
    if method == "eth_getTransactionByHash" and result:
        return dict(result, value=hex(int(result["value"], 16) * 1000))
    return result


async def test_a45_two_endpoints_must_agree_on_a_large_payment(fresh_world: EvmWorld, make_node: MakeNode) -> None:
    liar = make_node(fresh_world.evm.url)
    honest = fresh_world.evm.url
    large, small = (fresh_world.pay(fresh_world.payer(), "ETH", amount) for amount in (1001, 1000))
    async with fresh_world.over(liar.url, honest, agree_above={"ETH": 1000}) as chain:
        assert (await chain.lookup(large)).transfers[0].amount == 1001
        liar.calls.clear()
        assert (await chain.lookup(small)).transfers[0].amount == 1000
        liar.change = inflate
        with pytest.raises(ChainUnavailableError, match="No two RPC endpoints of base-sepolia agree"):
            await chain.lookup(large)
        with pytest.raises(ChainUnavailableError):
            await chain.lookup(small)  # as the liar has it, it is large


async def test_a45_a_third_endpoint_settles_it(fresh_world: EvmWorld, make_node: MakeNode) -> None:
    liar, other = make_node(fresh_world.evm.url), make_node(fresh_world.evm.url)
    liar.change = inflate
    tx = fresh_world.pay(fresh_world.payer(), "ETH", 5000)
    async with fresh_world.over(liar.url, other.url, fresh_world.evm.url, agree_above={"ETH": 1000}) as chain:
        assert (await chain.lookup(tx)).transfers[0].amount == 5000


async def test_a45_an_endpoint_that_hides_a_large_payment_is_not_believed(
    fresh_world: EvmWorld, make_node: MakeNode
) -> None:
    blind = make_node(fresh_world.evm.url)
    tx = fresh_world.pay(fresh_world.payer(), "ETH", 5000)
    async with fresh_world.over(blind.url, fresh_world.evm.url, agree_above={"ETH": 1000}) as chain:
        blind.change = lambda method, _, result: None if method.startswith("eth_getTransaction") else result
        for amount in (0, 5000):
            with pytest.raises(ChainUnavailableError, match="agree"):
                await chain.lookup(tx, amount=amount)


async def test_a45_one_endpoint_alone_cannot_answer_for_a_large_payment(
    fresh_world: EvmWorld, make_node: MakeNode
) -> None:
    node = make_node(fresh_world.evm.url)
    tx = fresh_world.pay(fresh_world.payer(), "ETH", 5000)
    async with fresh_world.over(fresh_world.evm.url, node.url, agree_above={"ETH": 1000}) as chain:
        node.status = 503
        with pytest.raises(ChainUnavailableError, match="Two must agree"):
            await chain.lookup(tx)


async def test_a45_a_large_refund_is_not_final_by_one_endpoints_word(
    fresh_world: EvmWorld, make_node: MakeNode
) -> None:
    liar = make_node(fresh_world.evm.url)
    async with fresh_world.over(liar.url, fresh_world.evm.url, agree_above={"ETH": 1000}, final_after=None) as chain:
        tx = fresh_world.evm.send(fresh_world.key, fresh_world.nobody(), value=5000)
        real = liar.change

        def claim(method: str, params: list[Any], result: Any) -> Any:
            if method == "eth_getBlockByNumber" and params[0] == "finalized":
                return dict(result, number="0xffff")
            return result

        liar.change = claim
        status = await chain.status(tx)
        assert (status.state, status.final) == (TxState.INCLUDED, False)
        liar.change = real
        fresh_world.advance(5)
        assert (await chain.status(tx)).state is TxState.FINAL


# --- Refused transactions --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("nonce too low: next nonce 5, tx nonce 4", "nonce_used"),  # geth, reth, op-geth
        ("OldNonce, Current nonce: 5, nonce of rejected tx: 4", "nonce_used"),  # Nethermind
        ("Nonce too low", "nonce_used"),  # Besu
        ("replacement transaction underpriced", "underpriced"),
        ("transaction underpriced: tip needed 1, tip permitted 0", "underpriced"),
        ("FeeTooLow, MaxFeePerGas too low", "underpriced"),
        ("max fee per gas less than block base fee: address 0x1, maxFeePerGas: 1, baseFee: 2", "underpriced"),
        ("insufficient funds for gas * price + value: balance 0, tx cost 1, overshot 1", "insufficient_funds"),
        ("Insufficient funds for gas * price + value", "insufficient_funds"),
        ("invalid sender", "other"),
        ("exceeds block gas limit", "other"),
    ],
)
async def test_a_refusal_is_understood_in_every_nodes_words(
    fresh_world: EvmWorld, make_node: MakeNode, message: str, reason: str
) -> None:
    node = make_node(fresh_world.evm.url)
    node.errors["eth_sendRawTransaction"] = {"code": -32000, "message": message}
    async with fresh_world.over(node.url) as chain:
        signed = await chain.sign(fresh_world.order(fresh_world.nobody(), 1), fresh_world.signer, nonce=9)
        with pytest.raises(BroadcastRefusedError) as caught:
            await chain.broadcast(signed)
        assert caught.value.reason == reason
        assert signed.raw.hex() not in str(caught.value)


@pytest.mark.parametrize("message", ["already known", "AlreadyKnown", "transaction already imported"])
async def test_a18_sending_again_is_no_error_in_any_nodes_words(
    fresh_world: EvmWorld, make_node: MakeNode, message: str
) -> None:
    node = make_node(fresh_world.evm.url)
    node.errors["eth_sendRawTransaction"] = {"code": -32000, "message": message}
    async with fresh_world.over(node.url) as chain:
        signed = await chain.sign(fresh_world.order(fresh_world.nobody(), 1), fresh_world.signer, nonce=0)
        await chain.broadcast(signed)


async def test_a48_a_full_pool_or_a_limit_is_no_refusal(fresh_world: EvmWorld, make_node: MakeNode) -> None:
    node = make_node(fresh_world.evm.url)
    async with fresh_world.over(node.url) as chain:
        signed = await chain.sign(fresh_world.order(fresh_world.nobody(), 1), fresh_world.signer, nonce=0)
        for error in ({"code": -32000, "message": "txpool is full"}, {"code": -32005, "message": "limit exceeded"}):
            node.errors["eth_sendRawTransaction"] = error
            with pytest.raises(ChainUnavailableError):
                await chain.broadcast(signed)
        node.errors.clear()
        await chain.broadcast(signed)
        assert (await chain.status(signed.tx)).state is TxState.INCLUDED


# --- Secrets and settings --------------------------------------------------------------------------------------------


async def test_a46_access_keys_of_endpoints_are_in_no_log_or_error(
    fresh_world: EvmWorld, make_node: MakeNode, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    node = make_node(fresh_world.evm.url)
    async with fresh_world.over(node.url, nowhere()) as chain:
        await chain.head()
        node.status = 500
        with pytest.raises(ChainUnavailableError) as caught:
            await chain.head()
        node.status = None
        node.max_batch = 1
        await chain.head()
    assert "127.0.0.1" in str(caught.value)
    assert SECRET not in str(caught.value) + caplog.text + repr(chain.__dict__)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"tokens": [("X", "0x" + "12" * 20, 6)]}, "there is no token at"),
        ({"tokens": [("DUSD", None, 18)]}, "has 6 decimals, not 18"),
        ({"tokens": [("ETH", None, 6)]}, "two assets named ETH"),
        ({"tokens": [("A", None, 6), ("B", None, 6)]}, "lists the token .* twice"),
        ({"tokens": [("A", "0x1234", 6)]}, "not an EVM address"),
        ({"merchant_private_key": None}, "no address to be paid at"),
        ({"merchant_wallet": "0xabc"}, "not an EVM address"),
        ({"large_above": {"EHT": 5}}, "limits for unknown assets: EHT"),
        ({"agree_above": {"ETH": 5}}, "agree_above needs two RPC endpoints"),
    ],
)
async def test_a_wrong_setting_is_told_at_the_start(fresh_world: EvmWorld, change: dict[str, Any], told: str) -> None:
    if "tokens" in change:
        tokens = [
            TokenSettings(symbol=symbol, contract=contract or fresh_world.contract.address, decimals=decimals)
            for symbol, contract, decimals in change["tokens"]
        ]
        change = {"tokens": tokens}
    with pytest.raises(ConfigurationError, match=told):
        async with fresh_world.over(fresh_world.evm.url, **change):
            pass


async def test_the_merchants_wallet_may_be_another_than_the_refund_key(fresh_world: EvmWorld) -> None:
    cold = fresh_world.nobody()
    async with fresh_world.over(fresh_world.evm.url, merchant_wallet=cold.lower()) as chain:
        assert chain.recipient == cold
        assert chain.address_of(fresh_world.signer) == fresh_world.key.address


async def test_a_chain_without_finalized_blocks_says_what_to_set(fresh_world: EvmWorld, make_node: MakeNode) -> None:
    node = make_node(fresh_world.evm.url)
    node.change = lambda method, params, result: None if params[:1] == ["finalized"] else result
    with pytest.raises(ChainUnavailableError, match="set final_after"):
        async with fresh_world.over(node.url, final_after=None):
            pass
    async with fresh_world.over(node.url, final_after=1) as chain:
        head = await chain.head()
        assert head.final == head.block - 1


def network(name: str, chain_id: int) -> EvmNetworkSettings:
    return EvmNetworkSettings(
        network=name, chain_id=chain_id, rpc=[SecretStr("http://127.0.0.1:1")], merchant_wallet="0x" + "11" * 20
    )


def test_each_network_is_configured_once() -> None:
    assert list(chains_for([network("base", 8453), network("base-sepolia", 84532)])) == ["base", "base-sepolia"]
    for second in (network("base", 1), network("other", 8453)):
        with pytest.raises(ConfigurationError, match="configured twice"):
            chains_for([network("base", 8453), second])
