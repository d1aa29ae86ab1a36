"""What counts as a payment on Solana, read from the transaction itself; attacks by what payers can build."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from solders.address_lookup_table_account import AddressLookupTableAccount, derive_lookup_table_address
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.system_program import CreateAccountParams, create_account
from spl.token.instructions import (
    close_account,
    initialize_account3,
    initialize_mint2,
    initialize_transfer_fee_config,
    set_authority,
)
from spl.token.models import (
    AuthorityType,
    CloseAccountParams,
    InitializeAccount3Params,
    InitializeMintParams,
    InitializeTransferFeeConfigParams,
    SetAuthorityParams,
)
from tests.fixtures.nodes import Node
from tests.fixtures.solana import SOL
from tests.fixtures.solana_world import TOKENS, Mint, SolanaWorld, Wallet, named, system_transfer

from ws402.chains.base import ChainUnavailableError, Transfer, TxState, WrongChainError
from ws402.chains.solana.details import memo_of
from ws402.chains.solana.programs import MEMO, TOKEN_2022
from ws402.devchain.solana import SolanaDevChain
from ws402.errors import ConfigurationError
from ws402.settings import SplTokenSettings

LOOKUP_TABLES = Pubkey.from_string("AddressLookupTab1e1111111111111111111111111")
NOBODYS = ("f" * 64,)

MakeNode = Callable[[str], Node]


def tag_of(reference: str) -> str:
    return hashlib.sha256(reference.encode()).hexdigest()


def memo(text: str) -> Instruction:
    return Instruction(Pubkey.from_string(MEMO), text.encode(), [])


async def paid(world: SolanaWorld, tx: str) -> tuple[Transfer, ...]:
    """What a transaction paid, by looking it up; the watcher must see the same."""
    found = await world.chain.lookup(tx)
    head = await world.chain.head()
    blocks = await world.chain.blocks(max(1, head.block - world.recent), head.block)
    assert tuple(each for block in blocks for each in block.transfers if each.tx == tx) == found.transfers
    return found.transfers


# --- which transaction -----------------------------------------------------------------------------------------------


async def test_a14_a_failed_transaction_whose_status_says_confirmed_pays_nothing(solana_world: SolanaWorld) -> None:
    world, payer = solana_world, solana_world.payer()
    reference = world.chain.new_reference()
    step = named(world.transfer(payer, "SOL", 5 * SOL), reference)  # more than the payer has
    tx = world.send([step], payer.key, skipPreflight=True)
    status = world.solana.wait(tx)
    assert status["confirmationStatus"] in ("confirmed", "finalized")
    assert status["err"] is not None
    found = await world.chain.lookup(tx)
    assert (found.state, found.transfers) == (TxState.FAILED, ())
    assert await paid(world, tx) == ()


async def test_a12_another_cluster_is_refused_at_the_start(solana_world: SolanaWorld) -> None:
    for settings in ({"network": "solana-devnet"}, {"genesis_hash": "4uhcVJyU9pJkvQyS88uRDiswHXSCkY3zQawwpjk2NsNY"}):
        with pytest.raises(WrongChainError):
            async with solana_world.over(**settings):
                pass


async def test_a12_a_cluster_of_ones_own_may_not_change_its_genesis(
    solana_world: SolanaWorld, make_node: MakeNode
) -> None:
    node = make_node(solana_world.solana.url)
    async with solana_world.over(solana_world.solana.url, node.url) as chain:
        assert chain.caip2.startswith("solana:")
        node.change = lambda method, _, result: "1" * 44 if method == "getGenesisHash" else result
        await chain.check()  # the other one serves
        with pytest.raises(WrongChainError):
            async with solana_world.over(solana_world.solana.url, node.url):
                pass


# --- which instruction -----------------------------------------------------------------------------------------------


async def test_a28_one_reference_on_two_transfers_names_no_invoice(solana_world: SolanaWorld) -> None:
    world, payer = solana_world, solana_world.payer()
    for asset in ("SOL", "DUSD"):
        reference = world.chain.new_reference()
        step = named(world.transfer(payer, asset, 700), reference)
        both = await paid(world, world.send([step, step], payer.key))
        assert [(each.index, each.amount, each.tags) for each in both] == [(0, 700, NOBODYS), (256, 700, NOBODYS)]


async def test_a28_two_invoices_paid_by_one_transaction_are_told_apart(solana_world: SolanaWorld) -> None:
    world, payer = solana_world, solana_world.payer()
    one, two = world.chain.new_reference(), world.chain.new_reference()
    steps = [named(world.transfer(payer, "SOL", 5), one), named(world.transfer(payer, "SOL", 7), two)]
    first, second = await paid(world, world.send(steps, payer.key))
    assert (first.amount, first.tags) == (5, (tag_of(one),))
    assert (second.amount, second.tags) == (7, (tag_of(two),))


async def test_a28_a_reference_beside_the_transfer_does_not_count(solana_world: SolanaWorld) -> None:
    """The reference stands on an instruction that pays us next to nothing, the money on another."""
    world, payer = solana_world, solana_world.payer()
    reference = world.chain.new_reference()
    somebody = world.nobody()
    steps = [
        named(system_transfer(payer.key, somebody, world.unit), reference),
        world.transfer(payer, "SOL", 900),
    ]
    (transfer,) = await paid(world, world.send(steps, payer.key))
    assert (transfer.amount, transfer.tags) == (900, ())


async def test_a28_a_called_transfer_counts_once_and_as_itself(solana_world: SolanaWorld, make_node: MakeNode) -> None:
    """A program that pays for the payer: the transfer stands among the called instructions (a node tells it so)."""
    world, payer = solana_world, solana_world.payer()
    reference = world.chain.new_reference()
    tx = world.pay(payer, "SOL", 321, tag=reference)
    node = make_node(world.solana.url)

    def called(method: str, params: list[Any], result: Any) -> Any:
        if method != "getTransaction" or params[0] != tx:
            return result
        told = copy.deepcopy(result)
        message = told["transaction"]["message"]
        moved = message["instructions"].pop()
        message["instructions"].append({**moved, "data": "", "accounts": []})
        told["meta"]["innerInstructions"] = [{"index": 0, "instructions": [{**moved, "stackHeight": 2}]}]
        return told

    node.change = called
    async with world.over(node.url) as chain:
        (transfer,) = (await chain.lookup(tx)).transfers
    assert (transfer.index, transfer.amount, transfer.tags) == (1, 321, (tag_of(reference),))
    assert transfer.sender == payer.address


async def test_money_that_came_by_no_transfer_is_reported_without_a_tag(solana_world: SolanaWorld) -> None:
    """A closed token account's rent: lamports that arrive by an instruction which moves no amount."""
    world, payer = solana_world, Wallet(solana_world.solana.account(SOL))
    account = world.mint.open(payer.address)
    close = CloseAccountParams(
        account=Pubkey.from_string(account),
        dest=Pubkey.from_string(world.chain.recipient),
        owner=payer.key.pubkey(),
        program_id=world.mint.program,
    )
    (transfer,) = await paid(world, world.send([close_account(close)], payer.key))
    assert (transfer.asset, transfer.amount, transfer.tags) == ("SOL", 2_039_280, ())
    assert transfer.index < 0


