"""The socket is open before anything is paid, and a payment that opened no session is used before another is made."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.client.conftest import MakeWallet
from tests.client.scripted import PRICE, Peer, ScriptedServer
from tests.fixtures.evm import Evm

from ws402.client import (
    EvmWallet,
    Options,
    Payment,
    PaymentRejectedError,
    PaymentState,
    PolicyError,
    SessionLostError,
    SignedPayment,
    SocketUnavailableError,
    Store,
    connect,
)

LIMITS: dict[str, Any] = {"resource": "ticker", "duration": 60, "max_amount": 10**17, "trust_first_use": True}
QUICK = Options(open_seconds=0.2, prove_seconds=0.2, reconnect_seconds=1)


async def sent_by(chain: Evm, wallet: EvmWallet) -> int:
    return int(await asyncio.to_thread(chain.rpc, "eth_getTransactionCount", wallet.address, "latest"), 16)


@pytest.mark.parametrize(("status", "says"), [(200, "proxy"), (404, "proxy"), (503, "again later"), (429, "again")])
async def test_a47_where_no_socket_opens_nothing_is_paid(
    scripted: ScriptedServer, wallet: EvmWallet, chain: Evm, status: int, says: str
) -> None:
    """A proxy that passes no upgrades on answers as to any request; a full server and a draining one answer 503."""
    scripted.refusals = [status]
    with Store() as store:
        for _ in range(2):
            with pytest.raises(SocketUnavailableError, match="Nothing was paid") as refused:
                async with connect(scripted.url, wallet=wallet, store=store, options=QUICK, **LIMITS):
                    pytest.fail("it connected")
            assert says in str(refused.value)
        assert store.unfinished() == []
    assert await sent_by(chain, wallet) == 0


async def test_a_full_server_is_paid_once_it_has_room(scripted: ScriptedServer, wallet: EvmWallet, chain: Evm) -> None:
    scripted.refusals = [503, 503, 0]
    waits: list[str] = []

    def waited(why: str) -> None:
        waits.append(why)
        if len(waits) == 2:
            scripted.refusals.clear()

    async with connect(scripted.url, wallet=wallet, options=Options(on_wait=waited), **LIMITS) as session:
        assert await anext(session) == "hello"
    assert waits == ["The server takes no socket now: HTTP 503."] * 2
    assert await sent_by(chain, wallet) == 1


async def test_a_payment_that_takes_longer_than_the_socket_waits_is_shown_on_another_one(
    scripted: ScriptedServer, chain: Evm, make_wallet: MakeWallet
) -> None:
    scripted.hello_seconds = 0.1

    class Slow(EvmWallet):
        async def send(self, payment: SignedPayment) -> None:
            await scripted.idle.wait()
            scripted.hello_seconds = 30
            await super().send(payment)

    wallet = make_wallet(chain.url, bytes(chain.account().key), kind=Slow)
    async with connect(scripted.url, wallet=wallet, **LIMITS) as session:
        assert await anext(session) == "hello"
    assert (len(scripted.paths), len(scripted.hellos)) == (2, 1)
    assert await sent_by(chain, wallet) == 1


async def test_a_refused_offer_or_a_wallet_that_cannot_pay_leaves_no_socket_behind(
    scripted: ScriptedServer, chain: Evm, make_wallet: MakeWallet
) -> None:
    closed = asyncio.Event()
    scripted.hello_seconds = 20

    class Broke(EvmWallet):
        async def sign(self, offer: Any) -> SignedPayment:
            assert len(scripted.paths) == 1, "the socket is open by now"
            asyncio.get_running_loop().call_soon(closed.set)
            raise PolicyError("No.")

    wallet = make_wallet(chain.url, bytes(chain.account().key), kind=Broke)
    with pytest.raises(PolicyError, match="No"):
        async with connect(scripted.url, wallet=wallet, **LIMITS):
            pytest.fail("it connected")
    with pytest.raises(PolicyError, match="above"):
        async with connect(scripted.url, wallet=wallet, **LIMITS | {"max_amount": 1}):
            pytest.fail("it connected")
    assert len(scripted.paths) == 1, "a refused offer opens none"
    await asyncio.wait_for(scripted.alone.wait(), 10)


async def test_a47_a_payment_that_opened_no_session_is_used_by_the_next_and_told(
    scripted: ScriptedServer, wallet: EvmWallet, chain: Evm, tmp_path: Path
) -> None:
    """From one process to the next: the file is closed between, and the cap counts what was paid."""
    reused: list[Payment] = []
    told = Options(open_seconds=0.2, prove_seconds=0.2, on_reuse=reused.append)

    async def go_away(peer: Peer) -> None:
        scripted.refusals = [503]
        await peer.socket.close(1012)

    scripted.script = go_away
    path = tmp_path / "payments.db"
    with Store(path) as store, pytest.raises(PaymentRejectedError, match="not paid twice") as refused:
        async with connect(scripted.url, wallet=wallet, store=store, options=told, **LIMITS):
            pytest.fail("it connected")
    assert reused == []
    with Store(path) as store, pytest.raises(SocketUnavailableError):
        async with connect(scripted.url, wallet=wallet, store=store, options=told, **LIMITS):
            pytest.fail("it connected")

    async def stay(peer: Peer) -> None:
        await peer.start(resumeToken="t", maxSessionDuration=3600)
        await peer.stay()

    scripted.script, scripted.refusals = stay, []
    limits = LIMITS | {"max_amount": 100 * PRICE}
    with Store(path) as store:
        async with connect(scripted.url, wallet=wallet, store=store, options=told, **limits) as session:
            assert [payment.tx for payment in reused] == [refused.value.proof.tx_hash] * 2
            assert session.paid == 60 * PRICE
            with pytest.raises(PolicyError, match="above"):
                await session.top_up(41)
        assert store.unfinished() == []
    assert await sent_by(chain, wallet) == 1


async def test_a47_top_ups_from_before_a_crash_count_against_the_cap(
    scripted: ScriptedServer, wallet: EvmWallet, chain: Evm
) -> None:
    async def generous(peer: Peer) -> None:
        await peer.start(resumeToken="t", maxSessionDuration=3600, resumed=peer.hello["type"] == "resume")
        while (await peer.receive())["type"] == "payment_proof":
            await peer.send("balance_updated", sessionId="s-1", added=40 * PRICE, remainingBalance=100 * PRICE)
        await peer.socket.close(1000)

    scripted.script = generous
    limits = LIMITS | {"max_amount": 120 * PRICE}
    with Store() as store:
        async with connect(scripted.url, wallet=wallet, store=store, **limits) as session:
            assert await session.top_up(40) == 40 * PRICE
        for payment in session.payments:  # as a crash would have left them
            store.update(payment, PaymentState.PROVED)
            store.release(payment)
        async with connect(scripted.url, wallet=wallet, store=store, **limits) as session:
            assert session.paid == 100 * PRICE
            assert len(session.payments) == 2
            with pytest.raises(PolicyError, match="above"):
                await session.top_up(40)
        assert store.unfinished() == []
    assert await sent_by(chain, wallet) == 2
    assert scripted.hellos[1]["type"] == "resume"


async def test_a_message_above_the_bound_ends_the_session_and_is_not_fetched_again(
    scripted: ScriptedServer, wallet: EvmWallet
) -> None:
    async def shout(peer: Peer) -> None:
        await peer.start(resumeToken="t", maxSessionDuration=3600)
        await peer.socket.send("x" * 5000)
        await peer.stay()

    scripted.script = shout
    async with connect(scripted.url, wallet=wallet, options=Options(max_message_bytes=4000), **LIMITS) as session:
        with pytest.raises(SessionLostError, match="more than 4000 bytes") as lost:
            await anext(session)
    assert lost.value.code == "message_too_large"
    assert len(scripted.hellos) == 1


async def test_what_nobody_takes_is_bounded_in_bytes_even_while_a_top_up_waits(
    scripted: ScriptedServer, wallet: EvmWallet
) -> None:
    size, count, sent = 100_000, 500, 0

    async def flood(peer: Peer) -> None:
        nonlocal sent
        await peer.start(resumeToken="t", maxSessionDuration=3600)
        for _ in range(count):
            await peer.socket.send(b"x" * size)
            sent += 1
        await peer.stay()

    scripted.script = flood
    options = Options(max_backlog_bytes=2_000_000, prove_seconds=0.2)
    async with connect(scripted.url, wallet=wallet, options=options, **LIMITS) as session:
        topping = asyncio.create_task(session.top_up(30))
        held = -1
        while held != sent:  # until the server can send no more
            held = sent
            await asyncio.sleep(0.3)
        assert 20 <= held < count // 2, "what was allowed, and what sockets hold"
        topping.cancel()
        await asyncio.wait({topping})
        for _ in range(count):
            assert len(await anext(session)) == size
        assert sent == count
