"""What counts as a payment on an EVM, against tokens and wallets that try to make something else count."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_account.signers.local import LocalAccount
from tests.fixtures.evm import TRANSFER_WITH_AUTHORIZATION
from tests.fixtures.nodes import Node
from tests.fixtures.worlds import EvmWorld

from ws402.chains.base import Transfer, TransferLookup, TxState
from ws402.chains.evm import EvmChain
from ws402.chains.evm.abi import authorization_tag

TAG = hashlib.sha256(b"a secret reference").hexdigest()
SUPPLY = 10**15


async def seen(chain: EvmChain, tx: str) -> list[Transfer]:
    head = await chain.head()
    blocks = await chain.blocks(max(1, head.block - 5), head.block)
    return [each for block in blocks for each in block.transfers if each.tx == tx]


async def both(chain: EvmChain, tx: str) -> TransferLookup:
    """A look-up, which must see what the watcher sees."""
    found = await chain.lookup(tx)
    assert list(found.transfers) == await seen(chain, tx)
    return found


def authorize(world: EvmWorld, payer: LocalAccount, amount: int, nonce: bytes, *, to: str | None = None) -> bytes:
    """Calldata of transferWithAuthorization, signed by the payer (EIP-3009)."""
    to = to or world.chain.recipient
    domain = {
        "name": "Demo Dollar",
        "version": "1",
        "chainId": world.evm.chain_id,
        "verifyingContract": world.contract.address,
    }
    message = {"from": payer.address, "to": to, "value": amount, "validAfter": 0, "validBefore": 2**40, "nonce": nonce}
    signed = payer.sign_typed_data(domain, TRANSFER_WITH_AUTHORIZATION, message)
    return world.contract.data(
        "transferWithAuthorization",
        *message.values(),
        signed.v,
        signed.r.to_bytes(32, "big"),
        signed.s.to_bytes(32, "big"),
    )


# --- Tokens ----------------------------------------------------------------------------------------------------------


async def test_a09_a_token_that_fails_without_reverting_pays_nothing(world: EvmWorld, contracts: Any) -> None:
    payer = world.evm.account()
    token = world.evm.deploy(contracts["ReturnFalseToken"], SUPPLY, sender=payer)
    async with world.accepting(token) as chain:
        tx = world.evm.send(payer, token.address, data=token.data("transfer", chain.recipient, 50) + bytes(32))
        assert world.evm.receipt(tx)["status"] == "0x1"
        found = await both(chain, tx)
        assert (found.state, found.transfers) == (TxState.INCLUDED, ())


async def test_a11_a_token_that_only_looks_like_ours_is_not_accepted(world: EvmWorld, contracts: Any) -> None:
    fake = world.evm.deploy(contracts["FakeEventToken"], SUPPLY)
    payer = world.payer()
    tx = world.evm.send(payer, fake.address, data=fake.data("spoof", payer.address, world.chain.recipient, 10**9))
    found = await both(world.chain, tx)
    assert (found.transfers, found.other) == ((), ("asset",))


async def test_a10_what_arrived_counts_not_what_was_sent(world: EvmWorld, contracts: Any) -> None:
    payer = world.evm.account()
    token = world.evm.deploy(contracts["FeeOnTransferToken"], SUPPLY, 100)
    world.evm.send(world.evm.funder, token.address, data=token.data("transfer", payer.address, 10**6))
    async with world.accepting(token) as chain:
        data = token.data("transfer", chain.recipient, 10_000) + bytes.fromhex(TAG)
        found = await both(chain, world.evm.send(payer, token.address, data=data))
        (transfer,) = found.transfers
        assert transfer.amount == 9_900 == token.read("balanceOf", chain.recipient)
        assert transfer.tags == (TAG,)


async def test_a_token_without_return_value_pays(world: EvmWorld, contracts: Any) -> None:
    payer = world.evm.account()
    token = world.evm.deploy(contracts["NoReturnToken"], SUPPLY, sender=payer)
    async with world.accepting(token) as chain:
        tx = world.evm.send(payer, token.address, data=token.data("transfer", chain.recipient, 50))
        assert [each.amount for each in (await both(chain, tx)).transfers] == [50]


async def test_a13_every_transfer_of_a_transaction_counts_once_and_under_its_own_number(
    world: EvmWorld, contracts: Any
) -> None:
    evm, payer = world.evm, world.payer()
    wallet = evm.deploy(contracts["ForwardingWallet"])
    world.pay(payer, "DUSD", 1000, to=wallet.address)
    stranger = world.nobody()
    payees, amounts = [stranger, world.chain.recipient, world.chain.recipient], [900, 7, 8]
    tx = evm.send(payer, wallet.address, data=wallet.data("batch", world.contract.address, payees, amounts))
    found = (await both(world.chain, tx)).transfers
    assert [each.amount for each in found] == [7, 8], "the first log pays somebody else"
    assert len({each.index for each in found}) == 2
    assert {each.sender for each in found} == {world.chain.normalize_address(wallet.address)}


async def test_a13_a_tag_behind_a_batch_ties_no_transfer(world: EvmWorld, contracts: Any) -> None:
    evm, payer = world.evm, world.payer()
    wallet = evm.deploy(contracts["ForwardingWallet"])
    world.pay(payer, "DUSD", 1000, to=wallet.address)
    data = wallet.data("batch", world.contract.address, [world.chain.recipient] * 2, [5, 5]) + bytes.fromhex(TAG)
    found = (await both(world.chain, evm.send(payer, wallet.address, data=data))).transfers
    assert [each.tags for each in found] == [(), ()]


async def test_a13_a_tag_ties_nothing_when_the_call_made_two_transfers_to_us(world: EvmWorld, contracts: Any) -> None:
    payer = world.evm.account()
    # The token's owner, who earns its fee, is our own account.
    token = world.evm.deploy(contracts["FeeOnTransferToken"], SUPPLY, 100, sender=world.key)
    world.evm.send(world.key, token.address, data=token.data("transfer", payer.address, 10**6))
    async with world.accepting(token) as chain:
        data = token.data("transfer", chain.recipient, 10_000) + bytes.fromhex(TAG)
        found = await both(chain, world.evm.send(payer, token.address, data=data))
        assert [(each.amount, each.tags) for each in found.transfers] == [(9_900, ()), (100, ())]


async def test_calldata_is_the_word_of_who_sent_it_only(
    fresh_world: EvmWorld, make_node: Callable[[str], Node]
) -> None:
    world = fresh_world
    node, other = make_node(world.evm.url), world.nobody()
    tx = world.pay(world.payer(), "DUSD", 5, tag=TAG)

    def another_sender(method: str, params: list[Any], result: Any) -> Any:
        return dict(result, **{"from": other}) if method == "eth_getTransactionByHash" else result

    async with world.over(node.url) as chain:
        assert (await chain.lookup(tx)).transfers[0].tags == (TAG,)
        node.change = another_sender
        assert (await chain.lookup(tx)).transfers[0].tags == ()


async def test_payments_are_found_on_chains_that_leave_blooms_empty(
    fresh_world: EvmWorld, make_node: Callable[[str], Node]
) -> None:
    node = make_node(fresh_world.evm.url)

    def no_bloom(method: str, params: list[Any], result: Any) -> Any:
        return dict(result, logsBloom="0x" + "00" * 256) if method == "eth_getBlockByNumber" else result

    node.change = no_bloom
    async with fresh_world.over(node.url) as chain:
        tx = fresh_world.pay(fresh_world.payer(), "DUSD", 5)
        assert [each.amount for each in await seen(chain, tx)] == [5]


async def test_a_transfer_of_nothing_and_one_from_ourselves_are_not_reported(world: EvmWorld) -> None:
    # Anybody can make a token say "nothing went from A to B"; nothing must not need a refund.
    zero = world.pay(world.payer(), "DUSD", 0, tag=TAG)
    own = world.evm.send(world.key, world.chain.recipient, value=5, data=bytes.fromhex(TAG))
    own_token = world.evm.send(
        world.key, world.contract.address, data=world.contract.data("transfer", world.chain.recipient, 5)
    )
    for tx in (zero, own, own_token):
        assert (await both(world.chain, tx)).transfers == ()


async def test_an_allowance_spent_by_another_is_the_owners_payment_and_has_no_tag(world: EvmWorld) -> None:
    owner, spender = world.payer(), world.payer()
    token = world.contract
    world.evm.send(owner, token.address, data=token.data("approve", spender.address, 100))
    data = token.data("transferFrom", owner.address, world.chain.recipient, 60) + bytes.fromhex(TAG)
    (transfer,) = (await both(world.chain, world.evm.send(spender, token.address, data=data))).transfers
    assert (transfer.sender, transfer.amount, transfer.tags) == (owner.address, 60, ())


# --- EIP-3009 --------------------------------------------------------------------------------------------------------


def authorized(world: EvmWorld, payer: LocalAccount, nonce: str, contract: str | None = None) -> tuple[str, str]:
    """The tags of an authorization: its nonce, and the one that another payer's nonce cannot have."""
    token = (contract or world.contract.address).lower()
    return nonce, authorization_tag(world.chain.network, token, payer.address, nonce)


