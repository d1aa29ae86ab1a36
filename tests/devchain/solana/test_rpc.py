"""The embedded chain speaks JSON-RPC as validators do, so that what works on it works on a cluster."""

from __future__ import annotations

from solders.keypair import Keypair
from tests.fixtures.solana import CONFIRMED, SOL, Solana, pay


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
