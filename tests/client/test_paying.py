"""A payment is made once, whatever breaks: the same id, or a crash at any step, shows it again and never pays anew."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from hashlib import sha256
from typing import Any

import httpx
import pytest
from eth_utils.crypto import keccak
from tests.client.conftest import MakeWallet, OurServer
from tests.client.scripted import PRICE, RECIPIENT, Peer, ScriptedServer, honest
from tests.fixtures.evm import Evm

from ws402.client import (
    EvmWallet,
    Options,
    PaymentBusyError,
    PaymentFailedError,
    PaymentPendingError,
    PaymentRejectedError,
    Session,
    SignedPayment,
    Store,
    connect,
    connect_with_proof,
)
from ws402.devchain.evm import EvmDevChain
from ws402.errors import ConflictError
from ws402.protocol import Proof

LIMITS: dict[str, Any] = {"resource": "ticker", "duration": 60, "max_amount": 10**17, "trust_first_use": True}
QUICK = Options(prove_seconds=1, reconnect_seconds=1)


async def paid_to(chain: Evm, address: str = RECIPIENT) -> int:
    return await asyncio.to_thread(chain.balance, address)


async def test_the_payment_carries_the_invoices_tag(scripted: ScriptedServer, wallet: EvmWallet, chain: Evm) -> None:
    scripted.change = scripted.tagged
    before = await paid_to(chain)
    async with connect(scripted.url, wallet=wallet, **LIMITS) as session:
        tx = session.payments[0].tx
    proof = scripted.hellos[0]["proof"]
    assert proof == {"txHash": tx, "reference": scripted.references[0], "senderAddress": wallet.address}
    shown = chain.rpc("eth_getTransactionByHash", tx)
    assert shown["input"] == "0x" + sha256(scripted.references[0].encode()).hexdigest()
    assert await paid_to(chain) - before == int(shown["value"], 16) == 60 * PRICE


async def test_a_stock_gateway_gets_a_plain_transfer_and_a_signature_that_it_ignores(
    scripted: ScriptedServer, wallet: EvmWallet, chain: Evm
) -> None:
    async with connect(scripted.url, wallet=wallet, **LIMITS) as session:
        tx = session.payments[0].tx
    assert chain.rpc("eth_getTransactionByHash", tx)["input"] == "0x"
    hello = scripted.hellos[0]
    assert hello["type"] == "payment_proof"
    assert len(hello["payerSignature"]) == 132


async def test_a_token_is_paid_by_its_transfer_with_the_tag_behind(
    scripted: ScriptedServer, chain: Evm, make_wallet: MakeWallet
) -> None:
    token = chain.token()
    account = chain.account()
    chain.send(account, token.address, data=token.data("mint", account.address, 10**9))
    scripted.started["balance"] = 60 * PRICE

    def ask(schema: dict[str, Any]) -> None:
        scripted.tagged(schema)
        details = schema["paymentDetails"]
        details.update(currency="ERC20", tokenAddress=token.address, asset="DUSD", decimals=6)
        details.update(amount=60 * 1000, amountWei=60 * 1000, amountETH="0.06")
        details["eip681"] = f"ethereum:{token.address}@84532/transfer?address={RECIPIENT}&uint256=60000"
        schema["pricing"].update(pricePerSecond=1000, totalPrice=60 * 1000)

    scripted.change = ask
    scripted.started.update(balance=60 * 1000, pricePerSecond=1000)
    before = token.read("balanceOf", RECIPIENT)
    wallet = make_wallet(chain.url, bytes(account.key))
    async with connect(scripted.url, wallet=wallet, asset=token.address, **LIMITS) as session:
        assert (session.asset, session.paid) == ("DUSD", 60_000)
        tx = session.payments[0].tx
    assert token.read("balanceOf", RECIPIENT) - before == 60_000
    data = chain.rpc("eth_getTransactionByHash", tx)["input"]
    assert data.startswith("0xa9059cbb")
    assert len(data) == 2 + 2 * (4 + 64 + 32)
    assert await wallet.decimals(token.address) == 6


async def test_a47_the_same_payment_id_pays_once_in_a_storm(
    scripted: ScriptedServer, wallet: EvmWallet, chain: Evm, store: Store
) -> None:
    """Ten tries at once: one session; the others are told, and one transfer is on the chain."""
    before = await paid_to(chain)
    opened: list[Session] = []

    async def attempt(stack: AsyncExitStack) -> None:
        opened.append(
            await stack.enter_async_context(
                connect(scripted.url, wallet=wallet, store=store, payment_id="order-17", **LIMITS)
            )
        )

    async with AsyncExitStack() as stack:
        results = await asyncio.gather(*(attempt(stack) for _ in range(10)), return_exceptions=True)
    assert len(opened) == 1
    assert [type(each) for each in results if each is not None] == [PaymentBusyError] * 9
    assert await paid_to(chain) - before == 60 * PRICE
    assert len(scripted.hellos) == 1
    with pytest.raises(ConflictError, match="was used"):
        async with connect(scripted.url, wallet=wallet, store=store, payment_id="order-17", **LIMITS):
            pytest.fail("it connected")
    assert await paid_to(chain) - before == 60 * PRICE


async def test_a47_a_server_that_never_answers_the_proof_is_not_paid_twice(
    scripted: ScriptedServer, wallet: EvmWallet, chain: Evm, store: Store
) -> None:
    async def fall_over(peer: Peer) -> None:
        await peer.socket.close(1011)

    before = await paid_to(chain)
    scripted.script = fall_over
    for _ in range(3):
        with pytest.raises(PaymentRejectedError, match="opened no session") as refused:
            async with connect(scripted.url, wallet=wallet, store=store, options=QUICK, **LIMITS):
                pytest.fail("it connected")
    assert await paid_to(chain) - before == 60 * PRICE
    assert scripted.schemas == 1
    assert len(scripted.hellos) >= 6
    assert {hello["proof"]["txHash"] for hello in scripted.hellos} == {refused.value.proof.tx_hash}
    scripted.script = honest
    async with connect(scripted.url, wallet=wallet, store=store, **LIMITS) as session:
        assert await anext(session) == "hello"
    assert store.unfinished() == []
    assert await paid_to(chain) - before == 60 * PRICE


async def test_a_transient_refusal_is_tried_again_and_a_final_one_is_not(
    scripted: ScriptedServer, wallet: EvmWallet
) -> None:
    codes = ["transfer_not_found", "transfer_unconfirmed", "chain_unavailable", "already_claimed"]

    async def refuse(peer: Peer) -> None:
        await peer.send("payment_rejected", reason="No.", code=codes[len(scripted.hellos) - 1])
        await peer.socket.close(1008)

    scripted.script = refuse
    with pytest.raises(PaymentRejectedError) as refused:
        async with connect(scripted.url, wallet=wallet, **LIMITS):
            pytest.fail("it connected")
    assert refused.value.code == "already_claimed"
    assert len(scripted.hellos) == 4


async def test_a_stock_servers_refusal_has_no_code_and_ends_after_some_tries(
    scripted: ScriptedServer, wallet: EvmWallet
) -> None:
    async def refuse(peer: Peer) -> None:
        await peer.send("payment_rejected", reason="Transaction not found")
        await peer.socket.close(1008)

    scripted.script = refuse
    with pytest.raises(PaymentRejectedError, match="Transaction not found"):
        async with connect(scripted.url, wallet=wallet, **LIMITS):
            pytest.fail("it connected")
    assert len(scripted.hellos) == 3


async def test_a_proof_made_elsewhere_opens_a_session(ours: OurServer, wallet: EvmWallet) -> None:
    proof = Proof(tx_hash="0x" + "ab" * 32, reference="", sender_address=wallet.address)
    async with httpx.AsyncClient() as http:
        schema = (await http.get(f"{ours.url}/ws402/schema/ticker?duration=60")).json()
    proof.reference = schema["paymentDetails"]["reference"]
    async with connect_with_proof(ours.url, proof=proof, resource="ticker") as session:
        assert session.paid == 60 * PRICE
        with pytest.raises(ConflictError, match="cannot be topped up"):
            await session.top_up(60)
    assert ours.provider.audit() == 0


async def test_a_payment_that_another_process_overtook_is_signed_anew_and_paid_once(
    scripted: ScriptedServer, chain: Evm, make_wallet: MakeWallet
) -> None:
    account = chain.account()
    before = await paid_to(chain)

    class Overtaken(EvmWallet):
        sent = 0

        async def send(self, payment: SignedPayment) -> None:
            if not self.sent:
                self.sent += 1
                await asyncio.to_thread(chain.send, account, account.address, value=1)
            await super().send(payment)

    wallet = make_wallet(chain.url, bytes(account.key), kind=Overtaken)
    async with connect(scripted.url, wallet=wallet, **LIMITS) as session:
        assert session.payments[0].nonce == 1
    assert await paid_to(chain) - before == 60 * PRICE
    assert chain.rpc("eth_getTransactionCount", account.address, "latest") == "0x2"


async def test_parallel_sessions_of_one_wallet_use_a_nonce_each(
    scripted: ScriptedServer, wallet: EvmWallet, chain: Evm
) -> None:
    before = await paid_to(chain)

    async def one() -> str:
        async with connect(scripted.url, wallet=wallet, **LIMITS) as session:
            return session.payments[0].tx

    assert len(set(await asyncio.gather(*(one() for _ in range(5))))) == 5
    assert await paid_to(chain) - before == 5 * 60 * PRICE


async def test_a_payment_that_gets_into_no_block_is_told_and_gone_on_with(
    scripted: ScriptedServer, devchain: EvmDevChain, make_wallet: MakeWallet, store: Store
) -> None:
    evm = Evm(devchain.rpc_url, name="devchain")
    account = evm.account()
    evm.automine(False)
    wallet = make_wallet(evm.url, bytes(account.key))
    for _ in range(2):
        with pytest.raises(PaymentPendingError, match="not paid twice"):
            async with connect(scripted.url, wallet=wallet, store=store, options=Options(block_seconds=0.5), **LIMITS):
                pytest.fail("it connected")
    evm.mine()
    async with connect(scripted.url, wallet=wallet, store=store, **LIMITS) as session:
        assert session.payments[0].nonce == 0
    assert scripted.schemas == 1
    assert evm.balance(RECIPIENT) == 60 * PRICE
    evm.close()


async def test_a_failed_transaction_is_told_and_the_next_try_pays_again(
    scripted: ScriptedServer, chain: Evm, make_wallet: MakeWallet, store: Store
) -> None:
    """The recipient is a contract that refuses plain coins; gas is given by hand, for its estimate would fail."""
    refusing = chain.token().address
    account = chain.account()

    class Blind(EvmWallet):
        async def sign(self, offer: Any) -> SignedPayment:
            raw = chain.sign(account, refusing, value=offer.value, gas=100_000)
            return SignedPayment(tx="0x" + keccak(raw).hex(), raw="0x" + raw.hex(), nonce=0)

    wallet = make_wallet(chain.url, bytes(account.key), kind=Blind)
    with pytest.raises(PaymentFailedError, match="only its fee is gone"):
        async with connect(scripted.url, wallet=wallet, store=store, **LIMITS):
            pytest.fail("it connected")
    assert store.unfinished() == []
    assert scripted.hellos == []
