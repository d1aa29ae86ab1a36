"""The gateway, or a server, is killed (SIGKILL) at every step of a session: no unit is lost, none is paid twice."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack
from typing import Any

import httpx
import pytest
from tests.fixtures.evm import ETHER
from tests.fixtures.processes import COMMAND, Process, clean_environment
from tests.fixtures.stack import PRICE, Stack, postgres_ledger
from tests.wire.conftest import on_both_ledgers
from tests.wire.peers.client import StockClient
from tests.wire.peers.provider import ProviderError, StockProvider
from tests.wire.peers.wallet import Wallet

pytestmark = [pytest.mark.slow, on_both_ledgers, pytest.mark.timeout(300)]

SECONDS = 300
DEPOSIT = SECONDS * PRICE
VANISH = 15
"""Seconds after which the gateway settles for a server that is gone: more than a server's longest pause (10 s) between
two attempts to reach a gateway that was away."""

WITHIN = [0.0, 0.002, 0.005, 0.01, 0.02, 0.04]
"""Seconds into a call: before it arrives, in its transaction, after it."""
AFTERWARDS = [0.0, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0]
"""Seconds after a debt was recorded: while it waits for finality, is signed, sent, included."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, ledger: str) -> Iterator[Stack]:
    with ExitStack() as opened:
        url = opened.enter_context(postgres_ledger()) if ledger == "postgresql" else None
        settings = {"VANISH_SECONDS": str(VANISH), "VERIFY_WAIT_SECONDS": "5", "REFUND_LEASE_SECONDS": "2"}
        made = Stack(tmp_path_factory.mktemp("crashes"), gateway_settings=settings, database_url=url)
        opened.callback(made.stop)
        made.start(servers=2)
        yield made


@pytest.fixture
async def opened() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as entered:
        yield entered


async def payer(stack: Stack, opened: AsyncExitStack) -> StockClient:
    wallet = await opened.enter_async_context(Wallet(stack.rpc_url))
    stack.rpc.fund(wallet.address, ETHER)
    return await opened.enter_async_context(StockClient(stack.server_url, wallet))


async def provider(stack: Stack, opened: AsyncExitStack) -> StockProvider:
    return await opened.enter_async_context(StockProvider(stack.gateway_url, stack.api_key, retry_attempts=1))


async def revive(process: Process) -> None:
    process.kill()
    await asyncio.to_thread(process.start)


async def killed_during(call: Any, process: Process, seconds: float) -> dict[str, Any] | None:
    """The call's answer, or None when the kill, `seconds` into it, cost it."""
    task = asyncio.ensure_future(call)
    await asyncio.sleep(seconds)
    await revive(process)
    try:
        answer = await task
    except (ProviderError, httpx.HTTPError):
        return None
    assert isinstance(answer, dict)
    return answer


