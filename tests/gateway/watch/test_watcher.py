"""The watcher finds every payment, also after a stop, and takes back what a reorg took away."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import select
from tests.fixtures.evm import Evm
from tests.gateway.till import AMOUNT, TENANT, Till, open_till

from ws402.chains.evm import from_settings
from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.tables import refunds, sessions, transfers
from ws402.protocol import Checkpoint, EndReason, Proof


async def test_payments_made_while_the_gateway_was_down_are_found(evm: Evm, database: Database) -> None:
    async with open_till(evm, database) as first:
        payer, invoice = await first.payer(), await first.invoice()
        settings = first.service.settings
    proof = await first.send(payer, invoice)
    await asyncio.to_thread(evm.mine, 70)
    second = Till(evm, from_settings(settings.evm_networks[0]), database, settings)
    await second.service.start()
    try:
        assert [row.tx for row in await second.rows(select(transfers))] == [proof.tx]
        assert (await second.verify(proof)).valid
        await second.accounts()
    finally:
        await second.service.close()


async def test_the_opening_balance_is_the_operators(evm: Evm, database: Database) -> None:
    wallet = await asyncio.to_thread(evm.account, 12345)
    await asyncio.to_thread(evm.mine, 3)
    async with open_till(evm, database, network={"merchant_wallet": wallet.address}) as till:
        assert (await till.accounts())["capital"] == 12345


async def test_money_without_an_invoice_stays_unclaimed(evm: Evm, database: Database) -> None:
    async with open_till(evm, database) as till:
        await asyncio.to_thread(evm.send, await till.payer(), till.chain.recipient, value=77)
        assert (await till.accounts())["unclaimed"] == 77


@pytest.mark.anvil
@pytest.mark.parametrize("evm", ["anvil"], indirect=True)
class TestReorgs:
    async def test_a15_a_reorg_that_removes_a_payment_ends_its_session(self, evm: Evm, database: Database) -> None:
        async with open_till(evm, database, network={"final_after": 20}) as till:
            payer, invoice = await till.payer(), await till.invoice()
            snapshot = evm.rpc("evm_snapshot")
            session = await till.verify(await till.send(payer, invoice))
            assert evm.rpc("evm_revert", snapshot)
            await asyncio.to_thread(evm.mine, 3)
            await till.service.watcher.step(till.chain)
            usage = {"elapsed_ms": 1, "bytes_transferred": 0, "message_count": 0}
            report = Checkpoint(session_id=session.session_id or "", epoch=0, **usage)
            answer = await till.service.of(TENANT).checkpoint(report)
            assert (answer.live, answer.reason) == (False, EndReason.REORGED)
            (row,) = await till.rows(select(sessions).where(sessions.c.id == session.session_id))
            assert (row.state, row.paid, row.refunded) == ("reversed", 0, 0)
            (transfer,) = await till.rows(select(transfers).where(transfers.c.recipient == till.chain.recipient))
            assert transfer.state == "orphaned"
            await till.accounts()

    async def test_a15_a_payment_that_a_reorg_moves_goes_on_paying(self, evm: Evm, database: Database) -> None:
        # Looked at only when the test says so: between the branches the payment is in no block.
        async with open_till(evm, database, network={"final_after": 20, "poll_seconds": 600}) as till:
            payer, invoice = await till.payer(), await till.invoice()
            snapshot = evm.rpc("evm_snapshot")
            raw = evm.sign(payer, invoice.recipient, value=AMOUNT, data=bytes.fromhex((invoice.data or "")[2:]))
            before = evm.receipt(evm.submit(raw))
            await till.service.watcher.step(till.chain)
            proof = Proof(reference=invoice.reference, tx_hash=before["transactionHash"], sender_address=payer.address)
            session = await till.verify(proof)
            assert session.valid, session.reason
            assert evm.rpc("evm_revert", snapshot)
            await asyncio.to_thread(evm.mine, 2)
            after = evm.receipt(evm.submit(raw))
            assert after["blockHash"] != before["blockHash"]
            await till.service.watcher.step(till.chain)
            (row,) = await till.rows(select(sessions).where(sessions.c.id == session.session_id))
            assert (row.state, row.source_block) == ("live", int(after["blockNumber"], 16))
            await till.accounts()

    async def test_a15_a_removed_payment_is_not_refunded(self, evm: Evm, database: Database) -> None:
        async with open_till(evm, database, network={"final_after": 20}) as till:
            payer = await till.payer()
            snapshot = evm.rpc("evm_snapshot")
            session = await till.verify(await till.send(payer, await till.invoice()))
            await till.settle(session.session_id or "", 0)
            assert evm.rpc("evm_revert", snapshot)
            await asyncio.to_thread(evm.mine, 3)
            await till.service.watcher.step(till.chain)
            assert [row.state for row in await till.rows(select(refunds))] == ["void"]
            accounts = await till.accounts()
            assert accounts.get("payer_due", 0) == accounts.get("session_escrow", 0) == 0

    async def test_a15_a_payment_that_comes_back_is_owed_to_its_payer(self, evm: Evm, database: Database) -> None:
        async with open_till(evm, database, network={"final_after": 20}) as till:
            payer, invoice = await till.payer(), await till.invoice()
            snapshot = evm.rpc("evm_snapshot")
            raw = evm.sign(payer, invoice.recipient, value=AMOUNT, data=bytes.fromhex((invoice.data or "")[2:]))
            tx = evm.submit(raw)
            evm.receipt(tx)
            proof = Proof(reference=invoice.reference, tx_hash=tx, sender_address=payer.address)
            assert (await till.verify(proof)).valid
            assert evm.rpc("evm_revert", snapshot)
            await asyncio.to_thread(evm.mine, 4)
            await till.service.watcher.step(till.chain)
            evm.submit(raw)
            await asyncio.to_thread(evm.mine, 1)
            accounts = await till.accounts()
            assert accounts["payer_due"] == AMOUNT
            assert [(row.recipient, row.amount) for row in await till.rows(select(refunds))] == [
                (payer.address, AMOUNT)
            ]
