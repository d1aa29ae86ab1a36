"""A process that stands still charges nobody for that, and takes nobody for silent."""

from __future__ import annotations

import time

import pytest
from tests.server.conftest import PRICE, OpenShop

from ws402.server.clock import LONGEST_STEP_MS, AwakeClock


class Source:
    def __init__(self) -> None:
        self.now = 1_000_000

    def __call__(self) -> int:
        return self.now


def test_it_stands_still_while_nobody_looks() -> None:
    source = Source()
    clock = AwakeClock(source)
    clock.watch()
    began = clock()
    source.now += LONGEST_STEP_MS
    assert clock() == began + LONGEST_STEP_MS
    source.now += 90_000
    assert clock() == began + LONGEST_STEP_MS
    source.now += 50
    assert clock() == began + LONGEST_STEP_MS + 50


def test_before_it_is_watched_a_long_step_is_no_sleep() -> None:
    source = Source()
    clock = AwakeClock(source)
    source.now += 90_000
    clock.watch()
    assert clock() == source.now


async def test_a_stall_is_not_charged_and_ends_no_session(open_shop: OpenShop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ws402.server.clock.LONGEST_STEP_MS", 300)
    shop = await open_shop(ping_seconds=0.2, update_interval=100, handshake_seconds=0.8)
    began = time.monotonic()
    peer = await shop.buy()
    waiting = await shop.connect()
    time.sleep(0.9)
    await peer.expect("usage_update")
    assert peer.id in shop.server.sessions.live
    assert shop.server.sessions.waiting
    await waiting.close()
    await peer.close()
    session = await shop.ended(peer)
    assert session.consumed <= (time.monotonic() - began - 0.9 + 0.05) * PRICE
