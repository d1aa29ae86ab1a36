"""The ledger's figures for metrics: told by the holder of the key, also while a chain is away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.fixtures.evm import ETHER
from tests.fixtures.processes import free_port
from tests.fixtures.stack import MakeStack, Stack, postgres_ledger
from tests.wire.peers.client import StockClient
from tests.wire.peers.wallet import Wallet

from ws402.gateway.ledger.database import Database, now_ms
from ws402.gateway.ledger.entries import balances, move, post
from ws402.gateway.run.ledger_metrics import SETTLED_MS, Books

FAST = {"LEDGER_METRICS_SECONDS": "1", "AUDIT_SECONDS": "5"}


def values(port: int, name: str) -> dict[tuple[str, ...], float]:
    """A metric's samples by their labels' values."""
    text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    return {tuple(sorted(each.labels.values())): each.value for each in families[name].samples}


async def until(what: str, test: object, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not test():  # type: ignore[operator]
        assert time.monotonic() < end, what
        await asyncio.sleep(0.2)


async def test_sums_that_are_remembered_are_what_all_entries_sum_up_to(database: Database) -> None:
    books = Books(now_ms)
    old = now_ms() - 2 * SETTLED_MS
    for turn in range(4):
        rows = [
            move("chain", "unclaimed", "base", "ETH", 10**24 + turn, "t", f"{turn}-{i}", at)
            for i, at in enumerate((old, old, now_ms()))
        ]
        async with database.begin() as connection:
            await post(connection, rows)
        async with database.read() as connection:
            assert await books.read(connection) == await balances(connection)


async def test_the_ledger_is_told_while_the_chain_is_away(make_stack: MakeStack) -> None:
    port = free_port()
    stack = make_stack(gateway_settings={**FAST, "METRICS_PORT": str(port)})
    async with Wallet(stack.rpc_url) as wallet, StockClient(stack.server_url, wallet) as peer:
        stack.rpc.fund(wallet.address, ETHER)
        async with await peer.buy("ticker", 300) as session:
            await until(
                "a live session is counted", lambda: values(port, "ws402_ledger_sessions")["base-sepolia", "live"]
            )
            assert stack.devchain is not None
            stack.devchain.kill()
            await session.expect("usage_update")
    counted = lambda state: values(port, "ws402_refunds_open").get(("base-sepolia", state), 0)  # noqa: E731
    await until("the refund that cannot be sent is counted", lambda: counted("waiting") + counted("due") == 1)
    assert values(port, "ws402_ledger_sessions")["base-sepolia", "live"] == 0
    await until("the chain is told to be away", lambda: values(port, "ws402_chain_up")[("base-sepolia",)] == 0)


@pytest.fixture
def shared_ledger() -> Iterator[str]:
    with postgres_ledger() as url:
        yield url


@pytest.mark.postgres
async def test_one_of_two_gateways_counts_and_the_other_takes_over(shared_ledger: str, make_stack: MakeStack) -> None:
    ports = [free_port(), free_port()]
    quick = {**FAST, "REFUND_LEASE_SECONDS": "2", "METRICS_PORT": str(ports[0])}
    stack: Stack = make_stack(servers=0, database_url=shared_ledger, gateway_settings=quick)
    await until("the first counts", lambda: values(ports[0], "ws402_refunds_open"))
    stack.add_gateway(METRICS_PORT=str(ports[1]))
    assert values(ports[0], "ws402_signer_lease_held") == {("base-sepolia",): 1}
    assert values(ports[1], "ws402_signer_lease_held") == {("base-sepolia",): 0}
    assert values(ports[1], "ws402_refunds_open") == {}
    stack.gateway.kill()
    await until("the second takes over", lambda: values(ports[1], "ws402_refunds_open"), seconds=40)
    assert values(ports[1], "ws402_signer_lease_held") == {("base-sepolia",): 1}
    stack.gateways[1].stop()  # before its database goes
