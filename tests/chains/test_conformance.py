"""What every chain must do, by the `Chain` protocol alone. A new kind of chain only adds its world."""

from __future__ import annotations

import asyncio
import hashlib
import time

import pytest
from tests.fixtures.worlds import FINAL_AFTER, LARGE, EvmWorld

from ws402.chains.base import (
    BroadcastRefusedError,
    InvoiceTerms,
    RefundOrder,
    SignedTransaction,
    Transfer,
    TxState,
    TxStatus,
)
from ws402.errors import InvalidRequestError
from ws402.money import parse_amount
from ws402.protocol import payer_message

TAG = hashlib.sha256(b"a secret reference").hexdigest()


def terms(world: EvmWorld, asset: str, amount: int = 1234) -> InvoiceTerms:
    reference = world.chain.new_reference()
    tag = hashlib.sha256(reference.encode()).hexdigest()
    return InvoiceTerms(asset=asset, amount=amount, reference=reference, tag=tag, expires_at=1, label="a film")


def order(recipient: str, asset: str, amount: int) -> RefundOrder:
    return RefundOrder(recipient=recipient, asset=asset, amount=amount, memo="ref_1")


async def seen(world: EvmWorld, tx: str) -> list[Transfer]:
    """The transfers of a transaction as the watcher sees them."""
    head = await world.chain.head()
    blocks = await world.chain.blocks(max(1, head.block - 20), head.block)
    return [each for block in blocks for each in block.transfers if each.tx == tx]


async def sign(world: EvmWorld, recipient: str, asset: str, amount: int) -> SignedTransaction:
    nonce = await world.chain.next_nonce(world.chain.address_of(world.signer))
    return await world.chain.sign(order(recipient, asset, amount), world.signer, nonce=nonce)


async def included(world: EvmWorld, tx: str) -> TxStatus:
    """Wait until a transaction is in a block: some nodes make one a moment after they have answered."""
    end = time.monotonic() + 10
    while (status := await world.chain.status(tx)).state is TxState.PENDING:
        assert time.monotonic() < end, f"{tx} is in no block after 10 s"
        await asyncio.sleep(0.01)
    return status


@pytest.fixture(params=["native", "token"])
def asset(request: pytest.FixtureRequest, world: EvmWorld) -> str:
    return world.chain.native if request.param == "native" else world.token


async def test_the_head_and_the_final_block_move_on(world: EvmWorld) -> None:
    before = await world.chain.head()
    world.advance(FINAL_AFTER + 1)
    after = await world.chain.head()
    assert after.block > before.block
    assert before.block <= after.final <= after.block
    assert after.block_hash != before.block_hash
    assert abs(after.block_time / 1000 - time.time()) < 120


async def test_blocks_come_whole_and_linked(world: EvmWorld) -> None:
    world.advance(12)
    head = await world.chain.head()
    blocks = await world.chain.blocks(head.block - 11, head.block)
    assert [each.block for each in blocks] == list(range(head.block - 11, head.block + 1))
    assert [each.parent_hash for each in blocks[1:]] == [each.block_hash for each in blocks[:-1]]
    assert blocks[-1].block_hash == head.block_hash


async def test_a_payment_is_seen_with_its_payer_amount_and_tag(world: EvmWorld, asset: str) -> None:
    payer = world.payer()
    tx = world.pay(payer, asset, 4321, tag=TAG)
    (transfer,) = await seen(world, tx)
    assert (transfer.network, transfer.asset, transfer.amount) == (world.chain.network, asset, 4321)
    assert transfer.sender == world.chain.normalize_address(payer.address)
    assert transfer.recipient == world.chain.recipient
    assert transfer.tags == (TAG,)
    found = await world.chain.lookup(tx)
    assert found.state in (TxState.INCLUDED, TxState.FINAL)
    assert found.transfers == (transfer,)


async def test_a_payment_without_a_tag_has_none(world: EvmWorld, asset: str) -> None:
    (transfer,) = await seen(world, world.pay(world.payer(), asset, 7))
    assert transfer.tags == ()


async def test_several_payments_in_neighbouring_blocks_are_all_seen(world: EvmWorld) -> None:
    payer = world.payer()
    txs = [world.pay(payer, asset, 100 + i) for i, asset in enumerate([world.chain.native, world.token] * 3)]
    head = await world.chain.head()
    blocks = await world.chain.blocks(head.block - 20, head.block)
    amounts = [each.amount for block in blocks for each in block.transfers if each.tx in txs]
    assert amounts == [100, 101, 102, 103, 104, 105]


async def test_a14_a_failed_payment_pays_nothing(world: EvmWorld, asset: str) -> None:
    tx = world.pay_in_vain(world.payer(), asset)
    found = await world.chain.lookup(tx)
    assert (found.state, found.transfers) == (TxState.FAILED, ())
    assert await seen(world, tx) == []


