"""The wallet on Solana: what it signs, sends, waits for and finds, and what it refuses to pay."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.transaction import Transaction
from tests.fixtures.solana import SOL, Solana, pay
from tests.fixtures.solana_tokens import Mint, key_file

from ws402.client import Inclusion, SignedPayment, SolanaOffer, SolanaWallet, WalletError
from ws402.errors import ConfigurationError
from ws402.prices import by_second

MakeSolanaWallet = Callable[..., SolanaWallet]


def offer(recipient: str, amount: int, *, token: str | None = None, coins: str = "", **more: Any) -> SolanaOffer:
    values: dict[str, Any] = {
        "resource_id": "ticker",
        "socket_url": "ws://127.0.0.1",
        "price": by_second(1),
        "units": {},
        "duration": amount,
        "amount": amount,
        "network": "solana-localnet",
        "reference": str(Keypair().pubkey()),
        "claim_token": None,
        "expires_at": 2**53,
        "max_session_duration": 1,
        "name": "Ticker",
        "recipient": recipient,
        "token": token,
        "symbol": "SPL" if token else "SOL",
        "decimals": None,
        "coins": coins,
        "memo": None,
    }
    return SolanaOffer(**values | more)


@pytest.fixture
def account(solana: Solana) -> Keypair:
    return solana.account(2 * SOL)


@pytest.fixture
def payee(solana: Solana) -> str:
    return str(solana.account(SOL).pubkey())


@pytest.fixture
async def make(solana: Solana) -> AsyncIterator[MakeSolanaWallet]:
    made: list[SolanaWallet] = []

    def make(key: Keypair, *, kind: type[SolanaWallet] = SolanaWallet, **options: Any) -> SolanaWallet:
        made.append(kind(solana.url, key_file(key), **options))
        return made[-1]

    yield make
    for wallet in made:
        await wallet.close()


@pytest.fixture
def wallet(make: MakeSolanaWallet, account: Keypair) -> SolanaWallet:
    return make(account)


async def test_a_payment_lists_the_reference_and_can_be_sent_again_and_is_one(
    solana: Solana, wallet: SolanaWallet, payee: str
) -> None:
    before = solana.balance(Pubkey.from_string(payee))
    wanted = offer(payee, 1_000_000, memo="ws402:memo")
    payment = await wallet.sign(wanted)
    assert payment.raw not in repr(payment)
    for _ in range(3):
        await wallet.send(payment)
    assert await wallet.inclusion(payment, 20) is Inclusion.INCLUDED
    await wallet.send(payment)
    assert solana.balance(Pubkey.from_string(payee)) - before == 1_000_000
    message = solana.transaction(payment.tx)["transaction"]["message"]
    *_, memo, transfer = message["instructions"]
    keys = message["accountKeys"]
    assert [keys[at] for at in transfer["accounts"]] == [wallet.address, payee, wanted.reference]
    assert keys[memo["programIdIndex"]].startswith("Memo")
    found = solana.rpc("getSignaturesForAddress", wanted.reference, {"commitment": "confirmed"})
    assert [each["signature"] for each in found] == [payment.tx]


@pytest.mark.parametrize("token_2022", [False, True], ids=["token", "token-2022"])
async def test_tokens_are_paid_from_the_associated_account_and_found(
    solana: Solana, wallet: SolanaWallet, payee: str, *, token_2022: bool
) -> None:
    mint = Mint(solana, token_2022=token_2022)
    mint.open(wallet.address)
    mint.give(wallet.address, 5_000_000)
    assert await wallet.decimals(mint.address) == 6
    assert await wallet.balance(mint.address) == 5_000_000
    asked = offer(payee, 3_000_000, token=mint.address, coins="3")
    await refused(wallet, asked, "no_token_account")
    mint.open(payee)
    await refused(wallet, replace(asked, coins="30"), "wrong_decimals")
    await refused(wallet, replace(asked, coins="0.0000003"), "wrong_decimals")
    payment = await wallet.sign(asked)
    await wallet.send(payment)
    assert await wallet.inclusion(payment, 20) is Inclusion.INCLUDED
    assert mint.balance(payee) == 3_000_000
    assert await wallet.received(payment.tx, payee, 3_000_000, mint.address)
    assert not await wallet.received(payment.tx, payee, 3_000_001, mint.address)
    assert not await wallet.received(payment.tx, wallet.address, 1, mint.address)
    assert not await wallet.received(payment.tx, payee, 1, None)
    await refused(wallet, asked, "insufficient_funds")
    await refused(wallet, replace(asked, token=payee), "unknown_token")


async def refused(wallet: SolanaWallet, asked: SolanaOffer, code: str) -> None:
    with pytest.raises(WalletError) as error:
        await wallet.sign(asked)
    assert error.value.code == code


async def test_a_refund_is_found_only_where_it_was_paid(solana: Solana, wallet: SolanaWallet, payee: str) -> None:
    giver = solana.account()
    tx = solana.send([pay(giver, Pubkey.from_string(wallet.address), 700_000)], giver)
    assert await wallet.received(tx, wallet.address, 700_000, None)
    assert not await wallet.received(tx, wallet.address, 700_001, None)
    assert not await wallet.received(tx, payee, 1, None)
    assert not await wallet.received(str(Keypair().sign_message(b"no such")), wallet.address, 1, None)


async def test_what_the_account_cannot_pay_is_told_before_anything_is_signed(
    make: MakeSolanaWallet, wallet: SolanaWallet, account: Keypair, payee: str
) -> None:
    await refused(wallet, offer(payee, 2 * SOL - 4_999), "insufficient_funds")
    await refused(wallet, offer(str(Keypair().pubkey()), 1), "node_refused")  # less than a new account must hold
    await refused(make(account, max_fee_lamports=4_999), offer(payee, 1), "fee_too_high")


async def test_a_payment_that_no_block_took_in_time_is_known_to_be_lost(
    solana: Solana, wallet: SolanaWallet, payee: str
) -> None:
    payment = await wallet.sign(offer(payee, 1_000_000))
    assert await wallet.inclusion(payment, 0) is Inclusion.PENDING
    height = solana.rpc("getBlockHeight", {"commitment": "finalized"})
    past = SignedPayment(tx=payment.tx, raw=payment.raw, valid_until=height - 1)
    assert await wallet.inclusion(past, 5) is Inclusion.EXPIRED
    await wallet.send(payment)
    assert await wallet.inclusion(payment, 20) is Inclusion.INCLUDED
    assert await wallet.inclusion(past, 5) is Inclusion.INCLUDED, "it is on the chain"


async def test_a_payment_that_the_network_forgot_is_sent_again(
    solana: Solana, make: MakeSolanaWallet, account: Keypair, payee: str
) -> None:
    """The first sending reaches no leader; nobody sends it anew but the wait for its block."""

    class Forgetful(SolanaWallet):
        async def send(self, payment: SignedPayment) -> None:
            """It is lost on the way."""

    before = solana.balance(Pubkey.from_string(payee))
    wallet = make(account, kind=Forgetful)
    payment = await wallet.sign(offer(payee, 1_000_000))
    await wallet.send(payment)
    assert await wallet.inclusion(payment, 20) is Inclusion.INCLUDED
    assert solana.balance(Pubkey.from_string(payee)) - before == 1_000_000


async def test_a_failed_payment_is_told(solana: Solana, wallet: SolanaWallet, account: Keypair, payee: str) -> None:
    """Its money goes elsewhere between the signing and the block."""
    payment = await wallet.sign(offer(payee, SOL))
    await asyncio.to_thread(solana.send, [pay(account, Pubkey.from_string(payee), SOL)], account)
    with pytest.raises(WalletError) as error:
        await wallet.send(payment)
    assert error.value.code == "node_refused"
    solana.rpc("sendTransaction", payment.raw, {"encoding": "base64", "skipPreflight": True})
    assert await wallet.inclusion(payment, 20) is Inclusion.FAILED


async def test_the_fee_follows_the_network_up_to_the_cap(solana: Solana, wallet: SolanaWallet, payee: str) -> None:
    payment = await wallet.sign(offer(payee, 1))
    held = await wallet.balance()
    await wallet.send(payment)
    assert await wallet.inclusion(payment, 20) is Inclusion.INCLUDED
    assert 5_000 <= held - await wallet.balance() - 1 <= 100_000
    instructions = Transaction.from_bytes(base64.b64decode(payment.raw)).message.instructions
    assert [bytes(each.data)[0] for each in instructions[:2]] == [2, 3], "compute limit and price, once each"


async def test_the_chain_is_named_by_its_genesis_block(solana: Solana, wallet: SolanaWallet, payee: str) -> None:
    chain = await wallet.chain()
    assert chain == f"solana:{solana.rpc('getGenesisHash')[:32]}"
    assert offer(payee, 1).is_on(chain)
    for network in ("solana", "solana-devnet", "solana-testnet"):
        public = offer(payee, 1, network=network)
        assert not public.is_on(chain)
        assert public.is_on(public.chain)
        assert not offer(payee, 1).is_on(public.chain), "a private network's name cannot stand for a public one"


def test_keys_are_read_in_every_usual_spelling_and_never_shown() -> None:
    key = Keypair()
    for spelling in (key_file(key), f" {key}\n", bytes(key), key.secret()):
        wallet = SolanaWallet("http://127.0.0.1:1", spelling)
        assert wallet.address == str(key.pubkey())
        assert str(key) not in repr(wallet)
    secret = str(key)[:-4]
    for wrong in (secret, "[1, 2", "[300]", '["a"]', b"short", "0x" + "5a" * 32, ""):
        with pytest.raises(ConfigurationError) as refused:
            SolanaWallet("http://127.0.0.1:1", wrong)
        assert secret not in str(refused.value)
        assert refused.value.__cause__ is None


async def test_a_token_that_takes_a_fee_of_its_own_is_refused(solana: Solana, wallet: SolanaWallet, payee: str) -> None:
    """Less would arrive than was sent (Token-2022's transfer fee)."""
    mint = Mint(solana, transfer_fee=True)
    await refused(wallet, offer(payee, 1, token=mint.address, coins="0.000001"), "refused_token")


async def test_a_text_is_signed_by_the_key(wallet: SolanaWallet, account: Keypair) -> None:
    assert await wallet.sign_message("WS402 payment") == str(account.sign_message(b"WS402 payment"))
