"""The embedded chain and a validator get the same calls, with the same keys, and their answers are compared.

What must differ (hashes, signatures, slots, times) is compared by its form. What differs because the machine brings
other builds of the memo and token programs is left out: their own log lines, their compute units, their balances.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from typing import Any, Final

import pytest
from solders.address_lookup_table_account import AddressLookupTableAccount, derive_lookup_table_address
from solders.compute_budget import set_compute_unit_limit, set_compute_unit_price
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.system_program import CreateAccountParams, create_account
from solders.transaction import VersionedTransaction
from spl.token import instructions as spl
from spl.token import models
from tests.devchain.solana.comparison import differences, form
from tests.fixtures.solana import CONFIRMED, SOL, Solana, pay
from websockets.sync.client import connect

from ws402.devchain.solana import SolanaDevChain

TOKEN: Final = Pubkey.from_string("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA")
TOKEN_2022: Final = Pubkey.from_string("TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb")
MEMO: Final = Pubkey.from_string("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr")
TABLES: Final = Pubkey.from_string("AddressLookupTab1e1111111111111111111111111")
V0: Final = CONFIRMED | {"maxSupportedTransactionVersion": 0}
Answers = dict[str, Any]


class Cast:
    """The keys that both chains see."""

    def __init__(self) -> None:
        self.payer, self.payee, self.mint, self.mint_2022, self.nobody = (Keypair() for _ in range(5))
        self.reference = Keypair().pubkey()


def encoded(transaction: VersionedTransaction) -> str:
    return base64.b64encode(bytes(transaction)).decode()


def landed(chain: Solana, answers: Answers, name: str, signature: str, *encodings: str) -> None:
    """Record a transaction's status and its forms."""
    chain.wait(signature)
    for encoding in encodings or ("json", "jsonParsed"):
        answers[f"{name} {encoding}"] = chain.ask("getTransaction", signature, V0 | {"encoding": encoding})


def fund(chain: Solana, cast: Cast, answers: Answers) -> None:
    for each in (cast.payer, cast.payee):
        chain.wait(chain.rpc("requestAirdrop", str(each.pubkey()), 10 * SOL, CONFIRMED))


def payments(chain: Solana, cast: Cast, answers: Answers) -> None:
    payer, payee, reference = cast.payer, cast.payee.pubkey(), cast.reference
    memo = Instruction(MEMO, b"hello", [AccountMeta(payer.pubkey(), is_signer=True, is_writable=False)])
    paid = chain.sign(
        [set_compute_unit_limit(100_000), set_compute_unit_price(1000), pay(payer, payee, SOL, reference), memo], payer
    )
    first = chain.submit(paid)
    landed(chain, answers, "payment", first, "json", "jsonParsed", "base64", "base58")
    slot = chain.rpc("getTransaction", first, V0)["slot"]
    prices = chain.rpc("getRecentPrioritizationFees", [str(payer.pubkey())])
    answers["prices paid"] = [each for each in prices if each["slot"] == slot]
    answers["version unsaid"] = chain.ask("getTransaction", first, CONFIRMED)
    answers["too early"] = chain.ask("getTransaction", first, {"commitment": "processed"})
    answers["not finalized"] = chain.ask("getSignaturesForAddress", str(reference), {"commitment": "processed"})
    legacy = chain.submit(chain.sign([pay(payer, payee, 7)], payer, legacy=True))
    landed(chain, answers, "legacy", legacy)
    answers["legacy, version unsaid"] = chain.ask("getTransaction", legacy, CONFIRMED)
    failing = chain.sign([pay(payer, payee, 1000 * SOL, reference)], payer)
    answers["preflight"] = chain.ask("sendTransaction", encoded(failing), {"encoding": "base64"} | at_confirmed())
    failed = chain.submit(failing, skipPreflight=True)
    landed(chain, answers, "failed", failed)
    signatures = [first, failed, str(cast.nobody.sign_message(b""))]
    answers["statuses"] = chain.ask("getSignatureStatuses", signatures, {"searchTransactionHistory": True})
    answers["by reference"] = chain.ask("getSignaturesForAddress", str(reference), CONFIRMED)
    for name, options in {
        "limit": {"limit": 1},
        "before": {"before": failed},
        "until": {"until": first},
        "between": {"before": failed, "until": first},
        "too many": {"limit": 1001},
    }.items():
        answers[f"by payer, {name}"] = chain.ask("getSignaturesForAddress", str(payer.pubkey()), CONFIRMED | options)
    answers["balance"] = chain.ask("getBalance", str(payer.pubkey()), CONFIRMED)
    for encoding in (None, "base58", "base64", "jsonParsed", "nonsense"):
        settings = CONFIRMED | ({"encoding": encoding} if encoding else {})
        answers[f"account, {encoding}"] = chain.ask("getAccountInfo", str(payer.pubkey()), settings)
    accounts = [str(payer.pubkey()), str(cast.nobody.pubkey())]
    answers["accounts"] = chain.ask("getMultipleAccounts", accounts, CONFIRMED)
    refusals(chain, cast, answers, paid)
    simulations(chain, cast, answers)
    block = chain.rpc("getBlock", slot, V0 | {"transactionDetails": "full", "rewards": False})
    # The validator may hold other transactions in it.
    block["transactions"] = [each for each in block["transactions"] if first in each["transaction"]["signatures"]]
    answers["block"] = block
    brief = chain.rpc("getBlock", slot, V0 | {"transactionDetails": "signatures", "rewards": False})
    answers["block's signatures"] = [first in brief.pop("signatures"), brief]
    answers["block, version unsaid"] = chain.ask("getBlock", slot, CONFIRMED)
    answers["block to come"] = chain.ask("getBlock", 10**9)
    answers["block time"] = {"blockTime": chain.rpc("getBlockTime", slot)}
    answers["block time to come"] = chain.ask("getBlockTime", 10**9)


