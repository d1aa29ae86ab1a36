"""A refund's way from debt to money that arrived, on a real chain."""

from __future__ import annotations

import asyncio
import logging

import pytest
from sqlalchemy import update
from sqlalchemy.exc import IntegrityError
from tests.fixtures.evm import ETHER, Evm
from tests.gateway.refunds.world import TENANT, World, world

from ws402.errors import ConfigurationError
from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.tables import refunds, sessions
from ws402.gateway.refunds import Policy
from ws402.gateway.usage.settlement import NotRefundableError
from ws402.protocol import Proof, RefundRequest

SMALL = ETHER // 1000
NO_RESEND = Policy(resend_after_ms=3_600_000, bump_after_ms=3_600_000)


async def test_a_refund_arrives_once_and_the_books_agree(devchain_evm: Evm, database: Database) -> None:
    async with world(devchain_evm, database) as w:
        (payer,) = await w.payers(1)
        refund_id = await w.owe(payer, SMALL, paid=3 * SMALL)
        await w.finish()
        assert (await w.refund(refund_id)).state == "final"
        assert w.received(payer) == SMALL
        await w.step(3)
        assert w.received(payer) == SMALL
        await w.audit()


async def test_the_running_engine_delivers_when_it_is_woken(devchain_evm: Evm, database: Database) -> None:
    async with world(devchain_evm, database) as w:
        (payer,) = await w.payers(1)
        await w.engine.start()
        refund_id = await w.owe(payer, SMALL)
        devchain_evm.mine(2)
        w.engine.wake()
        async with asyncio.timeout(10):
            while (await w.refund(refund_id)).state != "final":
                await asyncio.to_thread(devchain_evm.mine)
                await asyncio.sleep(0.05)
        assert w.engine.counters.refunds_final == 1
        assert w.engine.stats()["base-sepolia"]["holds_lease"]


async def test_many_refunds_to_one_payer_travel_together(devchain_evm: Evm, database: Database) -> None:
    async with world(devchain_evm, database) as w:
        (payer,) = await w.payers(1)
        for _ in range(3):
            await w.owe(payer, SMALL)
        devchain_evm.mine(2)
        await w.finish()
        assert w.received(payer) == 3 * SMALL
        assert [row.amount for row in await w.deliveries()] == [3 * SMALL]
        await w.audit()


async def test_many_refunds_get_consecutive_nonces_and_one_block(devchain_evm: Evm, database: Database) -> None:
    async with world(devchain_evm, database, policy=Policy(group=4)) as w:
        payers = await w.payers(10)
        for payer in payers:
            await w.owe(payer, SMALL)
        devchain_evm.mine(2)
        devchain_evm.automine(False)
        await w.step()
        rows = await w.deliveries()
        assert [row.nonce for row in rows] == list(range(rows[0].nonce, rows[0].nonce + 10))
        devchain_evm.mine()
        devchain_evm.automine(True)
        await w.step()
        assert len({row.block for row in await w.deliveries()}) == 1
        await w.finish()
        assert [w.received(payer) for payer in payers] == [SMALL] * 10
        await w.audit()


# --- what may be paid, and to whom --------------------------------------------------------------------------------


async def test_a15_a_refund_waits_until_its_payment_is_final(devchain_evm: Evm, database: Database) -> None:
    async with world(devchain_evm, database) as w:
        (payer,) = await w.payers(1)
        refund_id = await w.owe(payer, SMALL)
        await w.step()
        await w.step(1)
        assert (await w.refund(refund_id)).state == "waiting"
        await w.step(1)
        assert (await w.refund(refund_id)).state == "in_flight"


async def test_a15_a_payment_that_a_reorg_removed_is_not_refunded(devchain_evm: Evm, database: Database) -> None:
    async with world(devchain_evm, database) as w:
        (payer,) = await w.payers(1)
        refund_id = await w.owe(payer, SMALL)
        await w.service.watcher.close()  # it has not noticed yet
        devchain_evm.rpc("anvil_reorg", 1)
        for _ in range(6):
            await w.step(1)
        assert (await w.refund(refund_id)).state == "waiting"
        assert w.engine.stats()["base-sepolia"]["unproven"] == 1
        assert w.received(payer) == 0
        await w.audit()  # the watcher looks
        assert (await w.refund(refund_id)).state == "void"


