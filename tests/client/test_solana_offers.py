"""Offers on Solana: what contradicts itself, and what the payer's limits forbid, is refused before money moves."""

from __future__ import annotations

from typing import Any

import pytest
from solders.keypair import Keypair
from tests.client.scripted import PRICE, SOLANA_RECIPIENT, ScriptedServer

from ws402.client import OfferError, PolicyError, SolanaOffer, Store, ask_offer
from ws402.client.policy import Policy
from ws402.errors import InvalidRequestError

LOCAL = "solana:" + "1" * 32
MAINNET = "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp"
OTHER = str(Keypair.from_seed(bytes([8] * 32)).pubkey())
MINT = "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"


async def ask(scripted: ScriptedServer, **changes: Any) -> SolanaOffer:
    """The offer of a schema whose payment details were changed."""

    def change(schema: dict[str, Any]) -> None:
        scripted.solana(schema)
        details = schema["paymentDetails"]
        for name, value in changes.items():
            details[name] = value(details) if callable(value) else value

    scripted.change = change
    offer = await ask_offer(scripted.url, resource="ticker", duration=60)
    assert isinstance(offer, SolanaOffer)
    return offer


def in_link(old: str, new: str) -> Any:
    return lambda details: details["solanaPayURL"].replace(old, new)


async def test_an_honest_offer_is_read_whole(scripted: ScriptedServer) -> None:
    offer = await ask(scripted, memo="m 1", solanaPayURL=in_link("&label", "&memo=m%201&label"))
    assert (offer.amount, offer.coins, offer.decimals) == (60 * PRICE // 10**6, "0.6", 9)
    assert (offer.recipient, offer.token, offer.memo) == (SOLANA_RECIPIENT, None, "m 1")
    assert (offer.reference, offer.claim_token) == (scripted.references[-1], "claim")


@pytest.mark.parametrize(
    "changes",
    [
        {"recipient": OTHER},
        {"recipient": "0x" + "0a" * 20},
        {"recipient": SOLANA_RECIPIENT[:-1]},
        {"reference": OTHER},
        {"reference": "no key"},
        {"amountSOL": "0.7"},
        {"amountSOL": "0.6000000001"},
        {"amount": 2**64, "amountSOL": "18446744073.709551616"},
        {"currency": "SPL"},
        {"splToken": MINT},
        {"currency": "SPL", "splToken": MINT},
        {
            "currency": "SPL",
            "splToken": MINT,
            "decimals": 9,
            "solanaPayURL": in_link("&label", f"&spl-token={OTHER}&label"),
        },
        {
            "currency": "SPL",
            "splToken": MINT,
            "decimals": 6,
            "solanaPayURL": in_link("&label", f"&spl-token={MINT}&label"),
        },
        {"currency": "USD"},
        {"network": "base"},
        {"solanaPayURL": in_link("amount=0.6", "amount=6")},
        {"solanaPayURL": in_link("&label", f"&reference={OTHER}&label")},
        {"solanaPayURL": in_link("reference=", "ref=")},
        {"solanaPayURL": in_link("solana:", "ethereum:")},
        {"solanaPayURL": lambda _: f"solana:{OTHER}"},
        {"solanaPayURL": lambda _: "solana:https%3A%2F%2Fpay.example"},
        {"memo": "another", "solanaPayURL": in_link("&label", "&memo=one&label")},
        {"solanaPayURL": in_link("&label", f"&memo={'m' * 300}&label")},
    ],
)
async def test_a47_an_offer_that_contradicts_itself_is_refused(
    scripted: ScriptedServer, changes: dict[str, Any]
) -> None:
    with pytest.raises(OfferError):
        await ask(scripted, **changes)


async def test_a47_a_private_networks_offer_cannot_be_paid_on_a_public_one_nor_the_other_way_round(
    scripted: ScriptedServer,
    store: Store,
) -> None:
    policy = Policy(max_amount=10**18, trust_first_use=True)

    def check(offer: SolanaOffer, chain: str) -> None:
        policy.check(offer, origin="o", chain=chain, spent=0, store=store)

    check(await ask(scripted), LOCAL)
    check(await ask(scripted, network="solana"), MAINNET)
    for network, chain in (
        ("solana-localnet", MAINNET),
        ("solana", LOCAL),
        ("solana-devnet", MAINNET),
        ("solana-localnet", "eip155:1"),
    ):
        with pytest.raises(PolicyError) as refused:
            check(await ask(scripted, network=network), chain)
        assert refused.value.code == "network_refused"


async def test_a47_an_address_in_another_case_is_another_payee(scripted: ScriptedServer, store: Store) -> None:
    offer = await ask(scripted)
    for payee, fine in ((SOLANA_RECIPIENT, True), (SOLANA_RECIPIENT.lower(), False), (OTHER, False)):
        policy = Policy(max_amount=10**18, payees=frozenset([payee]))
        if fine:
            policy.check(offer, origin="o", chain=LOCAL, spent=0, store=store)
            continue
        with pytest.raises(PolicyError) as refused:
            policy.check(offer, origin="o", chain=LOCAL, spent=0, store=store)
        assert refused.value.code == "payee_refused"


async def test_a47_the_cap_counts_in_the_asset_that_was_allowed(scripted: ScriptedServer, store: Store) -> None:
    link = in_link("&label", f"&spl-token={MINT}&label")
    token = await ask(scripted, currency="SPL", splToken=MINT, decimals=9, solanaPayURL=link)
    coin = await ask(scripted)

    def check(offer: SolanaOffer, chain: str, **limits: Any) -> None:
        Policy(trust_first_use=True, **limits).check(offer, origin="o", chain=chain, spent=0, store=store)

    check(token, LOCAL, max_amount=token.amount, asset=MINT)
    for offer, limits, code in (
        (coin, {"max_amount": coin.amount - 1}, "over_cap"),
        (coin, {"max_amount": 10**18, "asset": MINT}, "asset_refused"),
        (token, {"max_amount": 10**18}, "asset_refused"),
        (token, {"max_amount": 10**18, "asset": OTHER}, "asset_refused"),
        (token, {"max_amount": 10**18, "asset": "usdc"}, "policy_refused"),
    ):
        with pytest.raises(PolicyError) as refused:
            check(offer, LOCAL, **limits)
        assert refused.value.code == code
    mainnet = await ask(scripted, network="solana", currency="SPL", splToken=MINT, decimals=9, solanaPayURL=link)
    check(mainnet, MAINNET, max_amount=10**18, asset="USDC")
    with pytest.raises(InvalidRequestError, match="no asset of solana"):
        check(token, LOCAL, max_amount=10**18, asset=MINT.lower() + "0")
