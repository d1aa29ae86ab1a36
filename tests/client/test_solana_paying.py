"""A payment on Solana is made once, whatever breaks: the same bytes until they can never land, then new ones."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from solders.keypair import Keypair
from tests.client.scripted import PRICE, SOLANA_RECIPIENT, ScriptedServer
from tests.fixtures.solana import SOL, Solana
from tests.fixtures.solana_tokens import key_file

from ws402.client import (
    Inclusion,
    NodeUnavailableError,
    Offer,
    PaymentRejectedError,
    PaymentState,
    SignedPayment,
    SolanaWallet,
    Store,
    connect,
)
from ws402.errors import ConflictError

LIMITS: dict[str, Any] = {"resource": "ticker", "duration": 60, "max_amount": SOL, "trust_first_use": True}
AMOUNT = 60 * PRICE // 10**6


@pytest.fixture
def account(solana: Solana) -> Keypair:
    return solana.account(5 * SOL)


@pytest.fixture
def shop(scripted: ScriptedServer) -> ScriptedServer:
    """A server that asks for SOL."""
    scripted.change = scripted.solana
    return scripted


class Late(SolanaWallet):
    """Its payments are lost on the way, and too old, for as long as `late` counts."""

    late = 1

    async def sign(self, offer: Offer) -> SignedPayment:
        payment = await super().sign(offer)
        return replace(payment, valid_until=1) if self.late else payment

    async def send(self, payment: SignedPayment) -> None:
        if self.late:
            self.late -= 1
        else:
            await super().send(payment)


async def payments(solana: Solana, account: Keypair) -> int:
    """Transactions that the account sent; its airdrop is one more."""
    found = await asyncio.to_thread(
        solana.rpc, "getSignaturesForAddress", str(account.pubkey()), {"commitment": "confirmed"}
    )
    return len(found) - 1


async def test_the_proof_has_the_signature_the_reference_the_wallet_and_the_claim_token(
    solana: Solana, shop: ScriptedServer, account: Keypair
) -> None:
    wallet = SolanaWallet(solana.url, key_file(account))
    async with connect(shop.url, wallet=wallet, **LIMITS) as session:
        tx = session.payments[0].tx
    (hello,) = shop.hellos
    assert hello["proof"] == {"signature": tx, "reference": shop.references[0], "senderWallet": wallet.address}
    assert hello["claimToken"] == "claim"
    assert await wallet.received(tx, SOLANA_RECIPIENT, AMOUNT, None)
    await wallet.close()


async def test_a_payment_that_expired_unseen_is_signed_anew_under_the_same_id(
    solana: Solana, shop: ScriptedServer, account: Keypair
) -> None:
    wallet = Late(solana.url, key_file(account))
    async with connect(shop.url, wallet=wallet, payment_id="p", **LIMITS) as session:
        assert session.payments[0].id == "p"
        assert session.payments[0].amount == AMOUNT
    assert (await payments(solana, account), shop.schemas) == (1, 1)
    await wallet.close()


async def test_what_a_crash_left_unsent_too_long_is_forgotten_and_paid_anew(
    solana: Solana, shop: ScriptedServer, account: Keypair, store: Store
) -> None:
    class Offline(Late):
        async def send(self, payment: SignedPayment) -> None:
            raise NodeUnavailableError("The node is away.")

    offline = Offline(solana.url, key_file(account))
    with pytest.raises(NodeUnavailableError):
        async with connect(shop.url, wallet=offline, store=store, payment_id="p", **LIMITS):
            pytest.fail("it connected")
    (left,) = store.unfinished()
    wallet = SolanaWallet(solana.url, key_file(account))
    async with connect(shop.url, wallet=wallet, store=store, payment_id="p", **LIMITS) as session:
        assert session.payments[0].tx != left.tx
    assert await payments(solana, account) == 1
    await asyncio.gather(offline.close(), wallet.close())


async def test_what_a_node_may_have_forgotten_is_not_paid_anew(
    solana: Solana, shop: ScriptedServer, account: Keypair, tmp_path: Path
) -> None:
    """That no node knows a payment proves nothing when it is old."""

    class Offline(Late):
        async def send(self, payment: SignedPayment) -> None:
            raise NodeUnavailableError("The node is away.")

    path = tmp_path / "payments.db"
    wallet = Offline(solana.url, key_file(account))
    with Store(path) as store, closing(sqlite3.connect(path)) as file:
        with pytest.raises(NodeUnavailableError):
            async with connect(shop.url, wallet=wallet, store=store, payment_id="p", **LIMITS):
                pytest.fail("it connected")
        file.execute("UPDATE payments SET created_at = created_at - 3600001, expires_at = expires_at + 3600000")
        file.commit()
        with pytest.raises(PaymentRejectedError, match="in no block in time"):
            async with connect(shop.url, wallet=wallet, store=store, payment_id="p", **LIMITS):
                pytest.fail("it connected")
        with pytest.raises(ConflictError, match="was used"):
            async with connect(shop.url, wallet=wallet, store=store, payment_id="p", **LIMITS):
                pytest.fail("it connected")
    assert (await payments(solana, account), shop.schemas) == (0, 1)
    await wallet.close()


async def test_what_may_still_land_is_sent_again_and_never_signed_anew(
    solana: Solana, shop: ScriptedServer, account: Keypair, store: Store
) -> None:
    class Blind(SolanaWallet):
        """Sends, but does not live to see it."""

        async def inclusion(self, payment: SignedPayment, seconds: float) -> Inclusion:
            raise NodeUnavailableError("The node is away.")

    blind = Blind(solana.url, key_file(account))
    with pytest.raises(NodeUnavailableError):
        async with connect(shop.url, wallet=blind, store=store, **LIMITS):
            pytest.fail("it connected")
    (left,) = store.unfinished()
    assert left.state is PaymentState.SIGNED
    wallet = SolanaWallet(solana.url, key_file(account))
    async with connect(shop.url, wallet=wallet, store=store, **LIMITS) as session:
        assert session.payments[0].tx == left.tx
    assert (await payments(solana, account), shop.schemas) == (1, 1)
    await asyncio.gather(blind.close(), wallet.close())


CRASHING = """
import asyncio, os, signal, sys
from ws402.client import SolanaWallet, Store, connect
url, rpc, key, path, step = sys.argv[1:]

