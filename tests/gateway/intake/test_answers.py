"""What an invoice or a proof is refused for, and what a proof is told that cannot be judged yet."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from tests.gateway.machine.chain import MemoryChain
from tests.gateway.machine.gateway import SETTINGS
from tests.gateway.machine.shop import PAYER, Shop, open_shop

from ws402.chains.base import ChainUnavailableError, TransferLookup, TxState
from ws402.errors import ConflictError, InvalidRequestError
from ws402.gateway.ledger.tables import refunds, sessions
from ws402.protocol import RejectCode


class SlowChain(MemoryChain):
    """`needed`: confirmations. `away`: signatures cannot be checked. `pays_in_others`: every transaction does."""

    needed = 1
    away = pays_in_others = False

    def confirmations(self, asset: str, amount: int) -> int | None:
        return self.needed

    async def check_signature(self, payer: str, message: str, signature: str) -> bool:
        if self.away:
            raise ChainUnavailableError("no endpoint answers")
        return await super().check_signature(payer, message, signature)

    async def states(self, txs: Sequence[str]) -> list[TxState]:
        return [TxState.INCLUDED] * len(txs) if self.pays_in_others else await super().states(txs)

    async def lookup(self, tx: str, *, amount: int = 0) -> TransferLookup:
        if self.pays_in_others:
            return TransferLookup(state=TxState.INCLUDED, other=("asset",))
        return await super().lookup(tx, amount=amount)


class Counter(Shop):
    chain: SlowChain


@pytest.fixture
async def shop(database_url: str) -> AsyncIterator[Counter]:
    async with open_shop(database_url, SlowChain()) as made:
        made.__class__ = Counter
        assert isinstance(made, Counter)
        yield made


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"network": "nowhere"}, "Network 'nowhere' is not configured. Use one of: memory."),
        ({"asset": "DOGE"}, "Asset 'DOGE' is not accepted on memory. Use one of: ETH, USD."),
        ({"resource_id": ""}, "'resourceId' must have 1 to 256 characters."),
        ({"resource_id": "x" * 257}, "'resourceId' must have 1 to 256 characters."),
        ({"estimated_duration": 0}, "'estimatedDuration' must be between 1 second and a year."),
        ({"estimated_duration": 31_536_001}, "'estimatedDuration' must be between 1 second and a year."),
    ],
)
async def test_an_invoice_that_cannot_be_made_says_what_to_change(
    shop: Counter, wrong: dict[str, Any], told: str
) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        await shop.bill(300, **wrong)
    assert f"{refused.value.message} {refused.value.remedy or ''}".strip() == told


async def test_a_session_is_topped_up_in_the_asset_in_which_it_is_paid(shop: Counter) -> None:
    session_id = await shop.open()
    with pytest.raises(ConflictError, match="paid in ETH on memory"):
        await shop.bill(300, asset="USD", session_id=session_id)
    invoice = await shop.bill(300, session_id=session_id)
    assert (await shop.claim(invoice, await shop.pay(invoice))).session_id == session_id
    assert await shop.rows(sessions.c.paid) == [(600,)]


async def test_a_payment_that_is_not_deep_enough_may_be_shown_again(shop: Counter) -> None:
    shop.chain.needed = 3
    invoice = await shop.bill(300)
    tx = await shop.pay(invoice)
    assert (await shop.claim(invoice, tx)).code == RejectCode.TRANSFER_UNCONFIRMED
    shop.chain.mine(2)
    await shop.look()
    assert (await shop.claim(invoice, tx)).valid


async def test_a48_a_signature_that_cannot_be_checked_now_burns_no_proof(shop: Counter) -> None:
    first, second = await shop.bill(300), await shop.bill(300)
    tx = await shop.pay(first)
    signed = {"payer_signature": f"signed by {PAYER}"}
    shop.chain.away = True
    assert (await shop.claim(second, tx, **signed)).code == RejectCode.CHAIN_UNAVAILABLE
    shop.chain.away = False
    assert (await shop.claim(second, tx, payer_signature="signed by nobody")).code == RejectCode.BINDING_INVALID
    assert (await shop.claim(second, tx, **signed)).valid


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proofs are waited for."""
    monkeypatch.setitem(SETTINGS, "verify_wait_seconds", 20)


@pytest.mark.usefixtures("patient")
async def test_a_transaction_in_what_is_not_accepted_says_so(database_url: str) -> None:
    chain = SlowChain()
    chain.pays_in_others = True
    async with open_shop(database_url, chain) as shop:
        tx = chain.pay(PAYER, "ETH", 300)
        assert (await shop.claim(await shop.bill(300), tx)).code == RejectCode.WRONG_ASSET


@pytest.mark.usefixtures("patient")
async def test_a04_a_payment_from_before_the_ledger_is_part_of_the_opening_balance(database_url: str) -> None:
    chain = SlowChain()
    tx = chain.pay(PAYER, "ETH", 300)
    chain.mine(8)
    async with open_shop(database_url, chain) as shop:
        assert (await shop.claim(await shop.bill(300), tx)).code == RejectCode.TRANSFER_TOO_OLD
        assert await shop.rows(refunds.c.id) == []
