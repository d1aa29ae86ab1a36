"""A stock Solana wallet pays by a system transfer with the reference key, streams, leaves, and gets the rest back."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from tests.fixtures.stack_solana import LAMPORTS, MakeSolanaStack, SolanaStack
from tests.wire.peers.client import Mode
from tests.wire.peers.solana import SolanaClient, SolanaWallet

STRICT = {"BINDINGS": '["tag", "signature", "claim_token"]'}


@pytest.fixture(params=["legacy", "strict"])
def mode(request: pytest.FixtureRequest) -> Any:
    """How payments are tied to their invoices."""
    return request.param


@pytest.fixture
def stack(make_solana_stack: MakeSolanaStack, mode: Mode) -> SolanaStack:
    return make_solana_stack(gateway_settings=STRICT if mode == "strict" else {})


async def test_a_stock_wallet_opens_a_session_and_gets_its_refund(stack: SolanaStack, mode: Mode) -> None:
    async with (
        SolanaWallet(stack.solana.url, stack.payer()) as wallet,
        SolanaClient(stack.server_url, wallet, mode=mode) as peer,
    ):
        await check_schema(stack, peer)
        began = time.monotonic()
        session = await peer.buy("ticker")
        assert session.balance == 300 * LAMPORTS
        funds = await wallet.balance()
        update = await session.expect("usage_update")
        assert update["consumedAmount"] + update["remainingBalance"] == session.balance
        await session.close()
        elapsed = time.monotonic() - began
        after = await wallet.wait_for_balance(funds + 1)
        consumed = session.balance - (after - funds)
        assert update["consumedAmount"] <= consumed <= (elapsed + 2) * LAMPORTS
        await asyncio.sleep(1)
        assert await wallet.balance() == after, "the refund came twice"
        await a3_somebody_else_cannot_use_the_payment(peer, wallet, strict=mode == "strict")


async def check_schema(stack: SolanaStack, peer: SolanaClient) -> None:
    """Shaped as the wire says."""
    schema = await peer.schema("ticker")
    assert schema["pricing"]["pricePerSecond"] == LAMPORTS
    details = schema["paymentDetails"]
    assert (details["type"], details["network"], details["currency"]) == ("solana", "solana-localnet", "SOL")
    assert details["recipient"] == stack.merchant
    assert (details["amount"], details["amountSOL"]) == (300 * LAMPORTS, "0.006")
    url = details["solanaPayURL"]
    assert url.startswith(f"solana:{stack.merchant}?amount=0.006&reference={details['reference']}")
    assert details["qrCode"]
    assert details["expiresAt"] > time.time() * 1000
    assert details["instructions"]["step1"]
    blockhash = (await peer.get("/blockhash")).json()
    assert stack.solana.rpc("isBlockhashValid", blockhash["blockhash"], {"commitment": "confirmed"})["value"]
    height = stack.solana.rpc("getBlockHeight", {"commitment": "confirmed"})
    assert height < blockhash["lastValidBlockHeight"] <= height + 160


async def a3_somebody_else_cannot_use_the_payment(peer: SolanaClient, wallet: SolanaWallet, *, strict: bool) -> None:
    """The reference is public once it is on the chain: strict mode asks for the secret. A used one is used up."""
    details = (await peer.schema("ticker", 60))["paymentDetails"]
    proof = await peer.pay(details)
    if strict:
        for wrong in (None, "a guess"):
            async with await peer.open("ticker") as session:
                await session.init()
                await session.prove(proof, claim_token=wrong)
                assert (await session.expect("payment_rejected"))["code"].startswith("binding")
    async with await peer.open("ticker") as session:
        await session.start(proof, claim_token=details["claimToken"])
    async with await peer.open("ticker") as session:
        await session.init()
        await session.prove(proof, claim_token=details["claimToken"])
        assert (await session.expect("payment_rejected"))["code"] in ("already_claimed", "session_ended")