def die():
    os.kill(os.getpid(), signal.SIGKILL)

class Dying(SolanaWallet):
    async def send(self, payment):
        if step == "signed":
            die()
        await super().send(payment)
        if step == "sent":
            die()

async def main():
    async with connect(url, wallet=Dying(rpc, open(key).read()), store=Store(path), resource="ticker", duration=60,
                       max_amount=10**9, trust_first_use=True) as session:
        die()

asyncio.run(main())
"""


@pytest.mark.parametrize("step", ["signed", "sent"])
async def test_a_killed_payer_pays_once(
    solana: Solana, shop: ScriptedServer, account: Keypair, tmp_path: Path, step: str
) -> None:
    key, path = tmp_path / "id.json", tmp_path / "payments.db"
    key.write_text(key_file(account))
    arguments = [sys.executable, "-c", CRASHING, shop.url, solana.url, str(key), str(path), step]
    crashed = await asyncio.to_thread(subprocess.run, arguments, timeout=60, check=False)
    assert crashed.returncode == -signal.SIGKILL
    wallet = SolanaWallet(solana.url, key_file(account))
    with Store(path) as store:
        (left,) = store.unfinished()
        async with connect(shop.url, wallet=wallet, store=store, **LIMITS) as session:
            assert session.payments[0].tx == left.tx
    assert (await payments(solana, account), shop.schemas) == (1, 1)
    await wallet.close()
