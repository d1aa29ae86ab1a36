"""The embedded chain speaks JSON-RPC as validators do, so that what works on it works on a cluster."""

from __future__ import annotations

import base64
import contextlib
import random
from typing import Any, Final

import httpx
import pytest
from solders.compute_budget import set_compute_unit_price
from solders.hash import Hash
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from spl.token import instructions as spl
from spl.token import models
from spl.token.constants import TOKEN_PROGRAM_ID
from tests.fixtures.solana import CONFIRMED, SOL, Solana, SolanaRefusedError, pay

from ws402.devchain.jsonrpc import RpcError
from ws402.devchain.solana import SolanaDevChain
from ws402.errors import ConfigurationError, WS402Error

METHODS: Final = (
    "getAccountInfo",
    "getBalance",
    "getBlock",
    "getBlockHeight",
    "getBlockTime",
    "getBlocks",
    "getBlocksWithLimit",
    "getEpochInfo",
    "getFeeForMessage",
    "getLatestBlockhash",
    "getMinimumBalanceForRentExemption",
    "getMultipleAccounts",
    "getProgramAccounts",
    "getRecentPrioritizationFees",
    "getSignatureStatuses",
    "getSignaturesForAddress",
    "getSlot",
    "getTokenAccountBalance",
    "getTokenAccountsByDelegate",
    "getTokenAccountsByOwner",
    "getTokenSupply",
    "getTransaction",
    "getTransactionCount",
    "isBlockhashValid",
    "requestAirdrop",
    "sendTransaction",
    "simulateTransaction",
    "dev_dropSends",
)
PROCESSED: Final = {"commitment": "processed"}
VERSIONED: Final = CONFIRMED | {"maxSupportedTransactionVersion": 0}


def test_a_payment_lands_with_its_fee_and_is_found_by_its_reference(solana: Solana) -> None:
    payer, payee, reference = solana.account(), solana.account(), Keypair().pubkey()
    signature = solana.send([pay(payer, payee.pubkey(), 12345, reference)], payer)
    found = solana.transaction(signature)
    meta = found["meta"]
    assert (meta["err"], meta["fee"]) == (None, 5000)
    keys = found["transaction"]["message"]["accountKeys"]
    changes = {
        key: after - before
        for key, before, after in zip(keys, meta["preBalances"], meta["postBalances"], strict=True)
        if after != before
    }
    assert changes == {str(payer.pubkey()): -17345, str(payee.pubkey()): 12345}
    assert solana.balance(payer.pubkey()) == SOL - 17345
    (entry,) = solana.rpc("getSignaturesForAddress", str(reference), CONFIRMED)
    assert (entry["signature"], entry["slot"], entry["err"]) == (signature, found["slot"], None)


def test_a_failed_transaction_lands_with_its_error_and_pays_its_fee(solana: Solana) -> None:
    payer = solana.account()
    signature = solana.send([pay(payer, Keypair().pubkey(), 2 * SOL)], payer, skipPreflight=True)
    error = {"InstructionError": [0, {"Custom": 1}]}
    assert solana.wait(signature)["err"] == error
    assert solana.transaction(signature)["meta"]["err"] == error
    assert solana.balance(payer.pubkey()) == SOL - 5000


def test_reads_see_the_block_of_their_commitment(solana_devchain: SolanaDevChain, devchain_solana: Solana) -> None:
    chain, payer = solana_devchain, Keypair.from_base58_string(solana_devchain.accounts[0].key)
    payee = Keypair().pubkey()

    def seen() -> list[int]:
        levels = ("processed", "confirmed", "finalized")
        return [chain.rpc("getBalance", str(payee), {"commitment": each})["value"] for each in levels]

    signature = devchain_solana.submit(devchain_solana.sign([pay(payer, payee, SOL)], payer))
    assert seen() == [SOL, 0, 0]
    assert chain.rpc("getTransaction", signature, CONFIRMED) is None
    assert chain.rpc("getSignaturesForAddress", str(payee), CONFIRMED) == []
    chain.advance()
    assert seen() == [SOL, SOL, 0]
    assert devchain_solana.wait(signature)["confirmationStatus"] == "confirmed"
    assert chain.rpc("getSignaturesForAddress", str(payee)) == []
    chain.advance(3)
    assert seen() == [SOL, SOL, SOL]
    assert devchain_solana.wait(signature)["confirmationStatus"] == "finalized"
    # A simulation on an older block knows nothing of what came later.
    rest = chain_balance(chain, payer) - 5000
    devchain_solana.submit(devchain_solana.sign([pay(payer, payee, rest)], payer))
    late = devchain_solana.sign([pay(payer, payee, 1)], payer, blockhash=finalized_blockhash(chain))
    with pytest.raises(SolanaRefusedError, match="no record of a prior credit"):
        devchain_solana.submit(late, preflightCommitment="processed")
    assert devchain_solana.submit(late, preflightCommitment="finalized") == str(late.signatures[0])
    assert chain.rpc("getSignatureStatuses", [str(late.signatures[0])])["value"] == [None]