def at_confirmed() -> dict[str, Any]:
    return {"preflightCommitment": "confirmed"}


def refusals(chain: Solana, cast: Cast, answers: Answers, paid: VersionedTransaction) -> None:
    def send(name: str, transaction: VersionedTransaction, **options: Any) -> None:
        settings = {"encoding": "base64"} | at_confirmed() | options
        answers[f"send, {name}"] = chain.ask("sendTransaction", encoded(transaction), settings)

    payer = cast.payer
    send("again", paid)
    assert chain.submit(paid, skipPreflight=True) == str(paid.signatures[0])
    send("old blockhash", chain.sign([pay(payer, cast.payee.pubkey(), 1)], payer, blockhash=Hash.new_unique()))
    send("from nobody", chain.sign([pay(cast.nobody, cast.payee.pubkey(), 1)], cast.nobody))
    send("dust", chain.sign([pay(payer, cast.nobody.pubkey(), 1)], payer))
    spoilt = bytearray(bytes(chain.sign([pay(payer, cast.payee.pubkey(), 9)], payer)))
    spoilt[5] ^= 1
    send("wrong signature", VersionedTransaction.from_bytes(bytes(spoilt)))
    unknown = Instruction(cast.nobody.pubkey(), b"", [])
    send("unknown program", chain.sign([unknown], payer))
    taken = CreateAccountParams(from_pubkey=payer.pubkey(), to_pubkey=payer.pubkey(), lamports=SOL, space=0, owner=MEMO)
    send("program's refusal", chain.sign([create_account(taken)], payer))
    stingy = [set_compute_unit_limit(1), pay(payer, cast.payee.pubkey(), 3)]
    send("no compute units", chain.sign(stingy, payer))
    answers["send, not base58"] = chain.ask("sendTransaction", "0OIl")
    answers["send, too long"] = chain.ask("sendTransaction", "A" * 3000, {"encoding": "base64"})
    answers["send, encoding"] = chain.ask("sendTransaction", "AA==", {"encoding": "json"})
    answers["send, slot to come"] = chain.ask(
        "sendTransaction", encoded(paid), {"encoding": "base64", "minContextSlot": 10**12} | at_confirmed()
    )


