"""A server that falls silent is left; one that is quiet is not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.client.scripted import Peer, ScriptedServer

from ws402 import deadlines
from ws402.client import EvmWallet, Options, connect
from ws402.client import channel as channel_module

LIMITS: dict[str, Any] = {"resource": "ticker", "duration": 60, "max_amount": 10**17, "trust_first_use": True}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadlines, "SLICE_SECONDS", 0.1)
    monkeypatch.setattr(deadlines, "STALL_SECONDS", 0.1)


async def test_a_server_that_falls_silent_is_left_and_the_session_resumed(
    scripted: ScriptedServer, wallet: EvmWallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No close frame comes from a machine that is gone; the resume, on another socket, finds the one that took over."""
    monkeypatch.setattr(channel_module, "PING_SECONDS", 0.1)

    left = asyncio.Event()

    async def fall_silent(peer: Peer) -> None:
        if peer.hello["type"] == "payment_proof":
            await peer.start(resumeToken="t-1", maxSessionDuration=3600)
            peer.socket.transport.pause_reading()
            await left.wait()
            peer.socket.transport.abort()
            return
        left.set()
        await peer.start(resumeToken="t-2", maxSessionDuration=3600, resumed=True)
        await peer.socket.send("after")
        await peer.stay()

    scripted.script = fall_silent
    async with connect(scripted.url, wallet=wallet, options=Options(reconnect_seconds=10), **LIMITS) as session:
        assert await anext(session) == "after"
    assert [hello["type"] for hello in scripted.hellos] == ["payment_proof", "resume"]


async def test_a_quiet_server_that_answers_pings_is_not_left(
    scripted: ScriptedServer, wallet: EvmWallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_module, "PING_SECONDS", 0.02)
    async with connect(scripted.url, wallet=wallet, **LIMITS) as session:
        assert await anext(session) == "hello"
        await asyncio.sleep(0.4)
        assert session.live
    assert len(scripted.hellos) == 1