async def test_a10_a_transfer_from_ourselves_to_ourselves_pays_nothing(solana_world: SolanaWorld) -> None:
    world = solana_world
    assert await paid(world, world.send([system_transfer(world.key, world.chain.recipient, 5)], world.key)) == ()


# --- look-up tables --------------------------------------------------------------------------------------------------


def look_up_table(world: SolanaWorld, owner: Keypair, *addresses: str) -> AddressLookupTableAccount:
    """A table on the chain that holds these addresses."""
    slot = world.solana.rpc("getSlot", {"commitment": "finalized"})
    key, bump = derive_lookup_table_address(owner.pubkey(), slot)
    keys = [Pubkey.from_string(each) for each in addresses]
    signer, writable = AccountMeta(owner.pubkey(), True, False), AccountMeta(owner.pubkey(), True, True)
    table, system = AccountMeta(key, False, True), AccountMeta(Pubkey.default(), False, False)
    create = (0).to_bytes(4, "little") + slot.to_bytes(8, "little") + bytes([bump])
    extend = (2).to_bytes(4, "little") + len(keys).to_bytes(8, "little") + b"".join(bytes(each) for each in keys)
    world.send([Instruction(LOOKUP_TABLES, create, [table, signer, writable, system])], owner)
    world.send([Instruction(LOOKUP_TABLES, extend, [table, signer, writable, system])], owner)
    world.advance(2)  # what was added counts from the next slot on
    return AddressLookupTableAccount(key, keys)