async def test_a_payment_to_somebody_else_is_told_apart(world: EvmWorld, asset: str) -> None:
    tx = world.pay(world.payer(), asset, 5, to=world.nobody(), tag=TAG)
    found = await world.chain.lookup(tx)
    assert (found.transfers, found.other) == ((), ("recipient",))
    assert await seen(world, tx) == []


async def test_a_payment_that_waits_is_pending_and_an_unknown_one_unknown(world: EvmWorld) -> None:
    signed = await sign(world, world.nobody(), world.chain.native, 1)
    assert (await world.chain.lookup(signed.tx)).state is TxState.UNKNOWN
    assert (await world.chain.status(signed.tx)).state is TxState.UNKNOWN
    with world.holding():
        await world.chain.broadcast(signed)
        assert (await world.chain.lookup(signed.tx)).state is TxState.PENDING
        assert (await world.chain.status(signed.tx)).state is TxState.PENDING
    assert (await included(world, signed.tx)).state is TxState.INCLUDED


async def test_large_payments_need_more_confirmations(world: EvmWorld) -> None:
    native = world.chain.native
    assert world.chain.confirmations(native, LARGE) == 1
    assert world.chain.confirmations(native, LARGE + 1) == 5
    assert world.chain.confirmations(world.token, LARGE + 1) == 1


async def test_a10_details_lead_to_exactly_the_payment_that_they_ask_for(world: EvmWorld, asset: str) -> None:
    wanted = terms(world, asset)
    details = world.chain.details(wanted)
    assert (details.network, details.recipient, details.asset) == (world.chain.network, world.chain.recipient, asset)
    assert (details.reference, details.expires_at) == (wanted.reference, 1)
    assert "tag" in (details.binding or [])
    assert sorted(details.instructions) == ["step1", "step2", "step3"]
    tx = world.pay(world.payer(), asset, parse_amount(details.amount), tag=(details.data or "").removeprefix("0x"))
    (transfer,) = await seen(world, tx)
    assert (transfer.amount, transfer.tags) == (wanted.amount, (wanted.tag,))


async def test_references_cannot_be_guessed(world: EvmWorld) -> None:
    references = {world.chain.new_reference() for _ in range(1000)}
    assert len(references) == 1000
    assert all(len(each) >= 32 for each in references)


async def test_an_address_and_a_transaction_have_one_spelling(world: EvmWorld) -> None:
    address = world.nobody()
    assert world.chain.normalize_address(world.chain.normalize_address(address)) == address
    assert world.chain.normalize_address(world.chain.recipient) == world.chain.recipient
    tx = (await sign(world, address, world.chain.native, 1)).tx
    assert world.chain.normalize_tx(tx) == tx
    for nonsense in ("", "0x", "hello", address + "0", tx + "0", address[:-1], "0" * 5000):
        with pytest.raises(InvalidRequestError):
            world.chain.normalize_address(nonsense)
        with pytest.raises(InvalidRequestError):
            world.chain.normalize_tx(nonsense)


async def test_a03_only_the_payer_can_sign_for_a_payment(world: EvmWorld) -> None:
    payer, thief = world.payer(), world.payer()
    fields = {"reference": "r", "network": world.chain.network, "tx": "0x1", "recipient": world.chain.recipient}
    text = payer_message(**fields)
    mine = world.sign_text(payer, text)
    address = world.chain.normalize_address(payer.address)
    assert await world.chain.check_signature(address, text, mine)
    assert not await world.chain.check_signature(address, text, world.sign_text(thief, text))
    for name in fields:
        other = payer_message(**{**fields, name: "another"})
        assert not await world.chain.check_signature(address, other, mine)
    for nonsense in ("", "0x", "zz", "0x00", mine[:-2], mine + "00", "0x" + "00" * 65, "0x" + "ff" * 65):
        assert not await world.chain.check_signature(address, text, nonsense)


async def test_an_account_of_a_key_is_no_contract(world: EvmWorld) -> None:
    assert not await world.chain.is_contract(world.chain.recipient)
    assert not await world.chain.is_contract(world.nobody())


async def test_balances_are_told_for_the_past_too(world: EvmWorld, asset: str) -> None:
    before = await world.chain.head()
    held = await world.chain.balance(world.chain.recipient, asset)
    world.pay(world.payer(), asset, 77)
    assert await world.chain.balance(world.chain.recipient, asset) == held + 77
    assert await world.chain.balance(world.chain.recipient, asset, before.block) == held


