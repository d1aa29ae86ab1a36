"""The audit: an entry that no event made shows, in whichever account it stands."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.gateway.machine.blocks import NETWORK
from tests.gateway.machine.chain import MemoryChain
from tests.gateway.machine.gateway import PRICE, TENANT, Gateway

from ws402.gateway.ledger.entries import move, post
from ws402.protocol import GenerateRequest, Proof, VerifyRequest

PAYER = "0x" + "a1" * 20
PAID = 300


@pytest.fixture
async def till(database_url: str) -> AsyncIterator[Gateway]:
    """A gateway with one live session, which was paid `PAID`."""
    chain = MemoryChain()
    made = Gateway(database_url, chain, "till")
    await made.database.create()
    await made.start()
    terms: dict[str, Any] = {"estimated_duration": 30, "network": NETWORK, "asset": "ETH", "price_per_second": PRICE}
    calls = made.service.of(TENANT)
    invoice: Any = await calls.generate(GenerateRequest(amount=PAID, resource_id="film", **terms))
    tx = chain.pay(PAYER, "ETH", PAID, (invoice.data[2:],))
    chain.mine()
    await made.service.watcher.step(chain)
    proof = Proof(reference=invoice.reference, tx_hash=tx.id, sender_address=PAYER)
    assert (await calls.verify(VerifyRequest(proof=proof, server_id="server"))).valid
    yield made
    await made.close()


async def test_honest_books_are_clean(till: Gateway) -> None:
    for line in await till.service.audit():
        assert line.clean, line


@pytest.mark.parametrize(
    ("debit", "credit", "told"),
    [
        ("chain", "capital", {"difference": -5}),
        ("capital", "chain", {"difference": 5}),
        ("session_escrow", "revenue", {"escrow_difference": -5}),
        ("unclaimed", "session_escrow", {"escrow_difference": 5, "below_zero": {"unclaimed": 5}}),
        ("capital", "payer_due", {"owed_difference": 5}),
        ("refund_in_flight", "capital", {"owed_difference": -5, "below_zero": {"refund_in_flight": 5}}),
        ("credit", "payer_due", {"below_zero": {"credit": 5}}),
        ("revenue", "capital", {"below_zero": {"revenue": 5}}),
    ],
)
async def test_an_entry_that_nothing_stands_behind_shows(
    till: Gateway, debit: str, credit: str, told: dict[str, Any]
) -> None:
    async with till.database.begin() as connection:
        await post(connection, [move(debit, credit, NETWORK, "ETH", 5, "slip", "x", 1)])
    ether, dollar = sorted(await till.service.audit(), key=lambda line: line.asset)
    nothing: dict[str, Any] = {"difference": 0, "escrow_difference": 0, "owed_difference": 0, "below_zero": {}}
    assert {name: getattr(ether, name) for name in nothing} == nothing | told
    assert not ether.clean
    assert dollar.clean
