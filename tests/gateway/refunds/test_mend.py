"""Nonces under fire: lost, stuck, stolen and missing transactions."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import AsyncExitStack, closing
from typing import Any

import pytest
from sqlalchemy import update
from tests.fixtures.evm import ETHER, Evm
from tests.gateway.refunds.world import World, world

from ws402.chains.base import BroadcastRefusedError, ChainUnavailableError, SignedTransaction
from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.tables import signers
from ws402.gateway.refunds import Policy

SMALL = ETHER // 1000
CALM = Policy(resend_after_ms=3_600_000, bump_after_ms=3_600_000)
EAGER = Policy(resend_after_ms=0, bump_after_ms=0)


async def in_pool(w: World, evm: Evm, count: int = 1) -> list[Any]:
    """Refunds that are signed and sent, while no blocks are made; answers the payers."""
    payers = await w.payers(count)
    for payer in payers:
        await w.owe(payer, SMALL)
    evm.mine(2)
    evm.automine(False)
    await w.step()
    return payers


def outbid(evm: Evm, w: World, nonce: int, **fields: Any) -> None:
    """Somebody else uses the key: a transaction with this nonce and a fee that beats ours gets into a block."""
    fee = {"maxFeePerGas": 50 * 10**9, "maxPriorityFeePerGas": 40 * 10**9}
    raw = evm.sign(w.key, evm.funder.address, value=1, nonce=nonce, gas=21_000, **fee, **fields)
    evm.submit(raw)
    evm.mine()


async def test_a23_a_transaction_that_nodes_forgot_is_sent_again(devchain_evm: Evm, database: Database) -> None:
    policy = Policy(resend_after_ms=0, bump_after_ms=3_600_000)
    async with world(devchain_evm, database, policy=policy) as w:
        payers = await in_pool(w, devchain_evm, 3)
        for row in await w.attempts():
            devchain_evm.rpc("anvil_dropTransaction", row.tx)
        assert devchain_evm.rpc("txpool_status")["pending"] == "0x0"
        await w.step()
        assert devchain_evm.rpc("txpool_status")["pending"] == "0x3"
        assert len(await w.attempts()) == 3
        await w.finish()
        assert [w.received(payer) for payer in payers] == [SMALL] * 3
        await w.audit()


async def test_a23_a_stuck_transaction_gets_a_higher_fee_under_its_nonce(devchain_evm: Evm, database: Database) -> None:
    async with world(devchain_evm, database, policy=EAGER) as w:
        payers = await in_pool(w, devchain_evm, 2)
        await w.step()
        rows = await w.attempts()
        assert [(row.number, row.nonce - rows[0].nonce) for row in rows] == [(1, 0), (2, 0), (1, 1), (2, 1)]
        assert rows[1].max_fee > rows[0].max_fee
        await w.finish()
        assert [w.received(payer) for payer in payers] == [SMALL] * 2
        winners = {row.tx for row in await w.deliveries()}
        assert winners == {rows[1].tx, rows[3].tx}
        await w.audit()


async def test_a23_the_first_attempt_may_win_after_it_was_replaced(devchain_evm: Evm, database: Database) -> None:
    async with world(devchain_evm, database, policy=EAGER) as w:
        (payer,) = await in_pool(w, devchain_evm)
        await w.step()
        first, second = await w.attempts()
        devchain_evm.rpc("anvil_dropTransaction", second.tx)
        devchain_evm.submit(first.raw)
        devchain_evm.mine()
        await w.finish()
        assert w.received(payer) == SMALL
        assert (await w.deliveries())[0].tx == first.tx
        await w.audit()


async def test_a23_a_nonce_that_no_delivery_has_is_used_up(devchain_evm: Evm, database: Database) -> None:
    async with world(devchain_evm, database, policy=CALM) as w:
        (payer,) = await w.payers(1)
        await w.step()
        async with database.begin() as connection:
            await connection.execute(update(signers).values(next_nonce=(await _next(w)) + 2))
        await w.owe(payer, SMALL)
        await w.finish()
        assert w.received(payer) == SMALL
        rows = await w.deliveries()
        assert [(row.kind, row.state) for row in rows] == [("cancel", "final")] * 2 + [("refund", "final")]
        assert [row.nonce - rows[0].nonce for row in rows] == [0, 1, 2]
        await w.audit()


async def _next(w: World) -> int:
    nonce = await w.chain.next_nonce(w.wallet)
    assert nonce is not None
    return nonce


async def test_a23_a_nonce_that_somebody_else_used_pays_nobody_twice(devchain_evm: Evm, database: Database) -> None:
    async with world(devchain_evm, database, policy=CALM) as w:
        (payer,) = await in_pool(w, devchain_evm)
        (row,) = await w.deliveries()
        outbid(devchain_evm, w, row.nonce)
        await w.step()
        assert len(await w.refunds("in_flight")) == 1  # not believed before it is final
        devchain_evm.automine(True)
        for _ in range(4):
            await w.step(1)
        assert len(await w.refunds("due")) == 1
        assert "ledger does not know" in w.engine.stats()["base-sepolia"]["paused"]
        assert w.engine.counters.foreign == 1
        assert w.received(payer) == 0
        await w.operator.resume("base-sepolia")
        await w.finish()
        assert w.received(payer) == SMALL


async def test_a24_a_key_that_is_used_elsewhere_is_paused(devchain_evm: Evm, database: Database) -> None:
    async with world(devchain_evm, database, policy=CALM) as w:
        one, two = await w.payers(2)
        await w.owe(one, SMALL)
        await w.finish()
        outbid(devchain_evm, w, await _next(w))
        refund_id = await w.owe(two, SMALL)
        for _ in range(4):
            await w.step(1)
        assert (await w.refund(refund_id)).state == "due"
        assert "used by transactions that the ledger does not know" in (await w.signer()).pause_reason
        await w.operator.resume("base-sepolia")
        await w.finish()
        assert w.received(two) == SMALL


async def test_a19_an_old_copy_of_the_ledger_does_not_pay_again_by_itself(
    devchain_evm: Evm, sqlite_database: Database, tmp_path: Any
) -> None:
    copy = tmp_path / "old.db"
    async with world(devchain_evm, sqlite_database) as w:
        (payer,) = await w.payers(1)
        await w.step()
        await w.owe(payer, SMALL)
        devchain_evm.mine(2)
        await asyncio.to_thread(_copy, tmp_path / "ledger.db", copy)
        await w.finish()
        assert w.received(payer) == SMALL
        key = w.key
    async with AsyncExitStack() as stack:
        old = Database(f"sqlite:///{copy}")
        stack.push_async_callback(old.close)
        await run_out(old)
        w = await stack.enter_async_context(world(devchain_evm, old, key=key, holder="restored"))
        for _ in range(4):
            await w.step(1)
        assert len(await w.refunds("due")) == 1
        assert "ledger does not know" in (await w.signer()).pause_reason
        assert w.received(payer) == 0


def _copy(source: Any, target: Any) -> None:
    """A consistent copy of a database in use."""
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)


async def run_out(database: Database) -> None:
    async with database.begin() as connection:
        await connection.execute(update(signers).values(lease_until=1))


class Flaky:
    """A chain whose answers a test spoils; all else is the real one."""

    def __init__(self, chain: Any) -> None:
        self._chain = chain
        self.broadcast_error: Exception | None = None
        self.swallow = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._chain, name)

    async def broadcast(self, transaction: SignedTransaction) -> None:
        if self.broadcast_error is not None:
            if self.swallow:
                await self._chain.broadcast(transaction)
            raise self.broadcast_error
        await self._chain.broadcast(transaction)


def flaky(w: World) -> Flaky:
    spoiled = Flaky(w.chain)
    w.engine.workers["base-sepolia"].context.chain = spoiled  # type: ignore[assignment]  # stands for the whole chain
    return spoiled


async def test_a23_a_transaction_that_a_node_calls_too_cheap_is_replaced_at_once(
    devchain_evm: Evm, database: Database
) -> None:
    async with world(devchain_evm, database, policy=CALM) as w:
        chain = flaky(w)
        (payer,) = await w.payers(1)
        await w.owe(payer, SMALL)
        devchain_evm.mine(2)
        chain.broadcast_error = BroadcastRefusedError("max fee per gas less than block base fee", "underpriced")
        await w.step()
        chain.broadcast_error = None
        await w.step()
        assert len(await w.attempts()) == 2
        await w.finish()
        assert w.received(payer) == SMALL


@pytest.mark.parametrize("arrived", [True, False])
async def test_a18_an_answer_that_was_lost_does_not_pay_twice(
    devchain_evm: Evm, database: Database, arrived: bool
) -> None:
    async with world(devchain_evm, database, policy=Policy(resend_after_ms=0)) as w:
        chain = flaky(w)
        (payer,) = await w.payers(1)
        await w.owe(payer, SMALL)
        devchain_evm.mine(2)
        chain.broadcast_error, chain.swallow = ChainUnavailableError("time-out"), arrived
        with pytest.raises(ChainUnavailableError):
            await w.step()
        chain.broadcast_error = None
        await w.finish()
        assert w.received(payer) == SMALL
        assert len(await w.attempts()) == 1
        await w.audit()


async def test_a18_a_used_nonce_is_looked_up_before_anything_is_paid_again(
    devchain_evm: Evm, database: Database
) -> None:
    async with world(devchain_evm, database, policy=Policy(resend_after_ms=0)) as w:
        chain = flaky(w)
        (payer,) = await w.payers(1)
        await w.owe(payer, SMALL)
        devchain_evm.mine(2)
        chain.broadcast_error, chain.swallow = BroadcastRefusedError("nonce too low", "nonce_used"), True
        await w.step()
        await w.finish()
        assert w.received(payer) == SMALL
        assert w.engine.counters.foreign == 0


async def test_an_outage_in_the_background_is_waited_out(devchain_evm: Evm, database: Database) -> None:
    async with world(devchain_evm, database, policy=Policy(resend_after_ms=0)) as w:
        chain = flaky(w)
        (payer,) = await w.payers(1)
        await w.owe(payer, SMALL)
        devchain_evm.mine(2)
        chain.broadcast_error = ChainUnavailableError("nobody answers")
        await w.engine.start()
        async with asyncio.timeout(10):
            while w.engine.stats()["base-sepolia"]["error"] is None:
                await asyncio.sleep(0.05)
            chain.broadcast_error = None
            while not await w.refunds("final"):
                await asyncio.to_thread(devchain_evm.mine)
                await asyncio.sleep(0.1)
        assert w.received(payer) == SMALL
