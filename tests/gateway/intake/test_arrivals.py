"""A payment is noticed by who knows the invoice's secret, and goes back by itself when nobody shows it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import select, update
from tests.fixtures.evm import Evm
from tests.gateway.till import AMOUNT, STRICT, Money, Till, money, open_till

from ws402.errors import InvalidRequestError
from ws402.gateway.intake.arrivals import MOST
from ws402.gateway.intake.open_invoices import CHOICES, spread
from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.ids import digest
from ws402.gateway.ledger.tables import invoices, refunds, transfers
from ws402.observability import metrics
from ws402.protocol import InvoiceSecret, PaymentStatus, PaymentStatusRequest, RejectCode

__all__ = ["money"]  # a fixture


@pytest.fixture
async def till(money: Money, database: Database) -> AsyncIterator[Till]:
    async with open_till(money, database) as made:
        yield made


def secret_of(invoice: Any) -> InvoiceSecret:
    return InvoiceSecret(reference=invoice.reference, claim_token=invoice.claim_token)


async def status(till: Till, secret: InvoiceSecret, *, tenant: str = "shop") -> PaymentStatus:
    """What is known once the watch has come to the chain's head."""
    await till.service.watcher.step(till.chain)
    request = PaymentStatusRequest(invoices=[secret])
    return (await till.service.of(tenant).payment_status(request)).payments[0]


async def until(till: Till, invoice: Any, state: str) -> PaymentStatus:
    async with asyncio.timeout(20):
        while (found := await status(till, secret_of(invoice))).state != state:
            await asyncio.sleep(0.05)
    return found


async def sweep(till: Till) -> None:
    """Let the grace of all that waits be over, and look."""
    async with till.database.begin() as connection:
        await connection.execute(update(transfers).where(transfers.c.refund_at.is_not(None)).values(refund_at=1))
    await till.service.upkeep.sweep()


async def test_a_payment_made_elsewhere_is_noticed_and_opens_its_session(till: Till) -> None:
    invoice = await till.invoice(unique_amount=True)
    assert (await status(till, secret_of(invoice))).state == "waiting"
    payer = await till.payer()
    proof = await till.send(payer, invoice)
    found = await until(till, invoice, "arrived")
    assert (found.tx, found.sender, found.amount) == (proof.tx, payer.address, invoice.amount)
    till.name(proof, tx=found.tx, sender=found.sender)
    assert (await till.verify(proof)).valid
    assert (await status(till, secret_of(invoice))).state == "paid"