def finalized_blockhash(chain: SolanaDevChain) -> Hash:
    return Hash.from_string(chain.rpc("getLatestBlockhash")["value"]["blockhash"])


def chain_balance(chain: SolanaDevChain, account: Keypair) -> int:
    lamports: int = chain.rpc("getBalance", str(account.pubkey()), PROCESSED)["value"]
    return lamports


def test_a_blockhash_expires_after_150_blocks(solana_devchain: SolanaDevChain, devchain_solana: Solana) -> None:
    chain, payer = solana_devchain, Keypair.from_base58_string(solana_devchain.accounts[0].key)
    latest = chain.rpc("getLatestBlockhash", {"commitment": "processed"})["value"]
    last, blockhash = latest["lastValidBlockHeight"], Hash.from_string(latest["blockhash"])
    transactions = [
        devchain_solana.sign([pay(payer, Keypair().pubkey(), SOL)], payer, blockhash=blockhash) for _ in range(2)
    ]
    processed = {"commitment": "processed", "preflightCommitment": "processed"}
    while chain.rpc("getBlockHeight", processed) < last:
        chain.advance()
    assert chain.rpc("isBlockhashValid", str(blockhash), processed)["value"]
    devchain_solana.submit(transactions[0], **processed)
    chain.advance()
    assert not chain.rpc("isBlockhashValid", str(blockhash), processed)["value"]
    with pytest.raises(SolanaRefusedError, match="Blockhash not found"):
        devchain_solana.submit(transactions[1], **processed)
    devchain_solana.submit(transactions[1], skipPreflight=True)
    chain.advance(10)
    found = [chain.rpc("getTransaction", str(each.signatures[0]), VERSIONED) for each in transactions]
    assert [each is not None for each in found] == [True, False]


def test_a_dropped_send_is_accepted_and_never_lands_until_it_is_sent_again(
    solana_devchain: SolanaDevChain, devchain_solana: Solana
) -> None:
    chain, payer = solana_devchain, Keypair.from_base58_string(solana_devchain.accounts[0].key)
    transaction = devchain_solana.sign([pay(payer, Keypair().pubkey(), SOL)], payer)
    chain.drop_sends(1)
    signature = devchain_solana.submit(transaction)
    chain.advance(100)
    history = {"searchTransactionHistory": True}
    assert chain.rpc("getSignatureStatuses", [signature], history)["value"] == [None]
    assert devchain_solana.submit(transaction) == signature
    assert devchain_solana.wait(signature)["err"] is None


def test_a_fork_takes_back_what_is_not_final(solana_devchain: SolanaDevChain, devchain_solana: Solana) -> None:
    chain, payer = solana_devchain, Keypair.from_base58_string(solana_devchain.accounts[0].key)
    payee, lost_payee = Keypair().pubkey(), Keypair().pubkey()
    kept = devchain_solana.send([pay(payer, payee, SOL)], payer)
    chain.advance(4)
    before = chain_balance(chain, payer)
    lost = devchain_solana.sign([pay(payer, lost_payee, SOL)], payer)
    devchain_solana.submit(lost)
    chain.advance()
    assert devchain_solana.wait(str(lost.signatures[0]))["confirmationStatus"] == "confirmed"
    tip, height = chain.rpc("getSlot", PROCESSED), chain.rpc("getBlockHeight", PROCESSED)
    chain.fork(2)
    assert chain.rpc("getSlot", PROCESSED) == tip + 1
    assert chain.rpc("getBlockHeight", PROCESSED) == height - 1
    assert chain_balance(chain, payer) == before
    assert devchain_solana.rpc("getAccountInfo", str(lost_payee), PROCESSED)["value"] is None
    history = {"searchTransactionHistory": True}
    assert chain.rpc("getSignatureStatuses", [str(lost.signatures[0])], history)["value"] == [None]
    chain.advance(10)
    assert [each["signature"] for each in chain.rpc("getSignaturesForAddress", str(payer.pubkey()))] == [kept]
    assert chain.rpc("getBlocks", tip - 2, tip + 1) == [tip - 2, tip + 1]
    # Its blockhash is older than the fork, so it can land there too.
    devchain_solana.submit(lost)
    assert devchain_solana.wait(str(lost.signatures[0]))["err"] is None
    chain.fork(2, keep=True)
    assert devchain_solana.wait(str(lost.signatures[0]))["err"] is None
    with pytest.raises(RpcError, match="final"):
        chain.rpc("dev_fork", 100)


