"""Refunds to recipients and in tokens that do not behave, and what a refund may cost."""

from __future__ import annotations

from typing import Any

import pytest
from tests.fixtures.evm import ETHER
from tests.fixtures.worlds import EvmWorld

from ws402.chains.base import RefundImpossibleError, TxState, TxStatus
from ws402.chains.evm import EvmChain
from ws402.keys.base import SignerUnavailableError
from ws402.keys.local import LocalSigner

GWEI = 10**9


async def sign(world: EvmWorld, chain: EvmChain, recipient: str, amount: int, asset: str = "ETH") -> Any:
    nonce = await chain.next_nonce(chain.recipient)
    return await chain.sign(world.order(recipient, amount, asset), world.signer, nonce=nonce)


async def included(world: EvmWorld, chain: EvmChain, tx: str) -> TxStatus:
    """The state of a transaction that is in a block."""
    world.evm.receipt(tx)
    return await chain.status(tx)


@pytest.mark.parametrize("name", ["RevertOnReceive", "GasBurner", "ReturnBomb"])
async def test_a22_a_contract_that_cannot_take_the_coin_is_found_out_before_signing(
    world: EvmWorld, contracts: Any, name: str
) -> None:
    contract = world.evm.deploy(contracts[name])
    with pytest.raises(RefundImpossibleError):
        await sign(world, world.chain, contract.address, 5)
    with pytest.raises(RefundImpossibleError):
        await world.chain.estimate_fee(world.order(contract.address, 5), world.chain.recipient)


async def test_a_contract_wallet_gets_its_refund(world: EvmWorld, contracts: Any) -> None:
    wallet = world.evm.deploy(contracts["ForwardingWallet"])
    signed = await sign(world, world.chain, wallet.address, 5)
    await world.chain.broadcast(signed)
    assert (await included(world, world.chain, signed.tx)).state is TxState.INCLUDED
    assert world.evm.balance(wallet.address) == 5


@pytest.mark.parametrize("kind", [0, 1, 2, 3])
async def test_a_token_that_reverts_holds_the_refund(world: EvmWorld, contracts: Any, kind: int) -> None:
    token = world.evm.deploy(contracts["RevertingToken"], 10**12, kind, sender=world.key)
    async with world.accepting(token) as chain:
        with pytest.raises(RefundImpossibleError):
            await sign(world, chain, world.nobody(), 5, "T0")


async def test_a_blacklisted_payer_holds_the_refund_and_others_get_theirs(world: EvmWorld, contracts: Any) -> None:
    token = world.evm.deploy(contracts["BlacklistToken"], 10**12, sender=world.key)
    banned, fine = world.nobody(), world.nobody()
    world.evm.send(world.key, token.address, data=token.data("blacklist", banned, True))
    async with world.accepting(token) as chain:
        with pytest.raises(RefundImpossibleError, match="blacklisted"):
            await sign(world, chain, banned, 5, "T0")
        signed = await sign(world, chain, fine, 5, "T0")
        await chain.broadcast(signed)
        world.evm.receipt(signed.tx)
        assert token.read("balanceOf", fine) == 5


async def test_a09_a_token_that_answers_false_holds_the_refund(world: EvmWorld, contracts: Any) -> None:
    token = world.evm.deploy(contracts["ReturnFalseToken"], 10**12, sender=world.key)
    async with world.accepting(token) as chain:
        with pytest.raises(RefundImpossibleError, match="refuses"):
            await sign(world, chain, world.nobody(), 5, "T0")


async def test_a09_a_token_transfer_that_moved_nothing_is_a_failure(world: EvmWorld, contracts: Any) -> None:
    token = world.evm.deploy(contracts["ReturnFalseToken"], 10**12, sender=world.key)
    async with world.accepting(token) as chain:
        tx = world.evm.send(world.key, token.address, data=token.data("transfer", world.nobody(), 5))
        assert world.evm.receipt(tx)["status"] == "0x1"
        assert (await included(world, chain, tx)).state is TxState.FAILED