def simulations(chain: Solana, cast: Cast, answers: Answers) -> None:
    def simulate(name: str, transaction: VersionedTransaction, **options: Any) -> None:
        settings = {"encoding": "base64"} | CONFIRMED | options
        answers[f"simulation, {name}"] = chain.ask("simulateTransaction", encoded(transaction), settings)

    payer, payee = cast.payer, cast.payee.pubkey()
    good = chain.sign([pay(payer, payee, 5)], payer)
    watched = {"encoding": "base64", "addresses": [str(payer.pubkey()), str(payee)]}
    simulate("plain", good)
    simulate("verified", good, sigVerify=True)
    simulate("watched", good, accounts=watched, innerInstructions=True)
    simulate("failing", chain.sign([pay(payer, payee, 1000 * SOL)], payer), accounts=watched)
    stale = chain.sign([pay(payer, payee, 5)], payer, blockhash=Hash.new_unique())
    simulate("stale", stale)
    simulate("stale, replaced", stale, replaceRecentBlockhash=True)
    simulate("contradiction", good, replaceRecentBlockhash=True, sigVerify=True)
    spoilt = VersionedTransaction.populate(good.message, [cast.nobody.sign_message(b"")])
    simulate("wrong signature", spoilt)
    simulate("wrong signature, verified", spoilt, sigVerify=True)
    fee = base64.b64encode(bytes(good.message)).decode()
    answers["fee"] = chain.ask("getFeeForMessage", fee, CONFIRMED)
    unlimited = chain.sign([set_compute_unit_price(10**6), pay(payer, payee, 5)], payer)
    answers["fee without limit"] = chain.ask(
        "getFeeForMessage", base64.b64encode(bytes(unlimited.message)).decode(), CONFIRMED
    )
    answers["fee, stale"] = chain.ask("getFeeForMessage", base64.b64encode(bytes(stale.message)).decode(), CONFIRMED)


def tokens(chain: Solana, cast: Cast, answers: Answers) -> None:
    payer = cast.payer
    for program, mint, name in ((TOKEN, cast.mint, "token"), (TOKEN_2022, cast.mint_2022, "token 2022")):
        rent = chain.rpc("getMinimumBalanceForRentExemption", 82)
        created = create_account(
            CreateAccountParams(
                from_pubkey=payer.pubkey(), to_pubkey=mint.pubkey(), lamports=rent, space=82, owner=program
            )
        )
        params = models.InitializeMint2Params(
            decimals=6, program_id=program, mint=mint.pubkey(), mint_authority=payer.pubkey()
        )
        landed(chain, answers, f"{name} mint", chain.send([created, spl.initialize_mint2(params)], payer, mint))
        source, target = (
            spl.get_associated_token_address(each.pubkey(), mint.pubkey(), program) for each in (payer, cast.payee)
        )
        opened = [
            spl.create_associated_token_account(payer.pubkey(), each.pubkey(), mint.pubkey(), program)
            for each in (payer, cast.payee)
        ]
        minted = spl.mint_to(
            models.MintToParams(
                program_id=program, mint=mint.pubkey(), dest=source, mint_authority=payer.pubkey(), amount=12_500_000
            )
        )
        landed(chain, answers, f"{name} accounts", chain.send([*opened, minted], payer))
        moved = spl.transfer_checked(
            models.TransferCheckedParams(
                program_id=program,
                source=source,
                mint=mint.pubkey(),
                dest=target,
                owner=payer.pubkey(),
                amount=2_000_001,
                decimals=6,
            )
        )
        appended = [*moved.accounts, AccountMeta(cast.reference, is_signer=False, is_writable=False)]
        landed(
            chain,
            answers,
            f"{name} payment",
            chain.send([Instruction(program, moved.data, appended)], payer),
            "json",
            "jsonParsed",
            "base64",
        )
        unchecked = models.TransferParams(
            program_id=program, source=source, dest=target, owner=payer.pubkey(), amount=10**12
        )
        answers[f"{name} overdrawn"] = chain.ask(
            "sendTransaction",
            encoded(chain.sign([spl.transfer(unchecked)], payer)),
            {"encoding": "base64"} | at_confirmed(),
        )
        for account in (source, target, mint.pubkey()):
            kind = "mint" if account == mint.pubkey() else "source" if account == source else "target"
            for encoding in ("base64", "jsonParsed"):
                settings = CONFIRMED | {"encoding": encoding}
                answers[f"{name} {kind} {encoding}"] = chain.ask("getAccountInfo", str(account), settings)
            answers[f"{name} {kind} balance"] = chain.ask("getTokenAccountBalance", str(account), CONFIRMED)
            answers[f"{name} {kind} supply"] = chain.ask("getTokenSupply", str(account), CONFIRMED)
        owned = CONFIRMED | {"encoding": "jsonParsed"}
        for which in ({"mint": str(mint.pubkey())}, {"programId": str(program)}):
            answers[f"{name} owned {list(which)}"] = chain.ask(
                "getTokenAccountsByOwner", str(payer.pubkey()), which, owned
            )
        sliced = CONFIRMED | {"encoding": "base64", "dataSlice": {"offset": 64, "length": 8}}
        filters = [{"memcmp": {"offset": 0, "bytes": str(mint.pubkey())}}]
        if program == TOKEN:
            filters.insert(0, {"dataSize": 165})
        found = chain.ask("getProgramAccounts", str(program), sliced | {"filters": filters})
        found["result"].sort(key=lambda each: each["pubkey"])
        answers[f"{name} holders"] = found
    closing = models.CloseAccountParams(program_id=TOKEN, account=source, dest=payer.pubkey(), owner=payer.pubkey())
    closing_it = encoded(chain.sign([spl.close_account(closing)], payer))
    settings = {"encoding": "base64"} | at_confirmed()
    answers["close of a full account"] = chain.ask("sendTransaction", closing_it, settings)
    encoded_64 = CONFIRMED | {"encoding": "base64"}
    for which in ({"mint": str(payer.pubkey())}, {"mint": str(cast.nobody.pubkey())}, {"programId": str(MEMO)}):
        answers[f"owned, {which}"] = chain.ask("getTokenAccountsByOwner", str(payer.pubkey()), which, encoded_64)
    answers["balance of a wallet"] = chain.ask("getTokenAccountBalance", str(payer.pubkey()), CONFIRMED)
    answers["balance of nothing"] = chain.ask("getTokenAccountBalance", str(cast.nobody.pubkey()), CONFIRMED)


