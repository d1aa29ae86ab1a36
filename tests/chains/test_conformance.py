"""What every chain must do, by the `Chain` protocol alone. A new kind of chain only adds its world."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator

import pytest
from tests.fixtures.evm import Evm
from tests.fixtures.worlds import LARGE, EvmWorld, World, evm_on

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


@pytest.fixture
def world(any_world: World) -> World:
    """Each chain of every kind."""
    return any_world


@pytest.fixture
async def nonces(evm: Evm, deployed_tokens: dict[str, str]) -> AsyncIterator[EvmWorld]:
    """Each chain whose accounts count their transactions."""
    async with evm_on(evm, deployed_tokens) as made:
        yield made


def terms(world: World, asset: str, amount: int = 1234) -> InvoiceTerms:
    reference = world.chain.new_reference()
    tag = hashlib.sha256(reference.encode()).hexdigest()
    return InvoiceTerms(asset=asset, amount=amount, reference=reference, tag=tag, expires_at=1, label="a film")


def order(recipient: str, asset: str, amount: int) -> RefundOrder:
    return RefundOrder(recipient=recipient, asset=asset, amount=amount, memo="ref_1")


async def seen(world: World, tx: str) -> list[Transfer]:
    """The transfers of a transaction as the watcher sees them."""
    head = await world.chain.head()
    blocks = await world.chain.blocks(max(1, head.block - world.recent), head.block)
    return [each for block in blocks for each in block.transfers if each.tx == tx]


async def sign(world: World, recipient: str, asset: str, amount: int) -> SignedTransaction:
    nonce = await world.chain.next_nonce(world.chain.address_of(world.signer))
    return await world.chain.sign(order(recipient, asset, amount), world.signer, nonce=nonce)


async def included(world: World, tx: str) -> TxStatus:
    """Wait until a transaction is in a block: some nodes make one a moment after they have answered."""
    end = time.monotonic() + 20
    while (status := await world.chain.status(tx)).state in (TxState.PENDING, TxState.UNKNOWN):
        assert time.monotonic() < end, f"{tx} is in no block after 20 s"
        await asyncio.sleep(0.01)
    return status


@pytest.fixture(params=["native", "token"])
def asset(request: pytest.FixtureRequest, world: World) -> str:
    return world.chain.native if request.param == "native" else world.token


@pytest.fixture(params=["native", "token"])
def nonce_asset(request: pytest.FixtureRequest, nonces: EvmWorld) -> str:
    return nonces.chain.native if request.param == "native" else nonces.token


async def test_the_head_and_the_final_block_move_on(world: World) -> None:
    before = await world.chain.head()
    world.advance(1)
    world.finalize()
    after = await world.chain.head()
    assert after.block > before.block
    assert before.block <= after.final <= after.block
    assert after.block_hash != before.block_hash
    assert abs(after.block_time / 1000 - time.time()) < 120


async def test_blocks_come_whole_and_linked(world: World) -> None:
    payer = world.payer()
    txs = [world.pay(payer, world.chain.native, 5) for _ in range(3)]
    world.advance(9)
    head = await world.chain.head()
    first = head.block - world.recent
    blocks = await world.chain.blocks(max(1, first), head.block)
    assert [each.block for each in blocks] == sorted({each.block for each in blocks})
    assert [each.parent_hash for each in blocks[1:]] == [each.block_hash for each in blocks[:-1]]
    assert (blocks[-1].block, blocks[-1].block_hash) == (head.block, head.block_hash)
    assert [each.tx for block in blocks for each in block.transfers if each.tx in txs] == txs
    (before,) = await world.chain.blocks(blocks[0].block - 1, blocks[0].block - 1)
    (alone,) = await world.chain.blocks(blocks[0].block, blocks[0].block)
    assert alone.parent_hash == before.block_hash, "the first one of an answer is linked to the block before"


async def test_a_payment_is_seen_with_its_payer_amount_and_tag(world: World, asset: str) -> None:
    payer = world.payer()
    mark, tag = world.mark()
    tx = world.pay(payer, asset, 4321, tag=mark)
    (transfer,) = await seen(world, tx)
    assert (transfer.network, transfer.asset, transfer.amount) == (world.chain.network, asset, 4321)
    assert transfer.sender == world.chain.normalize_address(payer.address)
    assert transfer.recipient == world.chain.recipient
    assert transfer.tags == (tag,)
    found = await world.chain.lookup(tx)
    assert found.state in (TxState.INCLUDED, TxState.FINAL)
    assert found.transfers == (transfer,)


async def test_a_payment_to_another_accepted_account_is_ours_too_and_moves_between_ours_are_none(
    world: World, asset: str
) -> None:
    payer, second = world.payer(), world.payer()
    account = world.chain.normalize_address(second.address)
    assert await seen(world, world.pay(payer, asset, 11, to=account)) == []
    world.chain.accept(account)
    mark, tag = world.mark()
    tx = world.pay(payer, asset, 12, to=account, tag=mark)
    (transfer,) = await seen(world, tx)
    assert (transfer.recipient, transfer.amount, transfer.tags) == (account, 12, (tag,))
    assert (await world.chain.lookup(tx)).transfers == (transfer,)
    (still,) = await seen(world, world.pay(payer, asset, 13))
    assert still.recipient == world.chain.recipient
    assert await seen(world, world.pay(second, asset, 14)) == []


async def test_a_payment_without_a_tag_has_none(world: World, asset: str) -> None:
    (transfer,) = await seen(world, world.pay(world.payer(), asset, 7))
    assert transfer.tags == ()


async def test_several_payments_in_neighbouring_blocks_are_all_seen(world: World) -> None:
    payer = world.payer()
    txs = [world.pay(payer, asset, 100 + i) for i, asset in enumerate([world.chain.native, world.token] * 3)]
    head = await world.chain.head()
    blocks = await world.chain.blocks(max(1, head.block - world.recent), head.block)
    amounts = [each.amount for block in blocks for each in block.transfers if each.tx in txs]
    assert amounts == [100, 101, 102, 103, 104, 105]


async def test_a14_a_failed_payment_pays_nothing(world: World, asset: str) -> None:
    tx = world.pay_in_vain(world.payer(), asset)
    found = await world.chain.lookup(tx)
    assert (found.state, found.transfers) == (TxState.FAILED, ())
    assert await seen(world, tx) == []


async def test_a_payment_to_somebody_else_is_told_apart(world: World, asset: str) -> None:
    tx = world.pay(world.payer(), asset, 5 * world.unit, to=world.nobody(), tag=world.mark()[0])
    found = await world.chain.lookup(tx)
    assert (found.transfers, found.other) == ((), ("recipient",))
    assert await seen(world, tx) == []


async def test_a_transaction_that_was_not_sent_is_unknown(world: World) -> None:
    signed = await sign(world, world.nobody(), world.chain.native, world.unit)
    assert (await world.chain.lookup(signed.tx)).state is TxState.UNKNOWN
    assert (await world.chain.status(signed.tx)).state is TxState.UNKNOWN
    assert not await world.chain.expired(signed)
    await world.chain.broadcast(signed)
    assert (await included(world, signed.tx)).state in (TxState.INCLUDED, TxState.FINAL)
    assert not await world.chain.expired(signed)


async def test_where_many_transactions_stand_is_told_in_their_order(world: World) -> None:
    signed = await sign(world, world.nobody(), world.chain.native, world.unit)
    paid = world.pay(world.payer(), world.chain.native, 5)
    failed = world.pay_in_vain(world.payer(), world.chain.native)
    await seen(world, failed)
    states = await world.chain.states([signed.tx, paid, failed, signed.tx])
    assert states == [TxState.UNKNOWN, TxState.INCLUDED, TxState.INCLUDED, TxState.UNKNOWN]


async def test_large_payments_need_more_confirmations(world: World) -> None:
    native = world.chain.native
    assert world.chain.confirmations(native, LARGE) == 1
    assert world.chain.confirmations(native, LARGE + 1) == world.large_needs
    assert world.chain.confirmations(world.token, LARGE + 1) == 1


async def test_a10_details_lead_to_exactly_the_payment_that_they_ask_for(world: World, asset: str) -> None:
    wanted = terms(world, asset)
    details = world.chain.details(wanted)
    assert (details.network, details.recipient, details.asset) == (world.chain.network, world.chain.recipient, asset)
    assert (details.reference, details.expires_at) == (wanted.reference, 1)
    assert {"tag", "claim_token"} & set(details.binding or ())
    assert sorted(details.instructions) == ["step1", "step2", "step3"]
    tx = world.pay(world.payer(), asset, parse_amount(details.amount), tag=world.mark_of(details))
    (transfer,) = await seen(world, tx)
    assert (transfer.amount, transfer.tags) == (wanted.amount, (wanted.tag,))


async def test_references_cannot_be_guessed(world: World) -> None:
    references = {world.chain.new_reference() for _ in range(1000)}
    assert len(references) == 1000
    assert all(len(each) >= 32 for each in references)


async def test_an_address_and_a_transaction_have_one_spelling(world: World) -> None:
    address = world.nobody()
    assert world.chain.normalize_address(world.chain.normalize_address(address)) == address
    assert world.chain.normalize_address(world.chain.recipient) == world.chain.recipient
    tx = (await sign(world, address, world.chain.native, world.unit)).tx
    assert world.chain.normalize_tx(tx) == tx
    for nonsense in ("", "0x", "hello", address + "0", tx + "0", address[:-4], "0" * 5000):
        with pytest.raises(InvalidRequestError):
            world.chain.normalize_address(nonsense)
        with pytest.raises(InvalidRequestError):
            world.chain.normalize_tx(nonsense)


async def test_a03_only_the_payer_can_sign_for_a_payment(world: World) -> None:
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


async def test_an_account_of_a_key_is_no_contract(world: World) -> None:
    assert not await world.chain.is_contract(world.chain.recipient)
    assert not await world.chain.is_contract(world.nobody())


async def test_balances_are_told_for_the_past_too(world: World, asset: str) -> None:
    before = await world.chain.head()
    held = await world.chain.balance(world.chain.recipient, asset)
    world.pay(world.payer(), asset, 77)
    assert await world.chain.balance(world.chain.recipient, asset) == held + 77
    assert await world.chain.balance(world.chain.recipient, asset, before.block) == held


async def test_a_refund_arrives_once_and_costs_what_is_told(world: World, asset: str) -> None:
    chain, recipient, sender = world.chain, world.nobody(), world.chain.recipient
    sent = 5000 * world.unit
    held = {each: await chain.balance(sender, each) for each in chain.assets}
    cost = await chain.estimate_fee(order(recipient, asset, sent), sender)
    signed = await sign(world, recipient, asset, sent)
    assert await chain.balance(recipient, asset) == 0, "signing sends nothing"
    assert signed.sender == chain.address_of(world.signer) == sender
    await chain.broadcast(signed)
    status = await included(world, signed.tx)
    for _ in range(3):
        await chain.broadcast(signed)
    assert status.state in (TxState.INCLUDED, TxState.FINAL)
    assert await chain.balance(recipient, asset) == sent
    spent = held[chain.native] - await chain.balance(sender, chain.native)
    assert status.fee == spent - (sent if asset == chain.native else 0)
    assert 0 < status.fee <= signed.max_fee
    assert cost == pytest.approx(status.fee, rel=0.5)
    assert await chain.balance(sender, asset) == held[asset] - sent - (status.fee if asset == chain.native else 0)
    world.finalize()
    last = await chain.status(signed.tx)
    assert (last.state, last.final, last.block, last.fee) == (TxState.FINAL, True, status.block, status.fee)
    await chain.broadcast(signed)
    assert await chain.balance(recipient, asset) == sent


async def test_what_our_account_sent_is_told_with_whom_it_paid_and_what_it_cost(world: World, asset: str) -> None:
    sender = world.chain.address_of(world.signer)
    first = (await world.chain.head()).block
    to = world.nobody()
    signed = await sign(world, to, asset, 5000 * world.unit)
    await world.chain.broadcast(signed)
    status = await included(world, signed.tx)
    world.pay(world.payer(), asset, 77)  # somebody else's
    world.advance(1)
    last = (await world.chain.head()).block
    (sent,) = [each for each in await world.chain.sends([sender], first, last) if each.tx == signed.tx]
    assert (sent.sender, sent.nonce, sent.block, sent.fee) == (sender, signed.nonce, status.block, status.fee)
    assert [(each.recipient, each.asset, each.amount) for each in sent.moves] == [(to, asset, 5000 * world.unit)]
    assert {each.sender for each in await world.chain.sends([sender], first, last)} == {sender}
    assert await world.chain.sends([world.chain.normalize_address(to)], first, last) == []
    assert await world.chain.outstanding(sender) == 0


async def test_an_empty_account_is_told_apart_from_a_refusing_recipient(world: World, asset: str) -> None:
    chain = world.chain
    too_much = await chain.balance(chain.recipient, asset) + 1
    with pytest.raises(BroadcastRefusedError) as caught:
        await sign(world, world.nobody(), asset, too_much)
    assert caught.value.reason == "insufficient_funds"


# --- chains with nonces -----------------------------------------------------------------------------------------------


async def test_a23_a_waiting_refund_is_replaced_under_the_same_nonce(nonces: EvmWorld, nonce_asset: str) -> None:
    chain, recipient = nonces.chain, nonces.nobody()
    with nonces.holding():
        first = await sign(nonces, recipient, nonce_asset, 10)
        await chain.broadcast(first)
        second = await chain.sign(order(recipient, nonce_asset, 10), nonces.signer, nonce=first.nonce, replaces=first)
        third = await chain.sign(order(recipient, nonce_asset, 10), nonces.signer, nonce=first.nonce, replaces=second)
        assert len({first.tx, second.tx, third.tx}) == 3
        await chain.broadcast(second)
        await chain.broadcast(third)
    assert (await included(nonces, third.tx)).state is TxState.INCLUDED
    assert (await chain.status(first.tx)).state is TxState.UNKNOWN
    assert await chain.balance(recipient, nonce_asset) == 10


async def test_a23_a_cancelled_nonce_moves_no_money(nonces: EvmWorld) -> None:
    chain, recipient = nonces.chain, nonces.nobody()
    with nonces.holding():
        refund = await sign(nonces, recipient, chain.native, 10)
        await chain.broadcast(refund)
        cancel = await chain.sign_cancel(nonces.signer, nonce=refund.nonce or 0, replaces=refund)
        await chain.broadcast(cancel)
    assert (await included(nonces, cancel.tx)).state is TxState.INCLUDED
    assert await chain.balance(recipient, chain.native) == 0
    assert await chain.next_nonce(chain.recipient) == (refund.nonce or 0) + 1


async def test_a23_a_nonce_that_was_used_is_told(nonces: EvmWorld) -> None:
    chain = nonces.chain
    nonce = await chain.next_nonce(chain.recipient)
    one, two = [
        await chain.sign(order(nonces.nobody(), chain.native, amount), nonces.signer, nonce=nonce) for amount in (1, 2)
    ]
    await chain.broadcast(one)
    await included(nonces, one.tx)
    with pytest.raises(BroadcastRefusedError) as caught:
        await chain.broadcast(two)
    assert caught.value.reason == "nonce_used"


async def test_an_underpriced_replacement_is_told(nonces: EvmWorld) -> None:
    chain = nonces.chain
    with nonces.holding():
        one = await sign(nonces, nonces.nobody(), chain.native, 1)
        two = await sign(nonces, nonces.nobody(), chain.native, 1)
        await chain.broadcast(one)
        with pytest.raises(BroadcastRefusedError) as caught:
            await chain.broadcast(two)
    assert caught.value.reason == "underpriced"


async def test_consecutive_nonces_share_a_block(nonces: EvmWorld) -> None:
    chain, recipients = nonces.chain, [nonces.nobody() for _ in range(20)]
    with nonces.holding():
        nonce = await chain.next_nonce(chain.recipient)
        assert nonce is not None
        for position, recipient in enumerate(recipients):
            await chain.broadcast(
                await chain.sign(order(recipient, chain.native, 3), nonces.signer, nonce=nonce + position)
            )
        last = await chain.sign(order(nonces.nobody(), chain.native, 3), nonces.signer, nonce=nonce + len(recipients))
        await chain.broadcast(last)
    await included(nonces, last.tx)
    assert [await chain.balance(each, chain.native) for each in recipients] == [3] * 20
    assert await chain.next_nonce(chain.recipient) == nonce + 21


async def test_a_payment_that_waits_is_pending_and_an_unknown_one_unknown(nonces: EvmWorld) -> None:
    signed = await sign(nonces, nonces.nobody(), nonces.chain.native, 1)
    assert (await nonces.chain.lookup(signed.tx)).state is TxState.UNKNOWN
    assert (await nonces.chain.status(signed.tx)).state is TxState.UNKNOWN
    with nonces.holding():
        await nonces.chain.broadcast(signed)
        assert (await nonces.chain.lookup(signed.tx)).state is TxState.PENDING
        assert (await nonces.chain.status(signed.tx)).state is TxState.PENDING
    assert (await included(nonces, signed.tx)).state is TxState.INCLUDED
