"""Sessions that cost more than time: what passes is counted here too, and a server cannot charge beyond it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.client.conftest import OurServer
from tests.client.scripted import PRICE, Peer, ScriptedServer

from ws402.client import EvmWallet, OverchargedError, PolicyError, connect

LIMITS: dict[str, Any] = {"max_amount": 10**17, "trust_first_use": True}
RATES = {
    "rates": [
        {"unit": "seconds", "amount": PRICE, "per": 1},
        {"unit": "messages", "amount": PRICE, "per": 1},
        {"unit": "tokens", "amount": PRICE, "per": 10},
    ]
}


async def test_messages_each_way_cost_exactly_what_was_agreed(ours: OurServer, wallet: EvmWallet) -> None:
    async with connect(ours.url, wallet=wallet, resource="talk", duration=60, **LIMITS) as session:
        assert session.price.text == "0.00001 ETH per hour + 0.00001 ETH per message"
        assert session.paid == session.price.quote(60, {"messages": 20})
        for _ in range(3):
            await session.send("äöü")
            assert await anext(session) == "äöü"
        settlement = await session.end()
    assert settlement.exact
    book = ours.provider.sessions[session.id]
    assert book.units == {"messages": 6}
    assert settlement.consumed == book.consumed == 6 * 10**13 + book.elapsed_ms * 10**13 // 3_600_000
    assert settlement.paid == settlement.consumed + settlement.refund
    assert ours.provider.audit() == 0


async def test_the_cap_covers_what_is_paid_for_units(ours: OurServer, wallet: EvmWallet) -> None:
    limits = LIMITS | {"max_amount": 19 * 10**13}
    with pytest.raises(PolicyError, match="above"):
        async with connect(ours.url, wallet=wallet, resource="talk", duration=60, **limits):
            pytest.fail("it connected")


@contextmanager
def sells(scripted: ScriptedServer) -> Iterator[None]:
    """The scripted server's offer names three meters; the amount that it asks for is the time's."""

    def change(schema: dict[str, Any]) -> None:
        schema["pricing"].update(price=RATES, estimatedUnits={"messages": 0, "tokens": 0})

    scripted.change = change
    scripted.started["price"] = RATES
    yield


async def use(peer: Peer, seconds: int, **units: int) -> None:
    consumed = (seconds + units.get("messages", 0)) * PRICE + units.get("tokens", 0) * PRICE // 10
    paid = peer.server.started["balance"]
    await peer.send(
        "usage_update",
        sessionId="s-1",
        elapsedSeconds=seconds,
        consumedAmount=consumed,
        remainingBalance=paid - consumed,
        bytesTransferred=0,
        messageCount=0,
        units=units,
    )


async def test_what_was_sent_and_charged_is_fair(scripted: ScriptedServer, wallet: EvmWallet) -> None:
    async def honest(peer: Peer) -> None:
        await peer.start()
        for number in range(3):
            await peer.socket.send(f"message {number}")
        await use(peer, 1, messages=3, tokens=50)
        await peer.socket.send("last")
        await peer.stay()

    scripted.script = honest
    with sells(scripted):
        async with connect(scripted.url, wallet=wallet, resource="ticker", duration=60, **LIMITS) as session:
            assert [await anext(session) for _ in range(4)][-1] == "last"
            assert session.usage.units == {"messages": 3, "tokens": 50}


async def test_a47_messages_that_never_came_cannot_be_charged(scripted: ScriptedServer, wallet: EvmWallet) -> None:
    async def greedy(peer: Peer) -> None:
        await peer.start()
        await peer.socket.send("the only one")
        await use(peer, 0, messages=40)
        await peer.stay()

    scripted.script = greedy
    with sells(scripted):
        async with connect(scripted.url, wallet=wallet, resource="ticker", duration=60, **LIMITS) as session:
            assert await anext(session) == "the only one"
            with pytest.raises(OverchargedError):
                await anext(session)


async def test_a47_a_session_that_begins_at_another_price_in_full_is_ended(
    scripted: ScriptedServer, wallet: EvmWallet
) -> None:
    with sells(scripted):
        scripted.started["price"] = {"rates": [*RATES["rates"][:2], {"unit": "tokens", "amount": PRICE, "per": 1}]}
        with pytest.raises(OverchargedError):
            async with connect(scripted.url, wallet=wallet, resource="ticker", duration=60, **LIMITS):
                pytest.fail("it connected")
