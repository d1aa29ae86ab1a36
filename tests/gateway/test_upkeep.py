"""What a gateway does by itself: it counts only silence that it listened to, and drops old rows in small steps."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import func, select

from ws402.gateway import upkeep
from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.ids import first_id, new_id
from ws402.gateway.ledger.tables import invoices
from ws402.gateway.upkeep import GAP_MS, Listening, Upkeep
from ws402.gateway.usage.sessions import Sessions
from ws402.settings import GatewaySettings

KEPT_MS = GatewaySettings().invoice_kept_seconds * 1000


class Time:
    """Two clocks that a test moves together or apart."""

    def __init__(self) -> None:
        self.monotonic = 100.0
        self.ledger_ms = 1_700_000_000_000

    def pass_seconds(self, seconds: float, *, ledger: float | None = None) -> None:
        self.monotonic += seconds
        self.ledger_ms += int((seconds if ledger is None else ledger) * 1000)


def listen(time: Time, seconds: int) -> Listening:
    """Awake for this long, with a look each second."""
    listening = Listening(lambda: time.monotonic)
    for _ in range(seconds):
        time.pass_seconds(1)
        listening.seen(time.ledger_ms)
    return listening


def test_silence_counts_while_we_are_awake() -> None:
    assert listen(Time(), 90).ms == 90_000


@pytest.mark.parametrize(("seconds", "ledger"), [(90.0, 90.0), (0.5, 90.0)], ids=["stopped", "suspended"])
def test_our_own_sleep_counts_for_nobody(seconds: float, ledger: float) -> None:
    """A stopped process sees both clocks go on; on a suspended machine the monotonic one stands still."""
    time = Time()
    listening = listen(time, 90)
    time.pass_seconds(seconds, ledger=ledger)
    listening.seen(time.ledger_ms)
    assert listening.ms == 0


def test_a_slow_look_is_no_sleep() -> None:
    time = Time()
    listening = listen(time, 90)
    time.pass_seconds(GAP_MS / 1000 - 1)
    listening.seen(time.ledger_ms)
    assert listening.ms > 90_000


@pytest.fixture
def kept(database: Database) -> Upkeep:
    """The upkeep of an empty ledger, whose jobs do not run."""
    settings = GatewaySettings()
    return Upkeep(settings, database, Sessions(database), None, lambda: None)  # type: ignore[arg-type]  # settles none


def invoice(made_ms: int, life_ms: int) -> dict[str, Any]:
    return {
        "id": first_id("inv", made_ms) + new_id("x")[-20:],
        "tenant": "shop",
        "tag": new_id("tag"),
        "network": "base-sepolia",
        "asset": "ETH",
        "recipient": "0x" + "1" * 40,
        "amount": 5,
        "resource_id": "film",
        "estimated_duration": 60,
        "created_at": made_ms,
        "expires_at": made_ms + life_ms,
    }


async def test_old_unpaid_invoices_go_in_steps_that_leave_room(
    kept: Upkeep, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "SLICE", 10)
    now = database.now_ms()
    old, young = now - KEPT_MS - 2 * 900_000, now - KEPT_MS // 2
    async with database.begin() as connection:
        await connection.execute(invoices.insert(), [invoice(old + n, 900_000) for n in range(95)])
        await connection.execute(invoices.insert(), [invoice(young + n, 900_000) for n in range(7)])
    steps = 0
    purging = asyncio.ensure_future(kept.purge())
    while not purging.done():
        async with database.begin():  # a writer has its turn between the steps
            steps += 1
        await asyncio.sleep(0)
    await purging
    async with database.read() as connection:
        assert (await connection.execute(select(func.count()).select_from(invoices))).scalar() == 7
    assert steps > 10
