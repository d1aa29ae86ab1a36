"""The ledger is lost, and an old copy put back: what was collected since is found, opens its session, and is not paid
twice."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from tests.fixtures.database import back_up, put_back
from tests.fixtures.evm import Evm
from tests.gateway.collect.world import AMOUNT, NETWORK, Running, Shop, running

from ws402.devchain.evm import EvmDevChain
from ws402.gateway.ledger.tables import attempts, authorizations, deliveries, found_sends, refunds, sessions
from ws402.gateway.refunds import Operator, Policy
from ws402.gateway.refunds.recovery import Reconciliation, Recovery

LONG = 30_000
"""Milliseconds that a server reports: more than have passed, so that what has passed counts."""

CALM = Policy(bump_after_ms=10**9)


@pytest.fixture
def shop(evm_and_ledger: tuple[Evm, str]) -> Shop:
    return Shop(*evm_and_ledger)


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


async def lose(shop: Shop, copy: Path, opened: ExitStack) -> None:
    """From now on the shop's ledger is the old copy."""
    restored = put_back(copy, shop.database_url)
    shop.database_url = await asyncio.to_thread(opened.enter_context, restored)


async def reconcile(gateway: Running) -> Reconciliation:
    service = gateway.gateway.service
    recovery = Recovery(service.database, service.chains, service.addresses)
    while True:
        answer = await recovery.reconcile(NETWORK, dry_run=False)
        if answer.state not in ("looking", "waiting"):
            return answer
        await asyncio.to_thread(gateway.shop.evm.mine)
        await asyncio.sleep(0.05)


async def rows(gateway: Running, query: Any) -> list[Any]:
    async with gateway.gateway.database.read() as connection:
        return list((await connection.execute(query)).all())


async def collectors_pause(gateway: Running) -> None:
    await gateway.until(select(deliveries), 1)  # it has a key in the ledger by then
    operator = Operator(gateway.gateway.database)
    await operator.pause(NETWORK, "a test", address=gateway.shop.keys.collector.address)


async def test_a19_what_was_collected_after_the_copy_opens_its_session_and_is_paid_back_once(
    shop: Shop, opened: ExitStack, tmp_path: Path
) -> None:
    names = ("ended before", "ended since", "live since", "shown since", "shown again")
    payers = {name: await asyncio.to_thread(shop.payer, AMOUNT) for name in names}
    signed = {name: shop.sign(payer) for name, payer in payers.items()}
    async with running(shop) as gateway:
        known = await gateway.collect(signed["ended before"])
        await collectors_pause(gateway)
        for name in ("ended since", "live since"):
            assert (await gateway.show(signed[name])).state == "pending"
        copy = await asyncio.to_thread(back_up, shop.database_url, tmp_path)
        await Operator(gateway.gateway.database).resume(NETWORK)
        used: dict[str, int] = {}
        for name in ("ended before", "ended since"):
            ended = known if name == "ended before" else await gateway.collect(signed[name])
            used[name] = int((await gateway.settle(ended, LONG)).consumed)
            await gateway.refunded(ended.session_id or "")
        assert all(used.values())
        for name in ("live since", "shown since", "shown again"):
            assert (await gateway.collect(signed[name])).state == "open"
        await asyncio.to_thread(shop.evm.mine, 3)
        sent = await gateway.sent()
    assert sent == 5
    await lose(shop, copy, opened)
    async with running(shop, vanish_seconds=5, resume_seconds=5) as gateway:
        # What the copy knows as shown has its session, though nothing is signed yet.
        await gateway.until(select(sessions), 3)
        done = await reconcile(gateway)
        assert sorted(each.collects for each in done.sends) == [0, 0, 1, 1, 1, 1]
        again = await gateway.collect(signed["shown again"])
        assert (again.state, again.payer) == ("open", payers["shown again"].address)
        await gateway.settle(again, 0)
        # Nobody serves the sessions that the copy knew of: they end, unused as far as the ledger can tell.
        final = select(refunds).where(refunds.c.state == "final")
        await gateway.until(final, 2)
        held = select(refunds).where(refunds.c.state == "held")
        await gateway.until(held, 2)
        assert {row.recipient for row in await rows(gateway, final)} == {
            payers[name].address for name in ("live since", "shown again")
        }
        assert {row.recipient for row in await rows(gateway, held)} == {
            payers[name].address for name in ("ended before", "ended since")
        }
        have = {name: shop.held(payer.address) for name, payer in payers.items()}
        assert have == {
            "ended before": AMOUNT - used["ended before"],
            "ended since": AMOUNT - used["ended since"],
            "live since": AMOUNT,
            "shown since": 0,  # its payer shows it again, or the operator sends back what nobody claims
            "shown again": AMOUNT,
        }
        assert await gateway.sent() == sent
        await gateway.check()


@pytest.fixture
def slow_shop(tmp_path: Path) -> Iterator[Shop]:
    with EvmDevChain(block_time=0) as chain:
        evm = Evm(chain.rpc_url, name="devchain")
        yield Shop(evm, f"sqlite:///{tmp_path}/ledger.db")
        evm.close()


async def test_a19_what_was_collected_with_a_higher_fee_after_the_copy_is_no_failure_of_its_payer(
    slow_shop: Shop, opened: ExitStack, tmp_path: Path
) -> None:
    shop = slow_shop
    payer = await asyncio.to_thread(shop.payer)
    transfer = shop.sign(payer)
    shop.evm.automine(False)
    async with running(shop) as gateway:
        worker = gateway.gateway.service.collector.workers[NETWORK]
        worker.context.policy = CALM
        assert (await gateway.show(transfer)).state == "pending"
        copy = await asyncio.to_thread(back_up, shop.database_url, tmp_path)
        worker.context.policy = Policy(bump_after_ms=0)
        for _ in range(400):
            if await gateway.count(attempts) >= 2:
                break
            await asyncio.sleep(0.05)
        worker.context.policy = CALM
        shop.evm.automine(True)
        await asyncio.to_thread(shop.evm.mine, 4)
    await lose(shop, copy, opened)
    async with running(shop) as gateway:
        assert await gateway.count(attempts) == 1
        done = await reconcile(gateway)
        assert (done.sends, len(done.dearer), done.held) == ([], 1, [])
        assert await gateway.count(found_sends) == 0
        await gateway.until(select(deliveries).where(deliveries.c.state == "final"), 1)
        again = await gateway.collect(transfer)
        assert (again.state, again.payer) == ("open", payer.address)
        assert [row.kind for row in await rows(gateway, select(attempts))] == ["collect", "collect"]
        assert [row.state for row in await rows(gateway, select(authorizations))] == ["landed"]
        await gateway.settle(again, 0)
        await gateway.refunded(again.session_id or "")
        assert shop.held(payer.address) == 10 * AMOUNT
        await gateway.check()