async def test_a_plain_payment_of_a_unique_amount_is_noticed(evm: Evm, database: Database) -> None:
    async with open_till(evm, database) as till:
        first, second = [await till.invoice(unique_amount=True) for _ in range(2)]
        assert first.unique_amount
        assert first.amount != second.amount
        assert AMOUNT < first.amount <= AMOUNT + max(AMOUNT // 1000, 999)
        payer = await till.payer()
        proof = await till.send(payer, second, tagged=False)
        assert (await until(till, second, "arrived")).tx == proof.tx
        assert (await status(till, secret_of(first))).state == "waiting"
        assert (await till.verify(proof)).valid
        assert (await till.accounts())["session_escrow"] == second.amount


async def test_a03_a_seen_payment_by_the_code_fits_no_other_invoice(evm: Evm, database: Database) -> None:
    """Somebody sees it before its payer's page does, and asks for an invoice of just that amount."""
    async with open_till(evm, database) as till:
        mine = await till.invoice(unique_amount=True)
        payer = await till.payer()
        thiefs = await till.invoice(int(mine.amount))
        assert thiefs.amount != mine.amount, "an amount that names an invoice is given to no other one"
        # What another gateway made at the same moment cannot be known before: the claim is refused all the same.
        async with till.database.begin() as connection:
            mirrored = invoices.c.tag == digest(thiefs.reference)
            await connection.execute(
                update(invoices).where(mirrored).values(amount=int(mine.amount), unique_amount=None)
            )
        proof = await till.send(payer, mine, tagged=False)
        await until(till, mine, "arrived")
        assert (await status(till, secret_of(thiefs))).state == "waiting"
        stolen = proof.__copy__()
        stolen.reference = thiefs.reference
        assert (await till.verify(stolen)).code == RejectCode.BINDING_INVALID
        assert (await till.verify(proof)).valid


async def test_a03_only_who_knows_the_secret_is_told(till: Till) -> None:
    invoice = await till.invoice()
    await till.send(await till.payer(), invoice)
    await until(till, invoice, "arrived")
    guess = InvoiceSecret(reference="r" * 22, claim_token=invoice.claim_token)
    assert await status(till, guess) == PaymentStatus(state="unknown")
    assert await status(till, secret_of(invoice), tenant="other") == PaymentStatus(state="unknown")
    if till.chain.reference_is_public:
        for token in (None, "guessed"):
            public = InvoiceSecret(reference=invoice.reference, claim_token=token)
            assert await status(till, public) == PaymentStatus(state="unknown")


async def test_more_invoices_than_one_call_may_name_are_refused(till: Till) -> None:
    request = PaymentStatusRequest(invoices=[InvoiceSecret(reference=str(each)) for each in range(MOST + 1)])
    with pytest.raises(InvalidRequestError, match="At most"):
        await till.service.of("shop").payment_status(request)


async def test_a_strict_gateway_gives_no_link_whose_payment_it_sends_back(money: Money, database: Database) -> None:
    async with open_till(money, database, bindings=STRICT) as till:
        invoice = await till.invoice(unique_amount=True)
        assert invoice.amount == AMOUNT
        assert "legacy" not in invoice.binding
        if not till.chain.reference_is_public:
            assert invoice.eip681 is None
            assert not invoice.unique_amount


async def test_amounts_stay_near_the_price_and_are_short_to_type() -> None:
    for amount in (1, 99, 30_000, 36 * 10**4, 3 * 10**15, 10**24):
        count, unit = spread(amount)
        assert count * unit <= max(amount // 1000, amount // 100 if amount < 99_900 else 999)
        assert unit == 1 or count >= CHOICES
    assert spread(99) == (0, 1), "what is too small to be told apart is not"
    assert spread(3 * 10**15)[1] == 10**7


async def test_a43_what_nobody_shows_goes_back_by_itself_once(till: Till) -> None:
    invoice = await till.invoice(unique_amount=True)
    payer = await till.payer()
    proof = await till.send(payer, invoice)
    await until(till, invoice, "arrived")
    (row,) = await till.rows(select(transfers).where(transfers.c.invoice_id.is_not(None)))
    life = till.service.settings.invoice_seconds + till.service.settings.unclaimed_grace_seconds
    assert row.refund_at >= invoice.timestamp + life * 1000, "not before its payer had time to show it"
    await till.service.upkeep.sweep()
    assert await till.rows(select(refunds)) == []
    counted = metrics.UNCLAIMED_RETURNED.value(till.chain.network, till.chain.native)
    await sweep(till)
    await sweep(till)
    (owed,) = await till.rows(select(refunds))
    assert (owed.recipient, owed.amount, owed.session_id) == (payer.address, invoice.amount, None)
    assert (await till.accounts())["payer_due"] == invoice.amount
    assert metrics.UNCLAIMED_RETURNED.value(till.chain.network, till.chain.native) == counted + 1
    assert (await status(till, secret_of(invoice))).state == "returned"
    assert (await till.verify(proof)).code == RejectCode.ALREADY_CLAIMED, "the late claim finds it given back"


async def test_a44_a_payment_that_is_too_small_goes_back_although_nobody_shows_it(till: Till) -> None:
    invoice = await till.invoice()
    await till.send(await till.payer(), invoice, amount=int(invoice.amount) - 1)
    assert (await until(till, invoice, "returned")).amount == invoice.amount - 1
    await sweep(till)
    assert (await till.accounts())["payer_due"] == invoice.amount - 1


async def test_what_was_claimed_is_not_sent_back(till: Till) -> None:
    proof = await till.send(await till.payer(), await till.invoice())
    assert (await till.verify(proof)).valid
    await sweep(till)
    assert await till.rows(select(refunds)) == []
    (row,) = await till.rows(select(transfers).where(transfers.c.invoice_id.is_not(None)))
    assert row.refund_at is None, "it is not looked at again"
    assert (await till.accounts())["session_escrow"] == AMOUNT


async def test_money_that_names_no_invoice_is_left_to_the_operator(evm: Evm, database: Database) -> None:
    """The operator's own, perhaps: to send it back by itself would empty the float."""
    async with open_till(evm, database) as till:
        invoice = await till.invoice()
        counted = metrics.UNCLAIMED_NAMELESS.value(till.chain.network, "ETH")
        await till.send(await till.payer(), invoice, amount=7 * AMOUNT, tagged=False)
        await till.service.watcher.step(till.chain)
        (row,) = await till.rows(select(transfers))
        assert (row.refund_at, row.invoice_id) == (None, None)
        assert metrics.UNCLAIMED_NAMELESS.value(till.chain.network, "ETH") == counted + 1
        await sweep(till)
        assert (await till.accounts())["unclaimed"] == 7 * AMOUNT


@pytest.mark.postgres
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_a18_a_claim_that_races_with_the_return_wins_or_loses_whole(evm: Evm, database: Database) -> None:
    async with open_till(evm, database) as till:
        proofs = []
        for _ in range(8):
            invoice = await till.invoice()
            proofs.append(await till.send(await till.payer(), invoice))
            await until(till, invoice, "arrived")
        answers = await asyncio.gather(*(till.verify(each) for each in proofs), *(sweep(till) for _ in range(4)))
        opened = sum(1 for each in answers if each is not None and each.valid)
        owed = await till.rows(select(refunds))
        assert opened + len(owed) == len(proofs), "each is one or the other, and none is both"
        accounts = await till.accounts()
        held = (accounts.get("session_escrow", 0), accounts.get("payer_due", 0))
        assert held == (opened * AMOUNT, len(owed) * AMOUNT)