async def audited(stack: Stack, peers: list[tuple[StockClient, int]]) -> None:
    """Everybody gets what is due and no more, nothing is unfinished, and the ledger agrees with the chain."""
    for peer, expected in peers:
        await peer.wallet.wait_for_balance(expected, 60)
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {stack.admin_key}"}) as http:
        async with asyncio.timeout(30):
            while (await http.get(f"{stack.gateway_url}/api/admin/pending")).json()["refunds"]:
                await asyncio.sleep(0.2)
    for peer, expected in peers:
        assert await peer.wallet.balance() == expected
    audit = [COMMAND, "ops", "--url", stack.gateway_url, "audit"]
    environment = clean_environment({"GATEWAY_ADMIN_KEY": stack.admin_key})
    result = await asyncio.to_thread(subprocess.run, audit, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


async def test_a19_the_gateway_is_killed_while_it_verifies(stack: Stack, opened: AsyncExitStack) -> None:
    calls, ends = await provider(stack, opened), []
    for seconds in WITHIN:
        peer = await payer(stack, opened)
        details = await calls.generate_payment_details(DEPOSIT, "films", SECONDS)
        proof = await peer.pay(details)
        before = await peer.wallet.balance()
        answer = await killed_during(calls.verify_payment(proof), stack.gateway, seconds)
        async with asyncio.timeout(30):
            # A stock server repeats a call whose answer it did not get, and must get the session that it opened.
            while answer is None or not answer["valid"]:
                await asyncio.sleep(0.3)
                answer = await calls.verify_payment(proof)
        assert answer["amount"] == DEPOSIT
        assert not (await calls.verify_payment(proof))["valid"]
        await calls.issue_refund(proof, DEPOSIT)
        ends.append((peer, before + DEPOSIT))
    await audited(stack, ends)


async def test_a19_the_gateway_is_killed_while_it_records_a_refund(stack: Stack, opened: AsyncExitStack) -> None:
    calls, ends = await provider(stack, opened), []
    for seconds in WITHIN:
        peer = await payer(stack, opened)
        proof = await peer.pay(await calls.generate_payment_details(DEPOSIT, "films", SECONDS))
        assert (await calls.verify_payment(proof))["valid"]
        before = await peer.wallet.balance()
        await killed_during(calls.issue_refund(proof, DEPOSIT // 3), stack.gateway, seconds)
        assert (await calls.issue_refund(proof, DEPOSIT // 3))["amount"] == DEPOSIT // 3
        ends.append((peer, before + DEPOSIT // 3))
    await audited(stack, ends)


async def test_a19_the_gateway_is_killed_while_it_delivers_a_refund(stack: Stack, opened: AsyncExitStack) -> None:
    calls, ends = await provider(stack, opened), []
    for seconds in AFTERWARDS:
        peer = await payer(stack, opened)
        proof = await peer.pay(await calls.generate_payment_details(DEPOSIT, "films", SECONDS))
        assert (await calls.verify_payment(proof))["valid"]
        before = await peer.wallet.balance()
        await calls.issue_refund(proof, DEPOSIT)
        await asyncio.sleep(seconds)
        await revive(stack.gateway)
        ends.append((peer, before + DEPOSIT))
    await audited(stack, ends)


async def test_a19_the_gateway_is_killed_under_a_live_session(stack: Stack, opened: AsyncExitStack) -> None:
    ends = []
    for seconds in (0.0, 0.3, 0.8):
        peer = await payer(stack, opened)
        schema = await peer.schema("ticker")
        proof = await peer.pay(schema["paymentDetails"])
        before = await peer.wallet.balance()
        async with await peer.open("ticker") as session:
            await session.start(proof)
            await asyncio.sleep(seconds)
            stack.gateway.kill()
            await asyncio.sleep(0.5)
            await session.expect("usage_update")
            await asyncio.to_thread(stack.gateway.start)
            last = await session.expect("usage_update")
        after = await peer.wallet.wait_for_balance(before + 1)
        assert last["consumedAmount"] <= DEPOSIT - (after - before) <= last["consumedAmount"] + 5 * PRICE
        ends.append((peer, after))
    await audited(stack, ends)


async def test_a19_the_gateway_is_killed_as_a_session_ends(stack: Stack, opened: AsyncExitStack) -> None:
    ends = []
    for seconds in (0.0, 0.01, 0.05, 0.2):
        peer = await payer(stack, opened)
        schema = await peer.schema("ticker")
        proof = await peer.pay(schema["paymentDetails"])
        before = await peer.wallet.balance()
        session = await peer.open("ticker")
        await session.start(proof)
        last = await session.expect("usage_update")
        await session.close()
        await asyncio.sleep(seconds)
        await revive(stack.gateway)
        after = await peer.wallet.wait_for_balance(before + 1)
        assert last["consumedAmount"] <= DEPOSIT - (after - before) <= last["consumedAmount"] + 2 * PRICE
        ends.append((peer, after))
    await audited(stack, ends)


async def test_a19_a_server_is_killed_at_any_step_of_a_session(stack: Stack, opened: AsyncExitStack) -> None:
    killed = []
    for seconds in (*WITHIN, 0.1, 0.7, 1.6):
        peer = await payer(stack, opened)
        schema = await peer.schema("ticker")
        proof = await peer.pay(schema["paymentDetails"])
        before = await peer.wallet.balance()
        session = await peer.open("ticker")
        await session.prove(proof)
        await asyncio.sleep(seconds)
        stack.server.kill()
        await session.closed()
        # Either the proof had opened a session, which the gateway settles, or it still opens one at another server.
        elsewhere = await opened.enter_async_context(StockClient(stack.server_urls[1], peer.wallet))
        async with await elsewhere.open("ticker") as second:
            await second.prove(proof)
            kind = (await second.expect("session_started", "payment_rejected"))["type"]
        killed.append((peer, before, f"killed after {seconds} s, then {kind}", seconds))
        await asyncio.to_thread(stack.server.start)
    ends = []
    for peer, before, told, seconds in killed:
        after = await peer.wallet.wait_for_balance(before + 1, VANISH + 30)
        assert DEPOSIT - (after - before) <= (seconds + 2) * PRICE, told
        ends.append((peer, after))
    await audited(stack, ends)
