"""The wallet on every EVM: what it signs, sends, waits for and finds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from eth_account import Account
from eth_account.messages import encode_defunct
from eth_account.signers.local import LocalAccount
from tests.client.conftest import MakeWallet
from tests.fixtures.evm import ETHER, Evm
from web3 import AsyncHTTPProvider, AsyncWeb3

from ws402.client import EvmOffer, EvmWallet, Inclusion, WalletError
from ws402.prices import by_second

PAYEE = "0x" + "0c" * 20


def offer(evm: Evm, amount: int, *, token: str | None = None, data: str = "0x") -> EvmOffer:
    return EvmOffer(
        resource_id="ticker",
        socket_url="ws://127.0.0.1",
        price=by_second(1),
        units={},
        duration=amount,
        amount=amount,
        network="base-sepolia",
        chain_id=evm.chain_id,
        recipient=PAYEE,
        token=token,
        symbol="ETH",
        decimals=18,
        data=data,
        to=token or PAYEE,
        value=0 if token else amount,
        reference="r",
        claim_token=None,
        signed=False,
        expires_at=2**53,
        max_session_duration=1,
        name="Ticker",
    )


@pytest.fixture
def account(evm: Evm) -> LocalAccount:
    return evm.account(ETHER)


@pytest.fixture(params=["url", "web3"])
async def wallet(
    request: pytest.FixtureRequest, evm: Evm, account: LocalAccount, make_wallet: MakeWallet
) -> AsyncIterator[EvmWallet]:
    """The wallet over its own JSON-RPC, and over the web3 and account of a caller."""
    if request.param == "url":
        yield make_wallet(evm.url, bytes(account.key))
        return
    web3 = AsyncWeb3(AsyncHTTPProvider(evm.url))
    yield make_wallet(web3, account)
    await web3.provider.disconnect()


async def test_a_payment_can_be_sent_again_and_again_and_is_one(evm: Evm, wallet: EvmWallet) -> None:
    before = evm.balance(PAYEE)
    payment = await wallet.sign(offer(evm, 1000, data="0x" + "ab" * 32))
    for _ in range(3):
        await wallet.send(payment)
    assert await wallet.inclusion(payment, 20) is Inclusion.INCLUDED
    await wallet.send(payment)
    assert evm.balance(PAYEE) - before == 1000
    assert evm.rpc("eth_getTransactionByHash", payment.tx)["input"] == "0x" + "ab" * 32


async def test_a_payment_whose_nonce_is_taken_is_told(evm: Evm, wallet: EvmWallet, account: LocalAccount) -> None:
    payment = await wallet.sign(offer(evm, 1000))
    await asyncio.to_thread(evm.send, account, account.address, value=1)
    with pytest.raises(WalletError) as refused:
        await wallet.send(payment)
    assert refused.value.code == "nonce_taken"
    assert await wallet.inclusion(payment, 5) is Inclusion.REPLACED


async def test_a_payment_behind_another_that_waits_is_told_when_that_one_is_in_a_block(
    evm: Evm, wallet: EvmWallet, account: LocalAccount
) -> None:
    payment = await wallet.sign(offer(evm, 1000))
    evm.automine(False)
    try:
        evm.submit(evm.sign(account, account.address, value=1))
        sending = asyncio.create_task(wallet.send(payment))
        done, _ = await asyncio.wait({sending}, timeout=0.5)
        assert not done, "it is not known yet which of the two it will be"
        evm.mine()
        with pytest.raises(WalletError) as refused:
            await asyncio.wait_for(sending, 10)
        assert refused.value.code == "nonce_taken"
    finally:
        evm.automine(True)


async def test_a_payment_that_was_never_sent_is_pending(evm: Evm, wallet: EvmWallet) -> None:
    payment = await wallet.sign(offer(evm, 1000))
    assert await wallet.inclusion(payment, 0) is Inclusion.PENDING


async def test_tokens_are_paid_and_found(evm: Evm, wallet: EvmWallet, account: LocalAccount) -> None:
    token = evm.token()
    evm.send(account, token.address, data=token.data("mint", account.address, 5000))
    assert await wallet.decimals(token.address) == 6
    assert await wallet.balance(token.address) == 5000
    data = "0x" + token.data("transfer", PAYEE, 3000).hex() + "cd" * 32
    payment = await wallet.sign(offer(evm, 3000, token=token.address.lower(), data=data))
    await wallet.send(payment)
    assert await wallet.inclusion(payment, 20) is Inclusion.INCLUDED
    assert token.read("balanceOf", PAYEE) == 3000
    assert await wallet.received(payment.tx, PAYEE, 3000, token.address)
    assert not await wallet.received(payment.tx, PAYEE, 3001, token.address)
    assert not await wallet.received(payment.tx, account.address, 1, token.address)
    assert not await wallet.received(payment.tx, PAYEE, 1, None)
    with pytest.raises(WalletError, match="holds 2000 smallest units"):
        await wallet.sign(offer(evm, 2001, token=token.address.lower(), data=data))


async def test_a_refund_is_found_only_where_it_was_paid(evm: Evm, wallet: EvmWallet) -> None:
    tx = evm.send(evm.account(), wallet.address, value=700)
    assert await wallet.received(tx, wallet.address, 700, None)
    assert not await wallet.received(tx, wallet.address, 701, None)
    assert not await wallet.received(tx, PAYEE, 700, None)
    assert not await wallet.received("0x" + "ef" * 32, wallet.address, 700, None)


async def test_a_text_is_signed_as_wallets_do(wallet: EvmWallet) -> None:
    signature = await wallet.sign_message("WS402 payment")
    assert Account.recover_message(encode_defunct(text="WS402 payment"), signature=signature) == wallet.address


async def test_gas_that_no_plain_payment_takes_is_not_paid(evm: Evm, wallet: EvmWallet) -> None:
    with pytest.raises(WalletError) as refused:
        await wallet.sign(offer(evm, 1, data="0x" + "ff" * 20_000))
    assert refused.value.code == "fee_too_high"
