"""What reorgs do to money, one case each; tests/gateway/test_money_machine.py tries the rest in any order."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import select
from tests.gateway.machine.blocks import NETWORK, Tx
from tests.gateway.machine.books import check, read_by
from tests.gateway.machine.chain import MemoryChain
from tests.gateway.machine.gateway import PRICE, TENANT, Gateway

from ws402.gateway.ledger.tables import refunds, sessions, transfers
from ws402.protocol import Checkpoint, EndReason, GenerateRequest, Proof, SettleRequest, VerifyRequest, VerifyResponse

PAYER = "0x" + "a1" * 20


class Shop(Gateway):
    """One gateway, its chain, and what a test does with them."""

    chain: MemoryChain

    async def bill(self, amount: int, **more: Any) -> Any:
        terms = {"resource_id": "film", "estimated_duration": 30, "network": NETWORK, "price_per_second": PRICE}
        return await self.service.of(TENANT).generate(GenerateRequest(amount=amount, asset="ETH", **terms, **more))

    async def pay(self, invoice: Any, amount: int | None = None) -> Tx:
        tx = self.chain.pay(PAYER, "ETH", int(invoice.amount) if amount is None else amount, (invoice.data[2:],))
        self.chain.mine()
        await self.look()
        return tx

    async def look(self) -> None:
        await self.service.watcher.step(self.chain)

    async def claim(self, invoice: Any, tx: Tx, **more: Any) -> VerifyResponse:
        proof = Proof(reference=invoice.reference, tx_hash=tx.id, sender_address=PAYER)
        return await self.service.of(TENANT).verify(VerifyRequest(proof=proof, server_id="server", **more))

    async def reorg(self, depth: int, fate: Any) -> None:
        self.chain.reorg(depth, lambda tx: fate)
        await self.look()

    async def rows(self, *columns: Any) -> list[tuple[Any, ...]]:
        """And, every time, what must hold does."""
        check(await read_by(self.database))
        for line in await self.service.audit():
            assert line.clean, line
        async with self.database.read() as connection:
            return [tuple(row) for row in await connection.execute(select(*columns))]

    async def deliver(self) -> None:
        """Let all that is owed become final and arrive."""
        for blocks in (7, 1, 7):
            self.chain.mine(blocks)
            await self.look()
            await self.engine.run_once()

    def arrived(self) -> int:
        """What the payer got back."""
        return sum(tx.amount for tx in self.chain.moved(ours=True) if tx.recipient == PAYER)


@pytest.fixture
async def shop(database_url: str) -> AsyncIterator[Shop]:
    chain = MemoryChain()
    made = Shop(database_url, chain, "shop")
    made.chain = chain
    await made.database.create()
    await made.start()
    yield made
    await made.close()


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