async def test_a15_a_refund_that_a_reorg_removed_is_sent_again_as_it_was(devchain_evm: Evm, database: Database) -> None:
    async with world(devchain_evm, database, policy=NO_RESEND) as w:
        (payer,) = await w.payers(1)
        refund_id = await w.owe(payer, SMALL)
        await w.step(2)
        await w.step()
        assert (await w.refund(refund_id)).state == "confirmed"
        devchain_evm.rpc("anvil_reorg", 1)
        assert w.received(payer) == 0
        await w.step()
        assert w.engine.counters.reorged == 1
        await w.finish()
        assert w.received(payer) == SMALL
        assert len(await w.attempts()) == 1
        await w.audit()


async def test_a16_a_refund_goes_to_who_paid_whatever_address_the_request_names(
    devchain_evm: Evm, database: Database
) -> None:
    async with world(devchain_evm, database) as w:
        payer, thief = await w.payers(2)
        await w.pay(payer, SMALL)
        await w.claim()
        named = Proof(tx_hash=w.proof.tx_hash, sender_address=thief.address)
        await w.service.of(TENANT).refund(RefundRequest(proof=named, amount=SMALL))
        await w.finish()
        assert (w.received(payer), w.received(thief)) == (SMALL, 0)


@pytest.mark.parametrize(
    "change",
    [{"recipient": "0x" + "66" * 20}, {"amount": 2 * SMALL}],
    ids=["recipient", "amount"],
)
async def test_a16_a_debt_that_contradicts_its_session_is_held(
    devchain_evm: Evm, database: Database, change: dict[str, object]
) -> None:
    async with world(devchain_evm, database) as w:
        (payer,) = await w.payers(1)
        refund_id = await w.owe(payer, SMALL, paid=3 * SMALL)
        async with database.begin() as connection:
            await connection.execute(update(refunds).values(change))
        await w.finish()
        row = await w.refund(refund_id)
        assert row.state == "held"
        assert "contradicts" in row.reason
        assert not await w.deliveries()


async def test_a17_no_more_is_refunded_than_was_paid_and_not_used(devchain_evm: Evm, database: Database) -> None:
    async with world(devchain_evm, database) as w:
        (payer,) = await w.payers(1)
        await w.pay(payer, SMALL)
        await w.claim()
        with pytest.raises(NotRefundableError):
            await w.service.of(TENANT).refund(RefundRequest(proof=w.proof, amount=SMALL + 1))
        await w.service.of(TENANT).refund(RefundRequest(proof=w.proof, amount=SMALL))
        with pytest.raises(IntegrityError):
            async with database.begin() as connection:
                await connection.execute(update(sessions).values(refunded=SMALL + 1))
        await w.finish()
        assert w.received(payer) == SMALL


async def test_a18_a_settlement_that_is_repeated_and_raced_is_refunded_once(
    devchain_evm: Evm, database: Database
) -> None:
    async with world(devchain_evm, database) as w:
        (payer,) = await w.payers(1)
        await w.pay(payer, SMALL)
        await w.claim()
        request = RefundRequest(proof=w.proof, amount=SMALL)
        answers = await asyncio.gather(*(w.service.of(TENANT).refund(request) for _ in range(8)))
        assert len({each.refund_id for each in answers}) == 1
        await w.finish()
        await w.service.of(TENANT).refund(request)
        await w.step(2)
        assert w.received(payer) == SMALL
        await w.audit()


async def test_a18_two_engines_over_one_ledger_refund_once(devchain_evm: Evm, database: Database) -> None:
    async with world(devchain_evm, database) as w:
        payers = await w.payers(6)
        for payer in payers:
            await w.owe(payer, SMALL)
        devchain_evm.mine(2)
        other = World(devchain_evm, w.chain, database, w.key, holder="other")
        await asyncio.gather(*(engine.run_once() for engine in (w.engine, other.engine) for _ in range(3)))
        await w.finish()
        await other.engine.run_once()
        assert [w.received(payer) for payer in payers] == [SMALL] * 6
        assert len(await w.deliveries()) == 6
        await w.audit()


async def test_a20_tiny_refunds_are_credit_until_they_are_worth_their_gas(
    devchain_evm: Evm, database: Database
) -> None:
    async with world(devchain_evm, database, policy=Policy(min_refund={"ETH": 1000})) as w:
        (payer,) = await w.payers(1)
        first = await w.owe(payer, 400, paid=SMALL)
        await w.finish()
        second = await w.owe(payer, 500, paid=SMALL)
        await w.finish()
        assert [(await w.refund(each)).state for each in (first, second)] == ["credit", "credit"]
        assert not await w.deliveries()
        await w.audit()
        third = await w.owe(payer, 100, paid=SMALL)
        await w.finish()
        assert [(await w.refund(each)).state for each in (first, second, third)] == ["final"] * 3
        assert w.received(payer) == 1000
        await w.audit()


