"""What a crash leaves behind is used up, at whatever step it came, and never paid anew."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.client.conftest import MakeWallet, OurServer
from tests.client.scripted import PRICE, ScriptedServer
from tests.fixtures.evm import Evm

from ws402.client import (
    EvmWallet,
    NodeUnavailableError,
    PaymentState,
    PolicyError,
    SessionLostError,
    SignedPayment,
    Store,
    connect,
)
from ws402.errors import ConflictError
from ws402.protocol import EndReason

LIMITS: dict[str, Any] = {"resource": "ticker", "duration": 60, "max_amount": 10**17, "trust_first_use": True}


CRASHING = """
import asyncio, os, signal, sys
from ws402.client import EvmWallet, Store, connect
url, rpc, key, path, step = sys.argv[1:]

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

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


async def test_a_session_that_was_settled_meanwhile_is_told_and_not_paid_for_again(
    ours: OurServer, wallet: EvmWallet, chain: Evm, store: Store
) -> None:

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


async def test_a_session_that_a_crash_left_and_the_gateway_settled_gives_way_to_a_new_one(
    ours: OurServer, wallet: EvmWallet, chain: Evm, store: Store
) -> None:
    """Without a payment id the caller wants to stream; the old payment was refunded."""
    async with connect(ours.url, wallet=wallet, store=store, **LIMITS) as session:
        first = session.payments[0]
    store.update(first, PaymentState.PROVED)
    store.release(first)
    async with connect(ours.url, wallet=wallet, store=store, **LIMITS) as session:
        assert session.payments[0].tx != first.tx
    assert chain.rpc("eth_getTransactionCount", wallet.address, "latest") == "0x2"


async def test_a47_a_payment_from_before_is_not_sent_past_todays_limits(
    scripted: ScriptedServer, chain: Evm, make_wallet: MakeWallet, store: Store
) -> None:
    account = chain.account()

    class Offline(EvmWallet):
        async def send(self, payment: SignedPayment) -> None:
            raise NodeUnavailableError("The node is away.")

    with pytest.raises(NodeUnavailableError):
        async with connect(
            scripted.url,
            wallet=make_wallet(chain.url, bytes(account.key), kind=Offline),
            store=store,
            **LIMITS,
        ):
            pytest.fail("it connected")
    wallet = make_wallet(chain.url, bytes(account.key))
    for change in ({"max_amount": 60 * PRICE - 1}, {"asset": "0x" + "0d" * 20}):
        with pytest.raises(PolicyError, match="from before"):
            async with connect(scripted.url, wallet=wallet, store=store, **LIMITS | change):
                pytest.fail("it connected")
    assert chain.rpc("eth_getTransactionCount", account.address, "latest") == "0x0"
    async with connect(scripted.url, wallet=wallet, store=store, **LIMITS) as session:
        assert session.payments[0].amount == 60 * PRICE
    assert scripted.schemas == 1
