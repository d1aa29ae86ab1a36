"""What only a full node shows: base-fee spikes, an emptied pool, a node that reorganises."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.fixtures.evm import ETHER, Evm
from tests.gateway.refunds.world import world

from ws402.gateway.ledger.database import Database
from ws402.gateway.refunds import Policy

SMALL = ETHER // 1000
GWEI = 10**9
QUICK = Policy(resend_after_ms=0, bump_after_ms=200)

pytestmark = pytest.mark.anvil


@pytest.fixture
async def anvil_evm(anvil: str) -> AsyncIterator[Evm]:
    """anvil, left as it was: with a block for each transaction and a low base fee."""
    evm = Evm(anvil, name="anvil")
    set_base_fee(evm, GWEI // 10)
    evm.mine()
    yield evm
    evm.automine(True)
    set_base_fee(evm, GWEI // 10)
    evm.mine()
    evm.close()


def set_base_fee(evm: Evm, wei: int) -> None:
    evm.rpc("anvil_setNextBlockBaseFeePerGas", hex(wei))


async def test_a23_a_base_fee_spike_is_outbid(anvil_evm: Evm, sqlite_database: Database) -> None:
    async with world(anvil_evm, sqlite_database, policy=QUICK) as w:
        payers = await w.payers(5)
        for payer in payers:
            await w.owe(payer, SMALL)
        anvil_evm.mine(2)
        anvil_evm.automine(False)
        await w.step()
        set_base_fee(anvil_evm, 40 * GWEI)
        await w.step(1)
        assert not await w.refunds("confirmed", "final")
        for _ in range(40):
            await asyncio.sleep(0.25)
            set_base_fee(anvil_evm, 40 * GWEI)
            await w.step(1)
            if not await w.refunds("in_flight"):
                break
        await w.finish()
        assert w.engine.counters.bumped >= 5
        payouts = w.payouts()
        assert [payouts[payer.address.lower()] for payer in payers] == [[SMALL]] * 5
        await w.audit()


async def test_a23_above_the_cap_refunds_wait_and_the_fee_stays_below_it(
    anvil_evm: Evm, sqlite_database: Database
) -> None:
    async with world(anvil_evm, sqlite_database, policy=QUICK, network={"max_fee_gwei": 5}) as w:
        (payer,) = await w.payers(1)
        await w.owe(payer, SMALL)
        anvil_evm.mine(2)
        anvil_evm.automine(False)
        await w.step()
        for _ in range(12):
            set_base_fee(anvil_evm, 40 * GWEI)
            await w.step(1)
            await asyncio.sleep(0.25)
        assert len(await w.refunds("in_flight")) == 1
        rows = await w.attempts()
        assert all(row.max_fee <= 21_000 * 5 * GWEI for row in rows)
        set_base_fee(anvil_evm, GWEI // 10)
        await w.finish()
        assert w.received(payer) == SMALL
        assert len(await w.attempts()) == len(rows)
        await w.audit()


async def test_a23_a_node_that_lost_its_pool_gets_everything_again(anvil_evm: Evm, sqlite_database: Database) -> None:
    policy = Policy(resend_after_ms=0, bump_after_ms=3_600_000)
    async with world(anvil_evm, sqlite_database, policy=policy) as w:
        payers = await w.payers(5)
        for payer in payers:
            await w.owe(payer, SMALL)
        anvil_evm.mine(2)
        anvil_evm.automine(False)
        await w.step()
        anvil_evm.rpc("anvil_dropAllTransactions")
        anvil_evm.mine()
        assert not w.payouts()
        await w.finish()
        assert len(await w.attempts()) == 5
        payouts = w.payouts()
        assert [payouts[payer.address.lower()] for payer in payers] == [[SMALL]] * 5
        await w.audit()


async def test_a15_a_reorg_that_removes_a_refund_does_not_lose_or_double_it(
    anvil_evm: Evm, sqlite_database: Database
) -> None:
    async with world(anvil_evm, sqlite_database, policy=Policy(resend_after_ms=0)) as w:
        (payer,) = await w.payers(1)
        await w.owe(payer, SMALL)
        await w.step(2)
        await w.step()
        assert len(await w.refunds("confirmed")) == 1
        anvil_evm.rpc("anvil_reorg", 1, [])
        await w.step()
        assert w.engine.counters.reorged == 1
        await w.finish()
        assert w.payouts()[payer.address.lower()] == [SMALL]
        assert len(await w.attempts()) == 1
        await w.audit()