def test_a_call_of_no_program_lands_and_pays(solana: Solana) -> None:
    payer = solana.account()
    signature = solana.send([Instruction(Keypair().pubkey(), b"", [])], payer, skipPreflight=True)
    assert solana.wait(signature)["err"] == "ProgramAccountNotFound"
    assert solana.balance(payer.pubkey()) == SOL - 5000
    meta = solana.transaction(signature)["meta"]
    assert meta["postBalances"][0] - meta["preBalances"][0] == -5000


def test_priority_fees_are_charged_as_told_before(solana: Solana) -> None:
    payer = solana.account()
    transaction = solana.sign([set_compute_unit_price(1_000_001), pay(payer, payer.pubkey(), 1)], payer)
    message = base64.b64encode(bytes(transaction.message)).decode()
    told = solana.rpc("getFeeForMessage", message, CONFIRMED)["value"]
    signature = solana.submit(transaction)
    solana.wait(signature)
    assert solana.transaction(signature)["meta"]["fee"] == told
    assert solana.balance(payer.pubkey()) == SOL - told


def test_the_demo_token_is_held_by_each_account_and_can_be_sent(
    solana_devchain: SolanaDevChain, devchain_solana: Solana
) -> None:
    chain = solana_devchain
    sender, receiver = (Keypair.from_base58_string(each.key) for each in chain.accounts[:2])
    source, target = (chain.token_account(str(each.pubkey())) for each in (sender, receiver))
    held = int(chain.rpc("getTokenAccountBalance", target)["value"]["amount"])
    params = models.TransferCheckedParams(
        program_id=TOKEN_PROGRAM_ID,
        source=Pubkey.from_string(source),
        mint=Pubkey.from_string(chain.token.mint),
        dest=Pubkey.from_string(target),
        owner=sender.pubkey(),
        amount=5,
        decimals=chain.token.decimals,
    )
    devchain_solana.send([spl.transfer_checked(params)], sender)
    assert int(chain.rpc("getTokenAccountBalance", target, CONFIRMED)["value"]["amount"]) == held + 5
    supply = chain.rpc("getTokenSupply", chain.token.mint)["value"]["amount"]
    assert int(supply) == held * len(chain.accounts)


def test_it_cannot_be_started_without_sense() -> None:
    with pytest.raises(ConfigurationError, match="negative"):
        SolanaDevChain(slot_time=-1)
    with pytest.raises(ConfigurationError, match="finalized before"):
        SolanaDevChain(confirm_after=3, finalize_after=2)
    with pytest.raises(WS402Error, match="not running"):
        SolanaDevChain().advance()


def test_no_parameters_break_it(solana_devchain: SolanaDevChain, devchain_solana: Solana) -> None:
    """Every method answers or refuses, whatever it is given; nothing ends in a server error."""
    address = solana_devchain.accounts[0].address
    chance = random.Random(402)  # the same in every run
    pieces: list[Any] = [None, -1, 2**70, 1.5, True, "", "x", address, "AQ==", "base64", [], ["x"], [[]], {}]
    names = [
        "encoding",
        "commitment",
        "minContextSlot",
        "limit",
        "before",
        "until",
        "dataSlice",
        "mint",
        "programId",
        "filters",
        "accounts",
    ]
    for _ in range(3000):
        options = {name: chance.choice(pieces) for name in chance.sample(names, 2)}
        params = [chance.choice([*pieces, options, address]) for _ in range(chance.randint(0, 3))]
        with contextlib.suppress(RpcError):
            solana_devchain.rpc(chance.choice(METHODS), *params)
    assert devchain_solana.rpc("getHealth") == "ok"
    assert httpx.get(f"{devchain_solana.url}/health").text == "ok"
    assert devchain_solana.ask("sendTransaction", "!!!", {"encoding": "base64"})["error"] == {
        "code": -32602,
        "message": "invalid base64 encoding: InvalidByte(0, 33)",
    }
