"""What reorgs do to money, one case each; tests/gateway/test_money_machine.py tries the rest in any order."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import select
from tests.gateway.machine.gateway import PRICE, TENANT
from tests.gateway.machine.shop import PAYER, Shop, open_shop

from ws402.gateway.ledger.tables import refunds, sessions, transfers
from ws402.protocol import Checkpoint, EndReason, SettleRequest


@pytest.fixture
async def shop(database_url: str) -> AsyncIterator[Shop]:
    async with open_shop(database_url) as made:
        yield made


async def test_a15_a_reorg_that_removes_a_payment_ends_its_session(shop: Shop) -> None:
    invoice = await shop.bill(300)
    opened = await shop.claim(invoice, await shop.pay(invoice))
    await shop.reorg(1, "gone")
    usage = {"elapsed_ms": 1, "bytes_transferred": 0, "message_count": 0}
    report = Checkpoint(session_id=opened.session_id or "", epoch=0, **usage)
    answer = await shop.service.of(TENANT).checkpoint(report)
    assert (answer.live, answer.reason) == (False, EndReason.REORGED)
    assert await shop.rows(*sessions.c["state", "paid", "refunded"]) == [("reversed", 0, 0)]
    assert await shop.rows(transfers.c.state) == [("orphaned",)]


@pytest.mark.parametrize("fate", ["same", "later"])
async def test_a15_a_payment_that_is_in_another_block_goes_on_paying(shop: Shop, fate: str) -> None:
    invoice = await shop.bill(300)
    opened = await shop.claim(invoice, await shop.pay(invoice))
    await shop.reorg(1, fate)
    block = shop.chain.height - (1 if fate == "same" else 0)
    assert await shop.rows(*sessions.c["id", "state", "source_block"]) == [(opened.session_id, "live", block)]
    assert await shop.rows(*transfers.c["state", "block"]) == [("seen", block)]


@pytest.mark.parametrize("fate", ["same", "later"])
async def test_a15_what_is_owed_back_is_owed_in_another_block_too(shop: Shop, fate: str) -> None:
    dear, cheap = await shop.bill(1000), await shop.bill(400)
    tx = await shop.pay(dear, 400)
    assert (await shop.claim(dear, tx)).code == "amount_short"
    await shop.reorg(1, fate)
    assert await shop.rows(transfers.c.state) == [("owed",)]
    assert not (await shop.claim(cheap, tx, payer_signature=f"signed by {PAYER}")).valid
    assert await shop.rows(refunds.c.amount) == [(400,)]
    await shop.deliver()
    assert shop.arrived() == 400


async def test_a15_what_is_owed_back_and_comes_back_is_owed_again(shop: Shop) -> None:
    dear = await shop.bill(1000)
    tx = await shop.pay(dear, 400)
    assert (await shop.claim(dear, tx)).code == "amount_short"
    for state, refund in (("orphaned", "void"), ("owed", "waiting"), ("orphaned", "void"), ("owed", "waiting")):
        if state == "orphaned":
            await shop.reorg(1, "gone")
        else:
            shop.chain.come_back()
            shop.chain.mine()
            await shop.look()
        assert await shop.rows(transfers.c.state) == [(state,)]
        assert await shop.rows(*refunds.c["state", "amount"]) == [(refund, 400)]
    await shop.deliver()
    assert shop.arrived() == 400


async def test_a15_what_was_sent_back_and_comes_again_below_finality_is_the_operators(shop: Shop) -> None:
    dear = await shop.bill(1000)
    tx = await shop.pay(dear, 400)
    assert (await shop.claim(dear, tx)).code == "amount_short"
    await shop.deliver()
    assert shop.arrived() == 400
    before = (await shop.service.audit())[0].accounts
    shop.chain.forget(lambda tx: tx.nonce is None)
    await shop.look()
    lost = (await shop.service.audit())[0]
    assert lost.clean, lost
    assert lost.accounts["capital"] == before["capital"] - 400
    shop.chain.come_back()
    shop.chain.mine()
    await shop.look()
    assert (await shop.service.audit())[0].accounts == before
    assert not (await shop.claim(await shop.bill(400), tx, payer_signature=f"signed by {PAYER}")).valid
    await shop.deliver()
    assert shop.arrived() == 400


async def topped_up(shop: Shop) -> str:
    """A session of 300 and 200, each in a block of its own."""
    first = await shop.bill(300)
    opened = await shop.claim(first, await shop.pay(first))
    second = await shop.bill(200, session_id=opened.session_id)
    assert (await shop.claim(second, await shop.pay(second))).valid
    return opened.session_id or ""


async def test_a15_two_reorgs_that_take_both_payments_of_a_session_owe_nothing(shop: Shop) -> None:
    await topped_up(shop)
    await shop.reorg(1, "gone")
    assert await shop.rows(*refunds.c["state", "amount"]) == [("waiting", 300)]
    await shop.reorg(3, "gone")
    assert await shop.rows(*sessions.c["state", "paid", "refunded"]) == [("reversed", 0, 0)]
    assert await shop.rows(*refunds.c["state", "amount"]) == [("void", 300)]
    await shop.deliver()
    assert shop.arrived() == 0


async def test_a15_what_two_reorgs_took_and_gave_back_is_owed_once(shop: Shop) -> None:
    await topped_up(shop)
    await shop.reorg(1, "gone")
    await shop.reorg(3, "gone")
    shop.chain.come_back()
    shop.chain.mine()
    await shop.look()
    owed = [row for row in await shop.rows(*refunds.c["state", "amount", "session_id"]) if row[0] != "void"]
    assert sorted(owed) == [("waiting", 200, None), ("waiting", 300, None)]
    await shop.deliver()
    assert shop.arrived() == 500


async def test_a15_a_third_reorg_takes_back_what_the_second_gave(shop: Shop) -> None:
    await topped_up(shop)
    await shop.reorg(1, "gone")
    await shop.reorg(3, "gone")
    shop.chain.come_back()
    shop.chain.mine()
    await shop.look()
    await shop.reorg(1, "gone")
    assert {state for (state,) in await shop.rows(refunds.c.state)} == {"void"}


async def test_a15_the_old_branch_may_win_again(shop: Shop) -> None:
    invoice = await shop.bill(300)
    tx = await shop.pay(invoice)
    await shop.reorg(1, "gone")
    assert await shop.rows(transfers.c.state) == [("orphaned",)]
    shop.chain.reorg_back()  # the very same block
    await shop.look()
    assert await shop.rows(transfers.c.state) == [("seen",)]
    assert (await shop.claim(invoice, tx)).valid


async def test_a15_a_settled_session_is_settled_anew_without_what_a_reorg_took(shop: Shop) -> None:
    session_id = await topped_up(shop)
    usage = {"elapsed_ms": 1_000, "bytes_transferred": 0, "message_count": 0, "reason": EndReason.CLIENT_CLOSED}
    await shop.service.of(TENANT).settle(SettleRequest(session_id=session_id, epoch=0, **usage))
    assert await shop.rows(*sessions.c["consumed", "refunded"]) == [(PRICE, 500 - PRICE)]
    await shop.reorg(1, "gone")
    assert await shop.rows(*sessions.c["consumed", "refunded"]) == [(PRICE, 300 - PRICE)]
    await shop.deliver()
    assert shop.arrived() == 300 - PRICE


async def test_a45_an_endpoint_that_lags_brings_no_lost_payment_back(shop: Shop) -> None:
    invoice = await shop.bill(300)
    tx = await shop.pay(invoice)
    await shop.reorg(1, "gone")
    shop.chain.lags = True
    found = await shop.chain.lookup(tx.id)
    assert found.transfers
    await shop.service.watcher.record(found.transfers)
    assert await shop.rows(transfers.c.state) == [("orphaned",)]


@pytest.mark.parametrize("comes_back", [False, True])
async def test_a15_a_reorg_below_finality_costs_the_operator_and_nobody_twice(shop: Shop, comes_back: bool) -> None:
    invoice = await shop.bill(300)
    opened = await shop.claim(invoice, await shop.pay(invoice))
    usage = {"elapsed_ms": 0, "bytes_transferred": 0, "message_count": 0, "reason": EndReason.CLIENT_CLOSED}
    await shop.service.of(TENANT).settle(SettleRequest(session_id=opened.session_id or "", epoch=0, **usage))
    await shop.deliver()
    assert shop.arrived() == 300
    shop.chain.forget(lambda tx: tx.nonce is None)
    await shop.look()
    (line, _) = await shop.service.audit()
    assert line.clean, line
    async with shop.database.read() as connection:
        found = (await connection.execute(select(*sessions.c["state", "paid", "consumed", "refunded"]))).all()
    assert [tuple(row) for row in found] == [("reversed", 0, 0, 0)]
    if comes_back:
        shop.chain.come_back()
        shop.chain.mine()
        await shop.look()
        async with shop.database.read() as connection:
            owed = (
                await connection.execute(select(refunds.c.state, refunds.c.reason).where(refunds.c.tx.is_not(None)))
            ).one()
        assert owed.state == "held"
        assert "before a reorg below finality" in owed.reason
        assert all(line.clean for line in await shop.service.audit())