async def test_an_authorizations_nonce_is_a_tag_whoever_brings_it(world: EvmWorld) -> None:
    payer, relayer = world.payer(), world.evm.account()
    data = authorize(world, payer, 250, bytes.fromhex(TAG))
    (transfer,) = (await both(world.chain, world.evm.send(relayer, world.contract.address, data=data))).transfers
    assert (transfer.sender, transfer.amount) == (payer.address, 250)
    assert transfer.tags == authorized(world, payer, TAG)


async def test_a_relayers_calldata_cannot_tie_an_authorization_to_another_invoice(world: EvmWorld) -> None:
    payer, relayer = world.payer(), world.evm.account()
    nonce = secrets.token_bytes(32)
    data = authorize(world, payer, 250, nonce) + bytes.fromhex(TAG)
    for sender in (relayer, payer):
        fresh = data if sender is relayer else authorize(world, payer, 250, nonce[::-1]) + bytes.fromhex(TAG)
        (transfer,) = (await both(world.chain, world.evm.send(sender, world.contract.address, data=fresh))).transfers
        assert transfer.tags == authorized(world, payer, (nonce if sender is relayer else nonce[::-1]).hex())


async def test_an_authorization_brought_by_a_contract_is_tagged_too(world: EvmWorld, contracts: Any) -> None:
    payer, relayer = world.payer(), world.evm.account()
    wallet = world.evm.deploy(contracts["ForwardingWallet"])
    inner = authorize(world, payer, 33, bytes.fromhex(TAG))
    data = wallet.data("execute", world.contract.address, 0, inner)
    (transfer,) = (await both(world.chain, world.evm.send(relayer, wallet.address, data=data))).transfers
    assert (transfer.sender, transfer.tags) == (payer.address, authorized(world, payer, TAG))