async def test_a20_without_a_setting_the_minimum_is_what_the_gas_costs(devchain_evm: Evm, database: Database) -> None:
    async with world(devchain_evm, database) as w:
        tiny, fair = await w.payers(2)
        one = await w.owe(tiny, 21_000, paid=SMALL)
        two = await w.owe(fair, SMALL)
        await w.finish()
        assert (await w.refund(one)).state == "credit"
        assert (await w.refund(two)).state == "final"
        await w.operator.release(one)
        await w.finish()
        assert w.received(tiny) == 21_000
        await w.audit()


# --- the key and its means ----------------------------------------------------------------------------------------


async def test_a46_the_key_sends_no_more_than_its_hourly_limit(devchain_evm: Evm, database: Database) -> None:
    policy = Policy(hourly_limit={"ETH": 2 * SMALL})
    async with world(devchain_evm, database, policy=policy) as w:
        payers = await w.payers(3)
        for payer in payers:
            await w.owe(payer, SMALL)
        for _ in range(5):
            await w.step(1)
        assert sorted(w.received(payer) for payer in payers) == [0, SMALL, SMALL]
        assert len(await w.refunds("due")) == 1
        assert w.engine.stats()["base-sepolia"]["limited"] == {"ETH"}
        await w.audit()


async def test_a46_a_limit_with_a_typo_is_refused_at_the_start(devchain_evm: Evm, sqlite_database: Database) -> None:
    with pytest.raises(ConfigurationError, match="unknown assets: ETC"):
        async with world(devchain_evm, sqlite_database, policy=Policy(hourly_limit={"ETC": 1})):
            pass


async def test_a46_a_paused_key_signs_and_sends_nothing(devchain_evm: Evm, database: Database) -> None:
    async with world(devchain_evm, database) as w:
        one, two = await w.payers(2)
        await w.owe(one, SMALL)
        await w.finish()
        await w.operator.pause("base-sepolia", "a laptop was lost")
        refund_id = await w.owe(two, SMALL)
        for _ in range(4):
            await w.step(1)
        assert (await w.refund(refund_id)).state == "due"
        assert w.engine.stats()["base-sepolia"]["paused"] == "a laptop was lost"
        assert len(await w.attempts()) == 1
        await w.operator.resume("base-sepolia")
        await w.finish()
        assert w.received(two) == SMALL


async def test_a46_a_key_that_is_paused_while_refunds_are_in_the_pool_is_not_used_to_push_them(
    devchain_evm: Evm, database: Database
) -> None:
    policy = Policy(resend_after_ms=0, bump_after_ms=0)
    async with world(devchain_evm, database, policy=policy) as w:
        (payer,) = await w.payers(1)
        await w.owe(payer, SMALL)
        devchain_evm.mine(2)
        devchain_evm.automine(False)
        await w.step()
        (row,) = await w.attempts()
        devchain_evm.rpc("anvil_dropTransaction", row.tx)
        await w.operator.pause("base-sepolia", "stop")
        await w.step()
        await w.step()
        assert devchain_evm.rpc("txpool_status")["pending"] == "0x0"
        assert len(await w.attempts()) == 1
        await w.operator.resume("base-sepolia")
        devchain_evm.automine(True)
        await w.finish()
        assert w.received(payer) == SMALL


async def test_a46_the_key_is_in_no_log_and_not_in_the_ledger(
    devchain_evm: Evm, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with world(devchain_evm, database) as w:
        (payer,) = await w.payers(1)
        await w.owe(payer, SMALL)
        await w.finish()
        secret = bytes(w.key.key)
        assert secret.hex() not in caplog.text
        assert secret.hex() not in repr(w.engine.workers["base-sepolia"].context)
        for row in await w.attempts():
            assert secret not in row.raw


async def test_refunds_wait_for_an_empty_account_and_go_when_it_is_topped_up(
    devchain_evm: Evm, database: Database
) -> None:
    async with world(devchain_evm, database, float_wei=0) as w:
        payers = await w.payers(2)
        ids = [await w.owe(payer, SMALL) for payer in payers]  # all of it is owed, so there is nothing for gas
        for _ in range(4):
            await w.step(1)
        assert len(await w.refunds("due")) == 1
        lacking = w.engine.stats()["base-sepolia"]["short"]["ETH"]
        assert 0 < lacking < SMALL
        await asyncio.to_thread(devchain_evm.send, devchain_evm.funder, w.key.address, value=SMALL)
        await w.finish()
        assert [(await w.refund(each)).state for each in ids] == ["final", "final"]
        assert not w.engine.stats()["base-sepolia"]["short"]
        await w.audit()