async def test_a_refund_arrives_once_and_costs_what_is_told(world: EvmWorld, asset: str) -> None:
    chain, recipient, sender = world.chain, world.nobody(), world.chain.recipient
    held = {each: await chain.balance(sender, each) for each in chain.assets}
    cost = await chain.estimate_fee(order(recipient, asset, 5000), sender)
    signed = await sign(world, recipient, asset, 5000)
    assert await chain.balance(recipient, asset) == 0, "signing sends nothing"
    assert signed.sender == chain.address_of(world.signer) == sender
    await chain.broadcast(signed)
    status = await included(world, signed.tx)
    for _ in range(3):
        await chain.broadcast(signed)
    assert (status.state, status.final) == (TxState.INCLUDED, False)
    assert await chain.balance(recipient, asset) == 5000
    spent = held[chain.native] - await chain.balance(sender, chain.native)
    assert status.fee == spent - (5000 if asset == chain.native else 0)
    assert 0 < status.fee <= signed.max_fee
    assert cost == pytest.approx(status.fee, rel=0.5)
    assert await chain.balance(sender, asset) == held[asset] - 5000 - (status.fee if asset == chain.native else 0)
    world.advance(FINAL_AFTER)
    last = await chain.status(signed.tx)
    assert (last.state, last.final, last.block, last.fee) == (TxState.FINAL, True, status.block, status.fee)
    await chain.broadcast(signed)
    assert await chain.balance(recipient, asset) == 5000


async def test_a23_a_waiting_refund_is_replaced_under_the_same_nonce(world: EvmWorld, asset: str) -> None:
    chain, recipient = world.chain, world.nobody()
    with world.holding():
        first = await sign(world, recipient, asset, 10)
        await chain.broadcast(first)
        second = await chain.sign(order(recipient, asset, 10), world.signer, nonce=first.nonce, replaces=first)
        third = await chain.sign(order(recipient, asset, 10), world.signer, nonce=first.nonce, replaces=second)
        assert len({first.tx, second.tx, third.tx}) == 3
        await chain.broadcast(second)
        await chain.broadcast(third)
    assert (await included(world, third.tx)).state is TxState.INCLUDED
    assert (await chain.status(first.tx)).state is TxState.UNKNOWN
    assert await chain.balance(recipient, asset) == 10


async def test_a23_a_cancelled_nonce_moves_no_money(world: EvmWorld) -> None:
    chain, recipient = world.chain, world.nobody()
    with world.holding():
        refund = await sign(world, recipient, chain.native, 10)
        await chain.broadcast(refund)
        cancel = await chain.sign_cancel(world.signer, nonce=refund.nonce or 0, replaces=refund)
        await chain.broadcast(cancel)
    assert (await included(world, cancel.tx)).state is TxState.INCLUDED
    assert await chain.balance(recipient, chain.native) == 0
    assert await chain.next_nonce(chain.recipient) == (refund.nonce or 0) + 1


async def test_a23_a_nonce_that_was_used_is_told(world: EvmWorld) -> None:
    chain = world.chain
    nonce = await chain.next_nonce(chain.recipient)
    one, two = [
        await chain.sign(order(world.nobody(), chain.native, amount), world.signer, nonce=nonce) for amount in (1, 2)
    ]
    await chain.broadcast(one)
    await included(world, one.tx)
    with pytest.raises(BroadcastRefusedError) as caught:
        await chain.broadcast(two)
    assert caught.value.reason == "nonce_used"


async def test_an_underpriced_replacement_is_told(world: EvmWorld) -> None:
    chain = world.chain
    with world.holding():
        one = await sign(world, world.nobody(), chain.native, 1)
        two = await sign(world, world.nobody(), chain.native, 1)
        await chain.broadcast(one)
        with pytest.raises(BroadcastRefusedError) as caught:
            await chain.broadcast(two)
    assert caught.value.reason == "underpriced"


async def test_an_empty_account_is_told_apart_from_a_refusing_recipient(world: EvmWorld, asset: str) -> None:
    chain = world.chain
    too_much = await chain.balance(chain.recipient, asset) + 1
    with pytest.raises(BroadcastRefusedError) as caught:
        await sign(world, world.nobody(), asset, too_much)
    assert caught.value.reason == "insufficient_funds"


async def test_consecutive_nonces_share_a_block(world: EvmWorld) -> None:
    chain, recipients = world.chain, [world.nobody() for _ in range(20)]
    with world.holding():
        nonce = await chain.next_nonce(chain.recipient)
        assert nonce is not None
        for position, recipient in enumerate(recipients):
            await chain.broadcast(
                await chain.sign(order(recipient, chain.native, 3), world.signer, nonce=nonce + position)
            )
        last = await chain.sign(order(world.nobody(), chain.native, 3), world.signer, nonce=nonce + len(recipients))
        await chain.broadcast(last)
    await included(world, last.tx)
    assert [await chain.balance(each, chain.native) for each in recipients] == [3] * 20
    assert await chain.next_nonce(chain.recipient) == nonce + 21
