"""Payers that are contracts: some are exchanges, some are smart wallets, some refuse to be paid."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.fixtures.evm import ETHER, Evm
from tests.gateway.refunds.wallets import Wallet
from tests.gateway.refunds.world import TENANT, World, world

from ws402.gateway.ledger.database import Database
from ws402.gateway.refunds import Policy
from ws402.protocol import GenerateRequest, Proof, RefundRequest, VerifyRequest

SMALL = ETHER // 1000
STRICT = ["tag", "signature"]
CALM = Policy(resend_after_ms=3_600_000, bump_after_ms=3_600_000)


async def owe(w: World, wallet: Wallet, *, signed: bool = False) -> str:
    """The wallet pays and uses nothing; answers the refund's id."""
    details: Any = await w.service.of(TENANT).generate(
        GenerateRequest(amount=SMALL, resource_id="film", estimated_duration=60)
    )
    tx = await asyncio.to_thread(wallet.pay, w.key.address, SMALL)
    proof = Proof(reference=details.reference, tx_hash=tx, sender_address=wallet.address)
    request = VerifyRequest(proof=proof, payer_signature="0x" + "11" * 65 if signed else None)
    opened = await w.service.of(TENANT).verify(request)
    assert opened.valid, opened.reason
    answer = await w.service.of(TENANT).refund(RefundRequest(proof=proof, amount=SMALL))
    assert answer.refund_id
    return answer.refund_id


async def make(w: World) -> Wallet:
    (owner,) = await w.payers(1)
    return await asyncio.to_thread(Wallet, w.evm, owner)


async def test_a22_a_contract_that_nobody_vouched_for_is_held_until_an_operator_releases_it(
    devchain_evm: Evm, database: Database
) -> None:
    async with world(devchain_evm, database) as w:
        wallet = await make(w)
        refund_id = await owe(w, wallet)
        await w.finish()
        row = await w.refund(refund_id)
        assert row.state == "held"
        assert "contract" in row.reason
        assert [each["id"] for each in await w.operator.held()] == [refund_id]
        await w.audit()
        await w.operator.release(refund_id)
        await w.finish()
        assert devchain_evm.balance(wallet.address) == SMALL
        await w.audit()


async def test_a22_a_smart_wallet_that_signed_is_refunded_like_everybody(devchain_evm: Evm, database: Database) -> None:
    async with world(devchain_evm, database, bindings=STRICT) as w:
        wallet = await make(w)
        refund_id = await owe(w, wallet, signed=True)
        await w.finish()
        assert (await w.refund(refund_id)).state == "final"
        assert devchain_evm.balance(wallet.address) == SMALL
        await w.audit()


async def test_a22_a_contract_that_refuses_is_held_and_can_be_settled_otherwise(
    devchain_evm: Evm, database: Database
) -> None:
    async with world(devchain_evm, database, bindings=STRICT) as w:
        wallet = await make(w)
        (other,) = await w.payers(1)
        refund_id = await owe(w, wallet, signed=True)
        wallet.lock(True)
        await w.owe(other, SMALL)
        await w.finish()
        row = await w.refund(refund_id)
        assert row.state == "held"
        assert "cannot take it" in row.reason
        assert w.received(other) == SMALL  # nobody waits behind it
        await w.operator.resolve(refund_id, "paid by bank transfer 4711")
        assert (await w.refund(refund_id)).state == "resolved"
        await w.finish()
        await w.audit()


async def test_a_refund_that_fails_on_the_chain_is_owed_as_before(devchain_evm: Evm, database: Database) -> None:
    async with world(devchain_evm, database, bindings=STRICT, policy=CALM) as w:
        wallet = await make(w)
        (other,) = await w.payers(1)
        refund_id = await owe(w, wallet, signed=True)
        await w.owe(other, SMALL)
        devchain_evm.mine(2)
        devchain_evm.automine(False)
        await w.step()  # simulated, signed and sent
        wallet.lock(True, wait=False)
        devchain_evm.mine()
        await w.step()
        assert sorted(row.state for row in await w.deliveries()) == ["included", "reverted"]
        await w.audit()
        await w.finish()
        row = await w.refund(refund_id)
        assert row.state == "held"
        assert "had no effect" in row.reason
        assert devchain_evm.balance(wallet.address) == 0
        assert len(await w.entries("gas")) == 2
        await w.audit()
        devchain_evm.automine(True)
        wallet.lock(False)
        await w.operator.release(refund_id)
        await w.finish()
        assert devchain_evm.balance(wallet.address) == SMALL
        await w.audit()


async def test_a_stuck_refund_whose_recipient_came_to_refuse_gives_its_nonce_back(
    devchain_evm: Evm, database: Database
) -> None:
    policy = Policy(resend_after_ms=0, bump_after_ms=0)
    async with world(devchain_evm, database, bindings=STRICT, policy=policy) as w:
        wallet = await make(w)
        (other,) = await w.payers(1)
        refund_id = await owe(w, wallet, signed=True)
        devchain_evm.mine(2)
        devchain_evm.automine(False)
        await w.step()
        (stuck,) = await w.attempts()
        devchain_evm.rpc("anvil_dropTransaction", stuck.tx)
        wallet.lock(True, wait=False)
        devchain_evm.mine()
        await w.step()
        rows = await w.attempts()
        assert [row.kind for row in rows] == ["refund", "cancel"]
        devchain_evm.automine(True)
        await w.owe(other, 50 * SMALL)  # fees have just been outbid: less might be kept as credit
        await w.finish()
        row = await w.refund(refund_id)
        assert row.state == "held"
        assert "gave the nonce back" in row.reason
        assert w.received(other) == 50 * SMALL
        await w.audit()