async def test_a29_accounts_behind_a_look_up_table_are_seen(solana_world: SolanaWorld, make_node: MakeNode) -> None:
    world, payer = solana_world, solana_world.payer()
    reference = world.chain.new_reference()
    table = look_up_table(world, payer.key, world.chain.recipient, reference)
    step = named(world.transfer(payer, "SOL", 444), reference)
    tx = world.solana.submit(world.solana.sign([step], payer.key, tables=[table]))
    world.solana.wait(tx)
    world.advance(2)
    assert world.chain.recipient not in world.solana.transaction(tx)["transaction"]["message"]["accountKeys"]
    (transfer,) = await paid(world, tx)
    assert (transfer.amount, transfer.sender, transfer.tags) == (444, payer.address, (tag_of(reference),))

    node = make_node(world.solana.url)

    def hides(method: str, params: list[Any], result: Any) -> Any:
        if method == "getTransaction" and params[0] == tx:
            result = copy.deepcopy(result)
            del result["meta"]["loadedAddresses"]
        return result

    node.change = hides
    async with world.over(node.url) as chain:
        with pytest.raises(ChainUnavailableError):  # refused, not misread
            await chain.lookup(tx)


# --- memos -----------------------------------------------------------------------------------------------------------


async def test_a31_where_a_memo_is_asked_for_it_must_be_the_only_one_and_equal(solana_world: SolanaWorld) -> None:
    world, payer = solana_world, solana_world.payer()
    async with world.over(require_memo=True) as chain:
        reference = chain.new_reference()
        text = memo_of(reference)
        step = named(world.transfer(payer, "SOL", 60), reference)
        elsewhere = world.send([memo(text)], payer.key)  # the memo stands on another transaction
        assert elsewhere
        cases = {
            "none": [step],
            "another": [memo("ws402:0000000000000000"), step],
            "one more": [memo(text), step, memo("and this")],
            "twice": [memo(text), memo(text), step],
        }
        for name, steps in cases.items():
            (transfer,) = (await chain.lookup(world.send(steps, payer.key))).transfers
            assert (transfer.amount, transfer.tags) == (60, NOBODYS), name
        (transfer,) = (await chain.lookup(world.send([memo(text), step], payer.key))).transfers
        assert transfer.tags == (tag_of(reference),)


# --- tokens ----------------------------------------------------------------------------------------------------------


def taxed_mint(world: SolanaWorld) -> str:
    """A Token-2022 mint that keeps a part of every transfer."""
    owner, key = world.solana.account(SOL), Keypair()
    program, size = Pubkey.from_string(TOKEN_2022), 165 + 1 + 4 + 108
    rent = world.solana.rpc("getMinimumBalanceForRentExemption", size)
    new = CreateAccountParams(
        from_pubkey=owner.pubkey(), to_pubkey=key.pubkey(), lamports=rent, space=size, owner=program
    )
    fee = InitializeTransferFeeConfigParams(
        program_id=program,
        mint=key.pubkey(),
        transfer_fee_config_authority=owner.pubkey(),
        withdraw_withheld_authority=owner.pubkey(),
        transfer_fee_basis_points=100,
        maximum_fee=10**9,
    )
    mint = InitializeMintParams(
        decimals=6, program_id=program, mint=key.pubkey(), mint_authority=owner.pubkey(), freeze_authority=None
    )
    world.send([create_account(new), initialize_transfer_fee_config(fee), initialize_mint2(mint)], owner, key)
    return str(key.pubkey())