async def test_an_authorization_for_somebody_else_pays_us_nothing(world: EvmWorld) -> None:
    payer = world.payer()
    data = authorize(world, payer, 250, bytes.fromhex(TAG), to=world.nobody())
    found = await both(world.chain, world.evm.send(world.evm.account(), world.contract.address, data=data))
    assert (found.transfers, found.other) == ((), ("recipient",))


async def test_circles_dollar_is_paid_by_authorization(world: EvmWorld, contracts: Any) -> None:
    dollar = world.evm.deploy(contracts["TestUSDC"], "USDC", SUPPLY)
    payer, nonce = world.evm.account(), bytes.fromhex(TAG)
    world.evm.send(world.evm.funder, dollar.address, data=dollar.data("transfer", payer.address, 10**6))
    message = {
        "from": payer.address,
        "to": world.chain.recipient,
        "value": 5,
        "validAfter": 0,
        "validBefore": 2**40,
        "nonce": nonce,
    }
    kinds = [each["type"] for each in TRANSFER_WITH_AUTHORIZATION["TransferWithAuthorization"]]
    domain = {"name": "USDC", "version": "2", "chainId": world.evm.chain_id, "verifyingContract": dollar.address}
    signature = bytes(payer.sign_typed_data(domain, TRANSFER_WITH_AUTHORIZATION, message).signature)
    selector = bytes.fromhex("cf092995")  # transferWithAuthorization(…,bytes)
    data = selector + encode([*kinds, "bytes"], [*message.values(), signature])
    async with world.accepting(dollar) as chain:
        (transfer,) = (await both(chain, world.evm.send(world.evm.account(), dollar.address, data=data))).transfers
        assert (transfer.sender, transfer.amount) == (payer.address, 5)
        assert transfer.tags == authorized(world, payer, TAG, contract=dollar.address)


# --- Native coin -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "tags"),
    [
        (b"", ()),
        (b"thanks for the film", ()),
        (bytes.fromhex(TAG), (TAG,)),
        (b"thanks for the film" + bytes.fromhex(TAG), (TAG,)),
        (bytes.fromhex(TAG)[:31], ()),
    ],
)
async def test_the_tag_is_the_last_word_of_the_data(world: EvmWorld, data: bytes, tags: tuple[str, ...]) -> None:
    tx = world.evm.send(world.evm.account(), world.chain.recipient, value=9, data=data)
    (transfer,) = (await both(world.chain, tx)).transfers
    assert (transfer.amount, transfer.index, transfer.tags) == (9, -1, tags)


