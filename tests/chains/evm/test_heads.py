"""RPC endpoints that answer, but not of the chain as it is now; and strangers who keep endpoints busy."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.fixtures.nodes import Node
from tests.fixtures.worlds import EvmWorld

from ws402.chains.base import ChainUnavailableError, TxState
from ws402.chains.evm import EvmChain
from ws402.chains.rpc.http import BusyError, Link

MakeNode = Callable[[str], Node]


def freeze(node: Node, height: int) -> None:
    """Answer as a node that has seen no later block."""

    def older(method: str, params: list[Any], result: Any) -> Any:
        if method == "eth_blockNumber":
            return hex(height)
        if isinstance(result, dict) and int(result.get("number") or result.get("blockNumber") or "0x0", 16) > height:
            return node.ask("eth_getBlockByNumber", hex(height), False) if params[0] == "latest" else None
        return result

    node.change = older


def height(world: EvmWorld) -> int:
    return int(world.evm.rpc("eth_blockNumber"), 16)


async def until(chain: EvmChain, lagging: list[bool]) -> None:
    end = time.monotonic() + 30
    while [each.lagging for each in chain.endpoints()] != lagging:
        assert time.monotonic() < end, chain.endpoints()
        await chain.head()
        await asyncio.sleep(0.05)


async def test_an_endpoint_that_stands_still_is_asked_last_until_it_has_caught_up(
    fresh_world: EvmWorld, make_node: MakeNode
) -> None:
    node = make_node(fresh_world.evm.url)
    freeze(node, height(fresh_world))
    fresh_world.advance(10)
    async with fresh_world.over(node.url, fresh_world.evm.url) as chain:
        await until(chain, [True, False])
        assert (await chain.head()).block == height(fresh_world)
        assert chain.endpoints()[0].behind >= 10
        node.change = lambda method, _, result: result
        await until(chain, [False, False])
        node.calls.clear()
        await chain.head()
        assert node.calls, "it is the first choice again"


async def test_a_transaction_that_one_endpoint_does_not_know_is_asked_of_all(
    fresh_world: EvmWorld, make_node: MakeNode
) -> None:
    blind = [make_node(fresh_world.evm.url) for _ in range(2)]
    for node in blind:
        node.change = lambda method, _, result: None if method.startswith("eth_getTransaction") else result
    async with fresh_world.over(*(each.url for each in blind), fresh_world.evm.url) as chain:
        tx = fresh_world.pay(fresh_world.payer(), "ETH", 5)
        assert [each.amount for each in (await chain.lookup(tx)).transfers] == [5]
        assert (await chain.status(tx)).state is TxState.INCLUDED
        absent = "0x" + "12" * 32
        assert (await chain.lookup(absent)).state is TxState.UNKNOWN
        assert await chain.states([absent, tx]) == [TxState.UNKNOWN, TxState.INCLUDED]


async def test_the_watch_goes_on_while_strangers_proofs_fill_an_endpoint(
    fresh_world: EvmWorld, make_node: MakeNode
) -> None:
    node = make_node(fresh_world.evm.url)
    async with fresh_world.over(node.url, rpc_timeout_seconds=0.5) as chain:
        real = node.change

        def slow(method: str, params: list[Any], result: Any) -> Any:
            if method == "eth_getTransactionByHash":
                time.sleep(0.6)
            return real(method, params, result)

        node.change = slow
        asked = [asyncio.create_task(chain.lookup(f"0x{number:064x}")) for number in range(100)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert all(isinstance(each, ChainUnavailableError) for each in answers)
        node.calls.clear()
        await chain.head()
        assert "eth_chainId" not in node.calls, "for the watch the endpoint has not failed"


async def test_a_purpose_that_uses_all_its_connections_fails_no_endpoint(
    fresh_world: EvmWorld, make_node: MakeNode
) -> None:
    node = make_node(fresh_world.evm.url)
    node.delay = 0.3
    link = Link(0.2, 1)
    try:
        first = asyncio.create_task(link.post(node.url, b"{}"))
        await asyncio.sleep(0)
        with pytest.raises(BusyError):
            async with asyncio.timeout(5):
                await asyncio.gather(link.post(node.url, b"{}"), link.post(node.url, b"{}"))
        await asyncio.gather(first, return_exceptions=True)
    finally:
        await link.close()
