"""Full blocks, reorgs, lost transactions and rising fees, on the embedded chain and on anvil."""

from __future__ import annotations

import pytest
from tests.fixtures.evm import ETHER, Evm
from tests.fixtures.worlds import EvmWorld

from ws402.chains.base import TxState
from ws402.chains.evm.transfers import number

GWEI = 10**9


async def test_two_hundred_payments_in_one_block_are_all_seen(world: EvmWorld) -> None:
    evm, payer = world.evm, world.payer()
    sent: list[str] = []
    first = int(evm.rpc("eth_getTransactionCount", payer.address, "latest"), 16)
    with world.holding():
        for i in range(200):
            native, amount = i % 2 == 0, 1000 + i
            fields = {"nonce": first + i, "gas": 80_000, "maxFeePerGas": 4 * GWEI}
            if native:
                raw = evm.sign(payer, world.chain.recipient, value=amount, **fields)
            else:
                data = world.contract.data("transfer", world.chain.recipient, amount)
                raw = evm.sign(payer, world.contract.address, data=data, **fields)
            sent.append(evm.submit(raw))
    receipts = [evm.receipt(tx) for tx in sent]
    numbers = {number(each["blockNumber"]) for each in receipts}
    blocks = await world.chain.blocks(min(numbers), max(numbers))
    found = [each for block in blocks for each in block.transfers]
    assert len(numbers) == 1
    assert [each.tx for each in found] == sent
    assert [each.amount for each in found] == list(range(1000, 1200))
    assert len({each.index for each in found}) == 101, "every log has its own number"


async def test_a15_the_hash_of_a_reorganised_block_changes_and_links_on(world: EvmWorld) -> None:
    tx = world.pay(world.payer(), "ETH", 5)
    (before,) = (await world.chain.lookup(tx)).transfers
    world.advance(2)
    head = await world.chain.head()
    world.evm.rpc("anvil_reorg", head.block - before.block + 1, [])
    blocks = await world.chain.blocks(before.block - 1, before.block)
    assert blocks[1].parent_hash == blocks[0].block_hash
    assert blocks[1].block_hash != before.block_hash
    assert [each.tx for each in blocks[1].transfers] == []
    assert (await world.chain.status(tx)).state in (TxState.UNKNOWN, TxState.PENDING)


async def test_a19_a_refund_that_the_nodes_forgot_is_sent_again_as_it_was(world: EvmWorld) -> None:
    recipient = world.nobody()
    with world.holding():
        nonce = await world.chain.next_nonce(world.chain.recipient)
        signed = await world.chain.sign(world.order(recipient, 9), world.signer, nonce=nonce)
        await world.chain.broadcast(signed)
        world.evm.rpc("anvil_dropTransaction", signed.tx)
        assert (await world.chain.status(signed.tx)).state is TxState.UNKNOWN
        await world.chain.broadcast(signed)
    world.evm.receipt(signed.tx)
    assert world.evm.balance(recipient) == 9


@pytest.mark.anvil
async def test_a_refund_that_the_base_fee_overtook_is_raised_and_arrives(anvil: str) -> None:
    evm = Evm(anvil, name="anvil")
    world = EvmWorld(evm)
    await world.chain.start()
    recipient = world.nobody()
    try:
        with world.holding():
            nonce = await world.chain.next_nonce(world.chain.recipient)
            signed = await world.chain.sign(world.order(recipient, 9), world.signer, nonce=nonce)
            await world.chain.broadcast(signed)
            evm.rpc("anvil_setNextBlockBaseFeePerGas", hex(20 * GWEI))
            evm.mine()
            # Some nodes keep what the fee does not cover, some forget it.
            assert (await world.chain.status(signed.tx)).state in (TxState.PENDING, TxState.UNKNOWN)
        # The quote is a second old at most.
        async with world.over(anvil) as chain:
            newer = await chain.sign(world.order(recipient, 9), world.signer, nonce=nonce, replaces=signed)
            assert newer.fee["maxFeePerGas"] > 20 * GWEI
            await chain.broadcast(newer)
            evm.receipt(newer.tx)
            status = await chain.status(newer.tx)
        assert status.fee <= newer.max_fee
        assert evm.balance(recipient) == 9
        assert evm.balance(world.key.address) == 10 * ETHER - 9 - status.fee
    finally:
        evm.rpc("anvil_setNextBlockBaseFeePerGas", hex(GWEI))
        evm.mine()
        await world.chain.close()
        evm.close()