async def test_a11_a_token_that_taxes_transfers_is_refused_by_name(solana_world: SolanaWorld) -> None:
    taxed = SplTokenSettings(symbol="TAX", mint=taxed_mint(solana_world), decimals=6)
    with pytest.raises(ConfigurationError, match=r"TAX.*transfer fee"):
        async with solana_world.over(tokens=[taxed]):
            pass


async def test_a11_what_is_no_mint_or_has_other_decimals_is_refused(solana_world: SolanaWorld) -> None:
    world = solana_world
    for mint, decimals, words in (
        (world.nobody(), 6, "no mint"),
        (world.mint.account(world.chain.recipient), 6, "no mint"),
        (world.mint.address, 9, "6 decimals"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            async with world.over(tokens=[SplTokenSettings(symbol="X", mint=mint, decimals=decimals)]):
                pass


async def test_a_plain_token_2022_is_paid_and_refunded(solana_world: SolanaWorld) -> None:
    world = solana_world
    mint = Mint(world.solana, program=TOKEN_2022)
    payer = Wallet(world.solana.account(SOL))
    mint.open(payer.address, 5000)
    mint.open(world.chain.recipient)
    async with world.over(tokens=[SplTokenSettings(symbol="T22", mint=mint.address, decimals=6)]) as chain:
        reference = chain.new_reference()
        tx = world.send([named(mint.transfer(payer.key, chain.recipient, 4000), reference)], payer.key)
        (transfer,) = (await chain.lookup(tx)).transfers
        assert (transfer.asset, transfer.amount, transfer.sender) == ("T22", 4000, payer.address)
        assert transfer.tags == (tag_of(reference),)
        signed = await chain.sign(world.order(payer.address, 1000, "T22"), world.signer, nonce=None)
        await chain.broadcast(signed)
        world.solana.wait(signed.tx)
        assert await chain.balance(payer.address, "T22") == 2000


async def test_a11_a_foreign_token_is_told_apart(solana_world: SolanaWorld) -> None:
    world = solana_world
    mint = Mint(world.solana)
    payer = Wallet(world.solana.account(SOL))
    mint.open(payer.address, 5000)
    mint.open(world.chain.recipient)
    found = await world.chain.lookup(world.send([mint.transfer(payer.key, world.chain.recipient, 5000)], payer.key))
    assert (found.transfers, found.other) == ((), ("asset", "recipient"))


async def test_money_from_another_token_account_belongs_to_that_account(solana_world: SolanaWorld) -> None:
    """Not the wallet's associated account: a refund must go back to where the money came from."""
    world = solana_world
    payer, extra = solana_world.payer(), Keypair()
    rent = world.solana.rpc("getMinimumBalanceForRentExemption", 165)
    new = CreateAccountParams(
        from_pubkey=payer.key.pubkey(), to_pubkey=extra.pubkey(), lamports=rent, space=165, owner=world.mint.program
    )
    own = InitializeAccount3Params(
        program_id=world.mint.program,
        account=extra.pubkey(),
        mint=world.mint.key.pubkey(),
        owner=payer.key.pubkey(),
    )
    world.send([create_account(new), initialize_account3(own)], payer.key, extra)
    source = str(extra.pubkey())
    move = world.mint.transfer(payer.key, payer.address, 100)
    to_extra = Instruction(move.program_id, move.data, [*move.accounts[:2], AccountMeta(extra.pubkey(), False, True)])
    fill = Instruction(move.program_id, move.data, [*to_extra.accounts, *move.accounts[3:]])
    world.send([fill], payer.key)
    tx = world.send([world.mint.transfer(payer.key, world.chain.recipient, 100, source=source)], payer.key)
    (transfer,) = await paid(world, tx)
    assert transfer.sender == source
    assert await world.chain.check_signature(source, "text", world.sign_text(payer, "text"))
    assert not await world.chain.is_contract(source)
    signed = await world.chain.sign(world.order(source, 40, "DUSD"), world.signer, nonce=None)
    await world.chain.broadcast(signed)
    world.solana.wait(signed.tx)
    assert int(world.solana.rpc("getTokenAccountBalance", source, {"commitment": "confirmed"})["value"]["amount"]) == 40
    assert await world.chain.balance(payer.address, "DUSD") == TOKENS - 100


async def test_a16_a_token_account_that_was_given_away_gets_no_refund(solana_world: SolanaWorld) -> None:
    """The payer sells the token account that paid: its new owner must not get the payer's money."""
    world, payer = solana_world, solana_world.payer()
    account = Pubkey.from_string(world.mint.account(payer.address))
    give = SetAuthorityParams(
        program_id=world.mint.program,
        account=account,
        authority=AuthorityType.ACCOUNT_OWNER,
        current_authority=payer.key.pubkey(),
        signers=[],
        new_authority=Keypair().pubkey(),
    )
    world.send([set_authority(give)], payer.key)
    with pytest.raises(Exception, match="does not belong") as caught:
        await world.chain.sign(world.order(payer.address, 40, "DUSD"), world.signer, nonce=None)
    assert type(caught.value).__name__ == "RefundImpossibleError"


# --- the watcher's view ----------------------------------------------------------------------------------------------


async def test_many_pages_of_signatures_are_read_to_their_end(
    solana_world: SolanaWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, payer = solana_world, solana_world.payer()
    before = await world.chain.head()
    txs = [world.pay(payer, "SOL", 10 + i) for i in range(5)]
    monkeypatch.setattr("ws402.chains.solana.reader.PAGE", 2)
    async with world.over() as chain:
        head = await chain.head()
        blocks = await chain.blocks(before.block + 1, head.block)
        assert [each.tx for block in blocks for each in block.transfers] == txs
        more = world.pay(payer, "SOL", 99)
        later = await chain.head()
        blocks = await chain.blocks(head.block + 1, later.block)
        assert [each.tx for block in blocks for each in block.transfers] == [more]


async def test_a15_a_fork_removes_a_payment_or_moves_it(unsettled_solana: tuple[SolanaWorld, SolanaDevChain]) -> None:
    world, chain = unsettled_solana
    payer = world.payer()
    lost = world.pay(payer, "SOL", 11)
    (transfer,) = (await world.chain.lookup(lost)).transfers
    chain.fork(world.solana.rpc("getSlot", {"commitment": "processed"}) - transfer.block + 1)
    world.advance(6)
    assert (await world.chain.lookup(lost)).state is TxState.UNKNOWN
    (now,) = await world.chain.blocks(transfer.block, transfer.block)
    assert now.block_hash != transfer.block_hash, "the watcher notices by the hash"
    moved = world.pay(payer, "SOL", 12)
    (before,) = (await world.chain.lookup(moved)).transfers
    chain.fork(world.solana.rpc("getSlot", {"commitment": "processed"}) - before.block + 1, keep=True)
    world.advance(6)
    (after,) = (await world.chain.lookup(moved)).transfers
    assert after.block_hash != before.block_hash
    assert (after.tx, after.index, after.amount, after.tags) == (before.tx, before.index, before.amount, before.tags)


async def test_a45_a_large_payment_needs_two_endpoints_that_agree(
    solana_world: SolanaWorld, make_node: MakeNode
) -> None:
    world, payer = solana_world, solana_world.payer()
    small, large = world.pay(payer, "SOL", 1000), world.pay(payer, "SOL", 1001)
    liar = make_node(world.solana.url)
    liar.change = lambda method, _, result: (
        {**result, "blockTime": result["blockTime"] - 600} if method == "getTransaction" and result else result
    )
    async with world.over(liar.url, world.solana.url, agree_above={"SOL": 1000}) as chain:
        assert (await chain.lookup(small)).transfers, "one is believed for a small sum"
        with pytest.raises(ChainUnavailableError, match="agree"):
            await chain.lookup(large)
        liar.change = lambda _, __, result: result
        (transfer,) = (await chain.lookup(large)).transfers
        assert transfer.amount == 1001
