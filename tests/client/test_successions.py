"""A payee that has changed is followed only if those before it signed that, each for the next one."""

from __future__ import annotations

from itertools import pairwise

import pytest
from eth_account import Account
from eth_account.messages import encode_defunct
from eth_account.signers.local import LocalAccount
from solders.keypair import Keypair

from ws402.client.successions import MOST, follows
from ws402.protocol import Succession, payer_message, succession_message

NETWORK, CHAIN = "base-sepolia", "eip155:84532"
KEYS = [Account.from_key(f"0x{number:064x}") for number in range(1, 6)]
NAMES = [each.address.lower() for each in KEYS]


def signed(by: LocalAccount, payee: LocalAccount, successor: str, *, network: str = NETWORK) -> Succession:
    text = succession_message(network, payee.address, successor)
    signature = "0x" + by.sign_message(encode_defunct(text=text)).signature.hex().removeprefix("0x")
    return Succession(payee=payee.address, successor=successor, signature=signature)


def line(*numbers: int) -> list[Succession]:
    return [signed(KEYS[one], KEYS[one], KEYS[other].address) for one, other in pairwise(numbers)]


@pytest.mark.parametrize("known", [0, 1, 2, 3])
def test_every_payee_of_a_chain_leads_to_its_end_in_any_order(known: int) -> None:
    shown = line(0, 1, 2, 3)
    for order in (shown, shown[::-1]):
        assert follows(NETWORK, CHAIN, [NAMES[known]], NAMES[3], order)


def test_the_same_payee_needs_no_signature() -> None:
    assert follows(NETWORK, CHAIN, [NAMES[0]], NAMES[0], [])


def test_a_return_to_an_earlier_payee_ends() -> None:
    shown = line(0, 1, 2, 0)
    assert follows(NETWORK, CHAIN, [NAMES[1]], NAMES[0], shown)
    assert not follows(NETWORK, CHAIN, [NAMES[1]], NAMES[4], shown)


def test_a47_nobody_is_followed_without_the_signature_of_each_payee() -> None:
    thief = KEYS[4]
    forged = signed(thief, KEYS[0], thief.address)
    assert not follows(NETWORK, CHAIN, [NAMES[0]], NAMES[4], [forged])
    assert not follows(NETWORK, CHAIN, [NAMES[0]], NAMES[3], [line(0, 1, 2, 3)[0], line(0, 1, 2, 3)[2]])
    assert not follows(NETWORK, CHAIN, [NAMES[3]], NAMES[0], line(0, 1, 2, 3)), "only forward"
    assert not follows(NETWORK, CHAIN, [NAMES[0]], NAMES[4], [*line(0, 1), forged])
    bent = line(0, 1)[0]
    bent.successor = thief.address
    assert not follows(NETWORK, CHAIN, [NAMES[0]], NAMES[4], [bent])


def test_a47_a_signature_for_another_network_or_purpose_leads_nowhere() -> None:
    other = signed(KEYS[0], KEYS[0], KEYS[1].address, network="base")
    assert not follows(NETWORK, CHAIN, [NAMES[0]], NAMES[1], [other])
    text = payer_message(reference="r", network=NETWORK, tx="0x1", recipient=KEYS[1].address)
    signature = KEYS[0].sign_message(encode_defunct(text=text)).signature.hex()
    paid = Succession(payee=KEYS[0].address, successor=KEYS[1].address, signature=signature)
    assert not follows(NETWORK, CHAIN, [NAMES[0]], NAMES[1], [paid])


@pytest.mark.parametrize("signature", ["", "0x", "0x12", "zz" * 65, "00" * 65, "0x" + "ff" * 65, "\u0660" * 130])
def test_a47_what_is_no_signature_is_refused(signature: str) -> None:
    shown = [Succession(payee=KEYS[0].address, successor=KEYS[1].address, signature=signature)]
    assert not follows(NETWORK, CHAIN, [NAMES[0]], NAMES[1], shown)
    solana = [Succession(payee=str(Keypair().pubkey()), successor="x", signature=signature)]
    assert not follows("solana", "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp", [solana[0].payee], "x", solana)


def test_a47_only_so_many_signatures_are_looked_at() -> None:
    noise = [Succession(payee=KEYS[0].address, successor=f"0x{number:040x}", signature="") for number in range(MOST)]
    assert not follows(NETWORK, CHAIN, [NAMES[0]], NAMES[1], [*noise, *line(0, 1)])


def test_on_solana_a_key_in_another_case_is_another_key() -> None:
    first, second = Keypair.from_seed(bytes([1] * 32)), Keypair.from_seed(bytes([2] * 32))
    payee, successor = str(first.pubkey()), str(second.pubkey())
    text = succession_message("solana-devnet", payee, successor)
    shown = [Succession(payee=payee, successor=successor, signature=str(first.sign_message(text.encode())))]
    chain = "solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1"
    assert follows("solana-devnet", chain, [payee], successor, shown)
    assert not follows("solana-devnet", chain, [payee.lower()], successor, shown)
    forged = [Succession(payee=payee, successor=successor, signature=str(second.sign_message(text.encode())))]
    assert not follows("solana-devnet", chain, [payee], successor, forged)
