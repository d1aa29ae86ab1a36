"""Payees that change: each names the one after it, in the ledger, and invoices show what leads to the payee of now."""

from __future__ import annotations

import logging
from itertools import pairwise

import pytest

from ws402.chains.evm import from_settings
from ws402.chains.registry import sign_text
from ws402.client.successions import follows
from ws402.gateway.intake.successions import MOST, Successions
from ws402.gateway.ledger.database import Database
from ws402.keys.base import SignerUnavailableError
from ws402.keys.local import LocalSigner
from ws402.settings import EvmNetworkSettings

NETWORK = "base-sepolia"
KEYS = [LocalSigner.from_hex(f"0x{number:064x}") for number in range(1, MOST + 4)]
CHAIN = from_settings(
    EvmNetworkSettings(
        network=NETWORK, chain_id=84532, rpc=["http://127.0.0.1:9"], merchant_private_key="0x" + "11" * 32
    )
)
NAMES = [CHAIN.address_of(each) for each in KEYS]


@pytest.fixture
def book(database: Database) -> Successions:
    CHAIN.recipient = NAMES[0]
    return Successions(database, {NETWORK: CHAIN})


async def rotate(book: Successions, *numbers: int) -> None:
    for one, other in pairwise(numbers):
        await book.announce(NETWORK, KEYS[one], NAMES[other], sign_text)
        CHAIN.recipient = NAMES[other]
        await book.refresh(NETWORK)


def leads(book: Successions, known: int) -> bool:
    recipient = CHAIN.recipient.lower()
    return follows(NETWORK, CHAIN.caip2, [NAMES[known].lower()], recipient, book.leading(NETWORK) or [])


async def test_before_any_change_there_is_nothing_to_show(book: Successions) -> None:
    await book.refresh(NETWORK)
    assert book.leading(NETWORK) is None


async def test_a_payer_of_any_earlier_payee_finds_to_the_one_of_now(book: Successions, database: Database) -> None:
    await rotate(book, 0, 1, 2)
    assert [(each.payee, each.successor) for each in book.leading(NETWORK) or []] == [
        (NAMES[0], NAMES[1]),
        (NAMES[1], NAMES[2]),
    ]
    assert leads(book, 0)
    assert leads(book, 1)
    assert not leads(book, 3)
    later = Successions(database, {NETWORK: CHAIN})
    await later.refresh(NETWORK)
    assert later.leading(NETWORK) == book.leading(NETWORK), "the next process knows it, without the keys"


async def test_a_return_to_an_earlier_key_is_followed_too(book: Successions) -> None:
    await rotate(book, 0, 1, 2, 0)
    assert leads(book, 1)
    assert leads(book, 2)
    await rotate(book, 0, 3)
    assert all(leads(book, known) for known in (0, 1, 2))


async def test_invoices_stay_small(book: Successions) -> None:
    await rotate(book, *range(MOST + 3))
    assert len(book.leading(NETWORK) or []) == MOST
    assert leads(book, 2)
    assert not leads(book, 1)


async def test_a_key_that_does_not_sign_holds_up_no_rotation(
    book: Successions, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_self: LocalSigner, _payload: bytes) -> bytes:
        raise SignerUnavailableError("Vault is away.")

    monkeypatch.setattr(LocalSigner, "sign", away)
    with caplog.at_level(logging.WARNING):
        await book.announce(NETWORK, KEYS[0], NAMES[1], sign_text)
    assert f"{NAMES[0]} could not sign that {NAMES[1]} comes after it" in caplog.text
    monkeypatch.undo()
    await rotate(book, 0, 1)
    assert leads(book, 0)
