"""A payment is made once, whatever breaks: the same id, or a crash at any step, shows it again and never pays anew."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from contextlib import AsyncExitStack
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
from eth_utils.crypto import keccak
from tests.client.conftest import MakeWallet, OurServer
from tests.client.scripted import PRICE, RECIPIENT, Peer, ScriptedServer, honest
from tests.fixtures.evm import Evm

from ws402.client import (
    EvmWallet,
    NodeUnavailableError,
    Options,
    PaymentBusyError,
    PaymentFailedError,
    PaymentPendingError,
    PaymentRejectedError,
    Session,
    SessionLostError,
    SignedPayment,
    Store,
    WalletError,
    connect,
    connect_with_proof,
)
from ws402.devchain.evm import EvmDevChain
from ws402.errors import ConfigurationError, ConflictError
from ws402.protocol import EndReason, Proof

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
    scripted: ScriptedServer, wallet: EvmWallet, chain: Evm
) -> None:
    """Ten tries at once: one session; the others are told, and one transfer is on the chain."""
    before = await paid_to(chain)
    store = Store()
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
    scripted: ScriptedServer, wallet: EvmWallet, chain: Evm
) -> None:
    async def fall_over(peer: Peer) -> None:
        await peer.socket.close(1011)

    before = await paid_to(chain)
    scripted.script = fall_over
    store = Store()
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


CRASHING = """
import asyncio, os, signal, sys
from ws402.client import EvmWallet, Store, connect
import ws402.client.evm as evm
import ws402.client.connecting as connecting
url, rpc, key, path, step = sys.argv[1:]

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

async def die_async(*_, **__):
    die()

class Dying(EvmWallet):
    async def send(self, payment):
        if step == "signed":
            die()
        await super().send(payment)
        if step == "sent":
            die()
    async def inclusion(self, payment, seconds):
        found = await super().inclusion(payment, seconds)
        if step == "included":
            die()
        return found

async def main():
    async with connect(url, wallet=Dying(rpc, key), store=Store(path), resource="ticker", duration=60,
                       max_amount=10**17, trust_first_use=True) as session:
        await anext(session)
        die()

