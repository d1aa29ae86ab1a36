"""A transfer opens one session of the invoice that it is tied to, whatever a caller claims."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import select
from tests.fixtures.evm import Evm
from tests.gateway.till import AMOUNT, PRICE, STRICT, Money, Till, money, open_till

from ws402.errors import ConflictError
from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.tables import payments, sessions, transfers
from ws402.protocol import RejectCode

__all__ = ["money"]  # a fixture


@pytest.fixture
async def till(money: Money, database: Database) -> AsyncIterator[Till]:
    async with open_till(money, database) as made:
        yield made


@pytest.fixture
async def strict(money: Money, database: Database) -> AsyncIterator[Till]:
    """A gateway that does not accept the legacy binding."""
    async with open_till(money, database, bindings=STRICT) as made:
        yield made


async def test_a_tagged_payment_opens_a_session_at_the_quoted_price(till: Till) -> None:
    payer = await till.payer()
    answer = await till.verify(await till.send(payer, await till.invoice()))
    assert answer.valid
    assert (answer.amount, answer.price_per_second, answer.resource_id) == (AMOUNT, PRICE, "film")
    assert answer.payer == payer.address
    assert answer.resume_token
    assert (await till.accounts())["session_escrow"] == AMOUNT


async def test_a01_one_transaction_opens_one_session(till: Till) -> None:
    payer = await till.payer()
    proof = await till.send(payer, await till.invoice())
    assert (await till.verify(proof)).valid
    again = await till.verify(proof)
    assert (again.valid, again.amount, again.code) == (False, 0, RejectCode.ALREADY_CLAIMED)
    proof.reference = (await till.invoice()).reference
    assert (await till.verify(proof)).code == RejectCode.ALREADY_CLAIMED


async def test_a01_an_untagged_transaction_is_not_accepted_under_another_reference(till: Till) -> None:
    payer = await till.payer()
    first, second = await till.invoice(), await till.invoice()
    proof = await till.send(payer, first, tagged=False)
    assert (await till.verify(proof)).valid
    proof.reference = second.reference
    assert (await till.verify(proof)).code == RejectCode.ALREADY_CLAIMED
    assert len(await till.rows(select(sessions))) == 1


async def test_a02_racing_calls_open_one_session(till: Till) -> None:
    proof = await till.send(await till.payer(), await till.invoice())
    answers = await asyncio.gather(*(till.verify(proof) for _ in range(20)))
    assert sum(answer.valid for answer in answers) == 1, [answer.code for answer in answers]
    assert {answer.code for answer in answers if not answer.valid} == {RejectCode.ALREADY_CLAIMED}


async def test_a02_two_gateways_on_one_ledger_open_one_session(money: Money, database_url: str) -> None:
    first, second = Database(database_url), Database(database_url)
    await first.create()
    async with open_till(money, first) as one:
        other = type(one)(money, one.chain, second, one.service.settings)
        other.service.watcher.heads[one.chain.network] = 2**60  # it does not watch by itself here
        for _ in range(5):
            proof = await one.send(await one.payer(), await one.invoice(), tagged=False)
            while not await one.rows(select(transfers).where(transfers.c.tx == proof.tx)):
                await asyncio.sleep(0.02)  # so that both gateways race in the ledger, not on the way to it
            answers = await asyncio.gather(*(till.verify(proof) for till in (one, other) * 4))
            assert sum(answer.valid for answer in answers) == 1
        assert len(await one.rows(select(payments))) == len(await one.rows(select(sessions))) == 5
        assert (await one.accounts())["session_escrow"] == 5 * AMOUNT
    await first.close()
    await second.close()


async def test_a03_a_stranger_cannot_use_a_transaction_that_he_saw(strict: Till) -> None:
    victim = await strict.payer()
    paid = await strict.send(victim, await strict.invoice())
    stolen = paid.__copy__()
    stolen.reference = (await strict.invoice()).reference
    assert (await strict.verify(stolen)).code == RejectCode.BINDING_INVALID
    thief = await strict.payer()
    assert (await strict.verify(stolen, payer_signature=strict.sign(thief, stolen))).code == RejectCode.BINDING_INVALID
    assert (await strict.verify(paid)).valid


async def test_a03_without_a_tag_the_payer_must_sign(strict: Till) -> None:
    payer = await strict.payer()
    proof = await strict.send(payer, await strict.invoice(), tagged=False)
    assert (await strict.verify(proof)).code == RejectCode.BINDING_REQUIRED
    other = proof.__copy__()
    other.reference = (await strict.invoice()).reference
    signed_for_another = strict.sign(payer, other)
    assert (await strict.verify(proof, payer_signature=signed_for_another)).code == RejectCode.BINDING_INVALID
    assert (await strict.verify(proof, payer_signature="zz")).code == RejectCode.BINDING_INVALID
    assert (await strict.verify(proof, payer_signature=strict.sign(payer, proof))).valid


async def test_a03_salted_amounts_tell_stock_payments_apart(money: Money, database: Database) -> None:
    async with open_till(money, database, amount_salt=50) as till:
        payer = await till.payer()
        mine, thiefs = await till.invoice(), await till.invoice()
        assert mine.amount != thiefs.amount
        proof = await till.send(payer, mine, tagged=False)
        stolen = proof.__copy__()
        stolen.reference = thiefs.reference
        assert (await till.verify(stolen)).code == RejectCode.BINDING_INVALID
        assert (await till.verify(proof)).valid


async def test_a04_an_old_transaction_is_refused(till: Till) -> None:
    payer = await till.payer()
    proof = await till.send(payer, await till.invoice(), tagged=False)
    await till.advance()
    await asyncio.sleep(4.2)
    proof.reference = (await till.invoice()).reference
    assert (await till.verify(proof)).code == RejectCode.TRANSFER_TOO_OLD


async def test_a06_an_invoice_is_for_its_resource_alone(till: Till) -> None:
    proof = await till.send(await till.payer(), await till.invoice())
    refused = await till.verify(proof, resource_id="dear-film")
    assert (refused.code, refused.valid) == (RejectCode.RESOURCE_MISMATCH, False)
    assert (await till.verify(proof, resource_id="film")).valid


async def test_a10_one_unit_short_opens_nothing_and_is_owed_back(till: Till) -> None:
    proof = await till.send(await till.payer(), await till.invoice(), amount=AMOUNT - 1)
    assert (await till.verify(proof)).code == RejectCode.AMOUNT_SHORT
    assert (await till.accounts())["payer_due"] == AMOUNT - 1


async def test_a14_a_failed_transaction_is_refused(till: Till) -> None:
    invoice = await till.invoice()
    payer = await till.payer()
    tx = await till.send_in_vain(payer, invoice)
    proof = await till.send(payer, invoice)
    till.name(proof, tx=tx)
    assert (await till.verify(proof)).code == RejectCode.TRANSFER_FAILED


async def test_a37_another_tenants_invoice_does_not_exist(till: Till) -> None:
    proof = await till.send(await till.payer(), await till.invoice())
    assert (await till.verify(proof, tenant="rival")).code == RejectCode.UNKNOWN_INVOICE
    assert (await till.verify(proof)).valid


async def test_a42_the_quote_is_frozen_in_the_invoice(till: Till) -> None:
    invoice = await till.invoice(price_per_second=PRICE)
    await till.invoice(price_per_second=5 * PRICE)
    answer = await till.verify(await till.send(await till.payer(), invoice))
    assert answer.price_per_second == PRICE
    assert invoice.expires_at - (invoice.timestamp or 0) == till.service.settings.invoice_seconds * 1000


async def test_a43_what_is_paid_too_much_is_credited(till: Till) -> None:
    answer = await till.verify(await till.send(await till.payer(), await till.invoice(), amount=AMOUNT + 7))
    assert (answer.valid, answer.amount) == (True, AMOUNT + 7)
    settled = await till.settle(answer.session_id or "", 0)
    assert settled.refund == AMOUNT + 7


async def test_a44_a_late_payment_is_owed_back(money: Money, database: Database) -> None:
    async with open_till(money, database, invoice_seconds=30) as till:
        invoice = await till.invoice()
        await till.backdate(invoice, 40)
        proof = await till.send(await till.payer(), invoice)
        assert (await till.verify(proof)).code == RejectCode.TRANSFER_TOO_LATE
        assert (await till.accounts())["payer_due"] == AMOUNT
        assert (await till.verify(proof)).code == RejectCode.ALREADY_CLAIMED


async def test_a_transaction_that_is_not_there_may_be_sent_again_later(till: Till) -> None:
    proof = await till.send(await till.payer(), await till.invoice())
    sent = proof.tx
    till.name(proof, tx=till.unknown)
    assert (await till.verify(proof)).code == RejectCode.TRANSFER_NOT_FOUND
    till.name(proof, tx=sent)
    assert (await till.verify(proof)).valid


async def test_money_for_somebody_else_pays_nothing_here(till: Till) -> None:
    proof = await till.send(await till.payer(), await till.invoice())
    till.name(proof, tx=await till.send_elsewhere(await till.payer(), AMOUNT))
    assert (await till.verify(proof)).code == RejectCode.WRONG_RECIPIENT


async def test_the_named_sender_must_be_the_payer(till: Till) -> None:
    proof = await till.send(await till.payer(), await till.invoice())
    named = proof.sender or ""
    till.name(proof, sender=till.stranger)
    assert (await till.verify(proof)).code == RejectCode.SENDER_MISMATCH
    till.name(proof, sender=till.respelt(named))
    assert (await till.verify(proof)).valid


@pytest.mark.parametrize(
    "change",
    [
        {"reference": None},
        {"tx_hash": None, "signature": None},
        {"tx_hash": "0x12"},
        {"sender_address": "x"},
    ],
)
async def test_a_malformed_proof_says_so(till: Till, change: dict[str, str | None]) -> None:
    proof = await till.send(await till.payer(), await till.invoice())
    for name, value in change.items():
        setattr(proof, name, value)
    assert (await till.verify(proof)).code == RejectCode.MALFORMED_PROOF


async def test_an_unknown_reference_is_refused(till: Till) -> None:
    proof = await till.send(await till.payer(), await till.invoice())
    proof.reference = "made-up"
    assert (await till.verify(proof)).code == RejectCode.UNKNOWN_INVOICE


async def test_the_same_key_gets_the_same_answer(till: Till) -> None:
    proof = await till.send(await till.payer(), await till.invoice())
    first = await till.verify(proof, key="socket-1")
    assert await till.verify(proof, key="socket-1") == first
    assert (await till.verify(proof, key="socket-2")).code == RejectCode.ALREADY_CLAIMED
    with pytest.raises(ConflictError, match="another request"):
        await till.verify(proof, key="socket-1", resource_id="film")


async def test_a_stock_servers_repeat_is_answered_when_its_answer_was_lost(till: Till) -> None:
    proof = await till.send(await till.payer(), await till.invoice())
    first = await till.verify(proof, server_id=None)
    assert (await till.verify(proof, server_id=None)).code == RejectCode.ALREADY_CLAIMED  # at once: a second socket
    await asyncio.sleep(1.1)
    repeats = await asyncio.gather(*(till.verify(proof, server_id=None) for _ in range(5)))
    assert [each.session_id for each in repeats if each.valid] == [first.session_id], "one repeat is the lost answer"
    assert (await till.verify(proof, server_id=None)).code == RejectCode.ALREADY_CLAIMED


async def test_a_stock_servers_repeat_is_a_replay_once_it_was_answered(till: Till) -> None:
    proof = await till.send(await till.payer(), await till.invoice())
    first = await till.verify(proof, server_id=None)
    await till.service.mark_answered(first.session_id or "")
    await asyncio.sleep(1.1)
    assert (await till.verify(proof, server_id=None)).code == RejectCode.ALREADY_CLAIMED


async def test_a_payment_waits_for_its_confirmations(evm: Evm, database: Database) -> None:
    async with open_till(evm, database, network={"large_above": {"ETH": AMOUNT}, "large_confirmations": 3}) as till:
        small = await till.send(await till.payer(), await till.invoice())
        assert (await till.verify(small)).valid
        large = await till.send(await till.payer(), await till.invoice(AMOUNT + 1))
        waiting = asyncio.create_task(till.verify(large))
        await asyncio.sleep(0.5)
        assert not waiting.done()
        await asyncio.to_thread(till.money.mine, 2)
        assert (await waiting).valid
        hasty = await till.send(await till.payer(), await till.invoice(AMOUNT + 1))
        assert (await till.verify(hasty)).code == RejectCode.TRANSFER_UNCONFIRMED
        await asyncio.to_thread(till.money.mine, 2)
        assert (await till.verify(hasty)).valid


async def test_a_token_is_paid_and_counted_in_its_own_units(evm: Evm, database: Database) -> None:
    token = await asyncio.to_thread(evm.token)
    listed = [{"symbol": "USDC", "contract": token.address, "decimals": 6}]
    async with open_till(evm, database, network={"tokens": listed}) as till:
        payer = await till.payer()
        await asyncio.to_thread(evm.send, payer, token.address, data=token.data("mint", payer.address, 10**9))
        invoice = await till.invoice(5_000_000, asset="USDC", price_per_second=1000)
        answer = await till.verify(await till.send_token(payer, invoice, token))
        assert (answer.valid, answer.amount, answer.asset) == (True, 5_000_000, "USDC")
        assert (await till.accounts("USDC"))["session_escrow"] == 5_000_000
        ether = await till.invoice()
        other = await till.send_token(payer, invoice, token, amount=AMOUNT % 10**9)
        other.reference = ether.reference
        assert (await till.verify(other)).code == RejectCode.WRONG_ASSET