def lookups(chain: Solana, cast: Cast, answers: Answers) -> None:
    payer, slot = cast.payer, chain.rpc("getSlot", {"commitment": "finalized"})
    table, bump = derive_lookup_table_address(payer.pubkey(), slot)
    owned = [AccountMeta(table, False, True), AccountMeta(payer.pubkey(), True, False)]
    paying = [AccountMeta(payer.pubkey(), True, True), AccountMeta(Pubkey.default(), False, False)]
    create = Instruction(TABLES, bytes(4) + slot.to_bytes(8, "little") + bytes([bump]), [*owned, *paying])
    addresses = [cast.payee.pubkey(), cast.reference]
    data = b"".join([(2).to_bytes(4, "little"), (2).to_bytes(8, "little"), *map(bytes, addresses)])
    extended = chain.send([create, Instruction(TABLES, data, [*owned, *paying])], payer)
    # A table can be used from the slot after the one that extended it.
    slot = chain.wait(extended)["slot"]
    while chain.rpc("getSlot", CONFIRMED) <= slot:
        time.sleep(0.02)
    known = AddressLookupTableAccount(table, addresses)
    paid = chain.sign([pay(payer, cast.payee.pubkey(), 11, cast.reference)], payer, tables=[known])
    signature = chain.submit(paid)
    landed(chain, answers, "looked up", signature)
    name = {str(table): "<table>"}
    answers["looked up json"] = renamed(answers["looked up json"], name)
    answers["looked up jsonParsed"] = renamed(answers["looked up jsonParsed"], name)
    found = chain.rpc("getSignaturesForAddress", str(cast.reference), CONFIRMED | {"limit": 1})
    answers["found through a table"] = [each["signature"] == signature for each in found]


def renamed(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: renamed(each, names) for key, each in value.items()}
    if isinstance(value, list):
        return [renamed(each, names) for each in value]
    return names.get(value, value) if isinstance(value, str) else value


METHODS: Final = (
    "getHealth",
    "getVersion",
    "getGenesisHash",
    "getSlot",
    "getBlockHeight",
    "getEpochInfo",
    "getEpochSchedule",
    "getLatestBlockhash",
    "getIdentity",
    "getTransactionCount",
    "getFirstAvailableBlock",
    "minimumLedgerSlot",
    "getBalance",
    "nonsense",
)
"""Called without parameters."""


def renamed_result(answer: Answers) -> Answers:
    """A bare result under a name that says how it differs."""
    result = answer.get("result")
    names = {int: "slot", str: "blockhash"}
    return {names[type(result)]: result} if type(result) in names and result != "ok" else answer