asyncio.run(main())
"""


@pytest.mark.parametrize("step", ["signed", "sent", "included", "streaming"])
async def test_a_crash_at_any_step_after_signing_loses_nothing(
    ours: OurServer, chain: Evm, tmp_path: Path, step: str, make_wallet: MakeWallet
) -> None:
    account = chain.account()
    path = tmp_path / "store" / "payments.db"
    arguments = [sys.executable, "-c", CRASHING, ours.url, chain.url, account.key.hex(), str(path), step]
    crashed = await asyncio.to_thread(subprocess.run, arguments, timeout=60, check=False)
    assert crashed.returncode == -signal.SIGKILL
    assert path.stat().st_mode & 0o777 == 0o600
    wallet = make_wallet(chain.url, bytes(account.key))
    with Store(path) as store:
        (left,) = store.unfinished()
        # A lost socket is noticed by the server at once on this machine; then its session waits to be resumed.
        async with connect(ours.url, wallet=wallet, store=store, **LIMITS) as session:
            assert session.payments[0].tx == left.tx
            await anext(session)
            assert 0 < session.balance <= 60 * PRICE
            settlement = await session.end()
        assert store.unfinished() == []
    assert settlement.exact
    assert settlement.paid == 60 * PRICE
    assert chain.rpc("eth_getTransactionCount", account.address, "latest") == "0x1", "it was paid twice"
    assert len(ours.provider.sessions) == 1
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
    scripted: ScriptedServer, devchain: EvmDevChain, make_wallet: MakeWallet
) -> None:
    evm = Evm(devchain.rpc_url, name="devchain")
    account = evm.account()
    evm.automine(False)
    wallet = make_wallet(evm.url, bytes(account.key))
    store = Store()
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
    scripted: ScriptedServer, chain: Evm, make_wallet: MakeWallet
) -> None:
    """The recipient is a contract that refuses plain coins; gas is given by hand, for its estimate would fail."""
    refusing = chain.token().address
    account = chain.account()

    class Blind(EvmWallet):
        async def sign(self, offer: Any) -> SignedPayment:
            raw = chain.sign(account, refusing, value=offer.value, gas=100_000)
            return SignedPayment(tx="0x" + keccak(raw).hex(), raw="0x" + raw.hex(), nonce=0)

    wallet = make_wallet(chain.url, bytes(account.key), kind=Blind)
    store = Store()
    with pytest.raises(PaymentFailedError, match="only its fee is gone"):
        async with connect(scripted.url, wallet=wallet, store=store, **LIMITS):
            pytest.fail("it connected")
    assert store.unfinished() == []
    assert scripted.hellos == []


async def test_an_account_with_too_little_is_told_what_it_needs(
    scripted: ScriptedServer, chain: Evm, make_wallet: MakeWallet
) -> None:
    wallet = make_wallet(chain.url, bytes(chain.account(60 * PRICE).key))
    with pytest.raises(WalletError, match="needs") as refused:
        async with connect(scripted.url, wallet=wallet, **LIMITS):
            pytest.fail("it connected")
    assert refused.value.code == "insufficient_funds"


async def test_fees_above_the_cap_are_not_paid(scripted: ScriptedServer, chain: Evm, make_wallet: MakeWallet) -> None:
    wallet = make_wallet(chain.url, bytes(chain.account().key), max_fee_gwei=0)
    with pytest.raises(WalletError, match="gwei"):
        async with connect(scripted.url, wallet=wallet, **LIMITS):
            pytest.fail("it connected")


async def test_a_node_that_is_away_is_named_without_its_access_key(
    scripted: ScriptedServer, chain: Evm, make_wallet: MakeWallet
) -> None:
    wallet = make_wallet("http://127.0.0.1:9/v2/SECRET", "0x" + "11" * 32)
    with pytest.raises(NodeUnavailableError, match=r"127\.0\.0\.1:9") as failed:
        async with connect(scripted.url, wallet=wallet, **LIMITS):
            pytest.fail("it connected")
    assert "SECRET" not in str(failed.value)


@pytest.mark.parametrize("key", ["", "0x12", "nonsense", "0x" + "zz" * 32, "0x" + "00" * 32])
def test_a46_a_key_that_is_none_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(ConfigurationError, match="private key is not") as refused:
        EvmWallet("http://127.0.0.1:9", key)
    assert not key or key not in str(refused.value)
    assert refused.value.__cause__ is None


def test_a46_no_secret_shows_in_a_repr(chain: Evm) -> None:
    key = "0x" + "5a" * 32
    assert "5a5a" not in repr(EvmWallet(chain.url, key))
    assert "secret" not in repr(SignedPayment(tx="0x1", raw="secret", nonce=1))


def test_a_store_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="cannot be used"):
        Store(tmp_path / "file" / "payments.db")
    (tmp_path / "broken.db").write_text("This is no database, but it is long enough to be read as one. " * 20)
    with pytest.raises(ConfigurationError, match="cannot be used"):
        Store(tmp_path / "broken.db")


async def test_a_session_that_was_settled_meanwhile_is_told_and_not_paid_for_again(
    ours: OurServer, wallet: EvmWallet, chain: Evm
) -> None:
    store = Store()

    async def lose() -> None:
        async with connect(ours.url, wallet=wallet, store=store, payment_id="p", **LIMITS) as session:
            ours.provider.end_session(session.id, EndReason.SERVER_VANISHED)
            ours.server.sessions.live[session.id].lose(EndReason.SUPERSEDED)
            async for _ in session:
                pass

    with pytest.raises(SessionLostError, match="another socket"):
        await lose()
    with pytest.raises(ConflictError, match="was used"):
        async with connect(ours.url, wallet=wallet, store=store, payment_id="p", **LIMITS):
            pytest.fail("it connected")
    assert chain.rpc("eth_getTransactionCount", wallet.address, "latest") == "0x1"