async def test_a_token_without_return_value_is_refunded(world: EvmWorld, contracts: Any) -> None:
    token = world.evm.deploy(contracts["NoReturnToken"], 10**12, sender=world.key)
    payer = world.nobody()
    async with world.accepting(token) as chain:
        signed = await sign(world, chain, payer, 5, "T0")
        await chain.broadcast(signed)
        assert (await included(world, chain, signed.tx)).state is TxState.INCLUDED
        assert token.read("balanceOf", payer) == 5


async def test_a_recipient_who_empties_its_account_meanwhile_cannot_make_the_refund_fail(world: EvmWorld) -> None:
    payer = world.payer()
    signed = await sign(world, world.chain, payer.address, 5, "DUSD")
    world.pay(payer, "DUSD", world.contract.read("balanceOf", payer.address), to=world.nobody())
    await world.chain.broadcast(signed)
    assert (await included(world, world.chain, signed.tx)).state is TxState.INCLUDED


async def test_a_failed_refund_is_told_with_its_fee(world: EvmWorld, contracts: Any) -> None:
    contract = world.evm.deploy(contracts["RevertOnReceive"])
    before = world.evm.balance(world.key.address)
    tx = world.evm.send(world.key, contract.address, value=5, gas=60_000)
    status = await world.chain.status(tx)
    assert (status.state, status.final) == (TxState.FAILED, False)
    assert status.fee == before - world.evm.balance(world.key.address)
    world.advance(3)
    assert (await world.chain.status(tx)).final


async def test_the_fee_never_passes_the_cap(world: EvmWorld) -> None:
    async with world.over(world.evm.url, max_fee_gwei=2) as chain:
        signed = await sign(world, chain, world.nobody(), 5)
        assert signed.fee["maxFeePerGas"] <= 2 * GWEI
        order = world.order(world.nobody(), 5)
        for _ in range(10):
            newer = await chain.sign(order, world.signer, nonce=signed.nonce, replaces=signed)
            assert newer.fee["maxFeePerGas"] <= 2 * GWEI
            if newer is signed:
                break
            signed = newer
        assert await chain.sign(order, world.signer, nonce=signed.nonce, replaces=signed) is signed, "at the cap"
        assert await chain.sign_cancel(world.signer, nonce=signed.nonce or 0, replaces=signed) is signed


async def test_each_bump_is_high_enough_for_nodes(world: EvmWorld) -> None:
    old = await sign(world, world.chain, world.nobody(), 5)
    new = await world.chain.sign(world.order(world.nobody(), 5), world.signer, nonce=old.nonce, replaces=old)
    for name in ("maxFeePerGas", "maxPriorityFeePerGas"):
        assert new.fee[name] * 1000 >= old.fee[name] * 1125


async def test_a_stored_refund_is_what_nodes_decode(world: EvmWorld) -> None:
    recipient = world.nobody()
    with world.holding():
        signed = await sign(world, world.chain, recipient, ETHER // 3)
        await world.chain.broadcast(signed)
        told = world.evm.rpc("eth_getTransactionByHash", signed.tx)
    assert told["hash"] == signed.tx
    assert told["from"] == signed.sender.lower()
    assert told["to"] == recipient.lower()
    assert (int(told["value"], 16), int(told["nonce"], 16), told["type"]) == (ETHER // 3, signed.nonce, "0x2")


class WrongSigner(LocalSigner):
    """A keeper that signs with another key than it says."""

    __slots__ = ("other",)

    def __init__(self, secret: bytes) -> None:
        super().__init__(secret)
        self.other = LocalSigner(b"\x07" * 32)

    async def sign(self, payload: bytes) -> bytes:
        return await self.other.sign(payload)


async def test_a_signature_of_another_key_is_not_stored_as_ours(world: EvmWorld) -> None:
    signer = WrongSigner(bytes(world.key.key))
    with pytest.raises(SignerUnavailableError, match="no signature of that key"):
        await world.chain.sign(world.order(world.nobody(), 5), signer, nonce=0)