def cluster(chain: Solana, cast: Cast, answers: Answers) -> None:
    for method in METHODS:
        answers[method] = renamed_result(chain.ask(method))
    recent = str(chain.blockhash())
    answers["blockhash"] = chain.ask("isBlockhashValid", recent, CONFIRMED)
    answers["unknown blockhash"] = chain.ask("isBlockhashValid", str(Hash.new_unique()), CONFIRMED)
    answers["rent"] = chain.ask("getMinimumBalanceForRentExemption", 165)
    answers["no address"] = chain.ask("getBalance", "x")
    answers["no base58"] = chain.ask("getBalance", "0" * 32)
    answers["no text"] = chain.ask("getBalance", 1)
    answers["unknown commitment"] = chain.ask("getBalance", str(cast.nobody.pubkey()), {"commitment": "surely"})
    answers["slot to come"] = chain.ask("getSlot", {"minContextSlot": 10**12})
    answers["too many statuses"] = chain.ask("getSignatureStatuses", [str(cast.nobody.sign_message(b""))] * 257)
    answers["unknown transaction"] = chain.ask("getTransaction", str(cast.nobody.sign_message(b"")), CONFIRMED)
    answers["unknown encoding"] = chain.ask(
        "getTransaction", str(cast.nobody.sign_message(b"")), CONFIRMED | {"encoding": "nonsense"}
    )
    for name, body in {
        "no JSON": b"{",
        "no version": b'{"id": 1, "method": "getSlot"}',
        "no id": b'{"jsonrpc": "2.0", "method": "getSlot"}',
        "empty batch": b"[]",
        "batch": b'[{"jsonrpc": "2.0", "id": 1, "method": "getHealth"}, {"jsonrpc": "2.0", "id": "b", "method": "no"}]',
        "object params": b'{"jsonrpc": "2.0", "id": 1, "method": "getBalance", "params": {}}',
    }.items():
        answers[name] = chain.post(body)
    # The validator leaves the version out of its answer to a request that has none.
    answers["no version"].pop("jsonrpc", None)


def subscriptions(chain: Solana, cast: Cast, answers: Answers) -> None:
    payer, payee = cast.payer, cast.payee.pubkey()
    paid = chain.sign([pay(payer, payee, 13)], payer)
    wrong: dict[str, list[Any]] = {
        "nonsense": [],
        "getSlot": [],
        "signatureSubscribe": ["x"],
        "accountSubscribe": [str(payee), {"encoding": "nonsense"}],
        "logsSubscribe": [{"mentions": []}],
        "slotUnsubscribe": [99],
    }
    with connect(chain.ws_url) as socket:

        def ask(method: str, params: list[Any]) -> Any:
            socket.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}))
            return json.loads(socket.recv(10))

        for method, params in wrong.items():
            answers[f"{method}, wrong"] = ask(method, params)
        for method in ("signatureSubscribe", "accountSubscribe", "logsSubscribe"):
            answers[f"{method}, nothing"] = ask(method, [])
        ask("signatureSubscribe", [str(paid.signatures[0]), CONFIRMED])
        ask("accountSubscribe", [str(payee), CONFIRMED])
        ask("accountSubscribe", [str(payee), CONFIRMED | {"encoding": "jsonParsed"}])
        logs = ask("logsSubscribe", [{"mentions": [str(payee)]}, CONFIRMED])["result"]
        chain.submit(paid)
        told = [json.loads(socket.recv(10)) for _ in range(4)]
        answers["told"] = sorted(told, key=lambda each: each["params"]["subscription"])
        answers["unsubscribed"] = ask("logsUnsubscribe", [logs])
    with connect(chain.ws_url) as socket:
        ask("slotSubscribe", [])
        slot = json.loads(socket.recv(10))["params"]["result"]
        answers["slot"] = [slot["slot"] - slot["parent"], slot["slot"] - slot["root"] > 30, sorted(slot)]


@pytest.mark.solana
@pytest.mark.parametrize(
    "scene",
    [
        pytest.param([fund, payments], id="payments"),
        pytest.param([fund, tokens], id="tokens"),
        pytest.param([fund, lookups], id="lookups"),
        pytest.param([cluster], id="cluster"),
        pytest.param([fund, subscriptions], id="subscriptions"),
    ],
)
def test_it_answers_as_a_validator_does(
    embedded_solana: SolanaDevChain, validator: str, scene: list[Callable[[Solana, Cast, Answers], None]]
) -> None:
    cast = Cast()
    told: list[Answers] = []
    for url in (embedded_solana.rpc_url, validator):
        chain = Solana(url, name=url)
        answers: Answers = {}
        for act in scene:
            act(chain, cast, answers)
        told.append(answers)
        chain.close()
    found = [
        f"{name}{difference}"
        for name in told[0]
        for difference in differences(form(told[0][name]), form(told[1][name]))
    ]
    assert not found, "\n".join(found)