async def test_a_contract_wallets_payment_is_found_by_looking_it_up(world: EvmWorld, contracts: Any) -> None:
    wallet = world.evm.deploy(contracts["ForwardingWallet"])
    payer = world.evm.account()
    data = wallet.data("forward", world.chain.recipient) + bytes.fromhex(TAG)
    tx = world.evm.send(payer, wallet.address, value=70, data=data)
    (transfer,) = (await world.chain.lookup(tx)).transfers
    assert (transfer.asset, transfer.amount, transfer.index) == ("ETH", 70, -2)
    assert transfer.sender == world.chain.normalize_address(wallet.address), "not who sent the transaction"
    assert transfer.tags == ()
    assert await seen(world.chain, tx) == []


async def test_many_internal_payments_are_numbered(world: EvmWorld, contracts: Any) -> None:
    wallet = world.evm.deploy(contracts["ForwardingWallet"])
    zero = "0x" + "00" * 20
    us, stranger = world.chain.recipient, world.nobody()
    data = wallet.data("batch", zero, [us, stranger, us], [1, 2, 3])
    tx = world.evm.send(world.evm.account(), wallet.address, value=6, data=data)
    found = (await world.chain.lookup(tx)).transfers
    assert [(each.index, each.amount) for each in found] == [(-2, 1), (-3, 3)]
    assert (await world.chain.lookup(tx)).transfers == found


async def test_a14_an_internal_payment_that_was_undone_does_not_count(world: EvmWorld, contracts: Any) -> None:
    wallet = world.evm.deploy(contracts["ForwardingWallet"])
    before = world.evm.balance(world.chain.recipient)
    data = wallet.data("sendThenRevert", world.chain.recipient, 50)
    tx = world.evm.send(world.evm.account(), wallet.address, value=50, data=data, gas=300_000)
    assert world.evm.receipt(tx)["status"] == "0x1"
    assert world.evm.balance(world.chain.recipient) == before
    assert (await world.chain.lookup(tx)).transfers == ()


async def test_a_node_that_traces_nothing_is_not_taken_for_a_refusal(
    world: EvmWorld, contracts: Any, make_node: Callable[[str], Node]
) -> None:
    wallet = world.evm.deploy(contracts["ForwardingWallet"])
    tx = world.evm.send(
        world.evm.account(), wallet.address, value=70, data=wallet.data("forward", world.chain.recipient)
    )
    node = make_node(world.evm.url)
    node.errors["debug_traceTransaction"] = {"code": -32601, "message": "the method does not exist"}
    async with world.over(node.url) as chain:
        found = await chain.lookup(tx)
        assert (found.state, found.transfers) == (TxState.INCLUDED, ())
        assert "untraced" in found.other
        assert (await chain.head()).block > 0, "the endpoint is still used"


async def test_a_payment_to_a_contract_that_we_are_not_is_told_apart(world: EvmWorld, contracts: Any) -> None:
    wallet = world.evm.deploy(contracts["ForwardingWallet"])
    tx = world.evm.send(world.evm.account(), wallet.address, value=70, gas=100_000)
    found = await both(world.chain, tx)
    assert (found.transfers, found.other) == ((), ("recipient",))


async def test_blocks_without_any_transaction_need_no_logs(
    fresh_world: EvmWorld, make_node: Callable[[str], Node]
) -> None:
    node = make_node(fresh_world.evm.url)
    async with fresh_world.over(node.url) as chain:
        fresh_world.advance(10)
        head = await chain.head()
        node.calls.clear()
        await chain.blocks(head.block - 9, head.block)
        assert node.calls == ["eth_getBlockByNumber"] * 10


async def test_a15_a_payment_that_a_reorg_removed_is_gone(fresh_world: EvmWorld, devchain: Any) -> None:
    world = fresh_world
    tx = world.pay(world.payer(), "ETH", 5, tag=TAG)
    (before,) = (await both(world.chain, tx)).transfers
    devchain.reorg(1)
    assert (await world.chain.lookup(tx)).state is TxState.UNKNOWN
    assert await seen(world.chain, tx) == []
    (again,) = await world.chain.blocks(before.block, before.block)
    assert again.block_hash != before.block_hash


async def test_a15_a_payment_that_a_reorg_moved_shows_its_new_block(fresh_world: EvmWorld, devchain: Any) -> None:
    world = fresh_world
    tx = world.pay(world.payer(), "DUSD", 5, tag=TAG)
    (before,) = (await both(world.chain, tx)).transfers
    devchain.reorg(1, keep=True)
    (after,) = (await both(world.chain, tx)).transfers
    assert after.block_hash != before.block_hash
    assert (after.tx, after.amount, after.tags) == (before.tx, before.amount, before.tags)
