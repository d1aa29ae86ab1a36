"""A server that goes away: its sessions move, nobody pays twice, probes tell the truth."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.fixtures.processes import COMMAND, Process, free_port
from tests.server.conftest import PRICE, TICKER, OpenShop
from tests.server.peer import Peer, any_proof
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from ws402.testing.gateway import MockGateway


async def test_sessions_are_announced_released_and_closed_one_by_one(open_shop: OpenShop) -> None:
    shop = await open_shop(drain_seconds=1.0)
    peers = [await shop.buy(query="&resumable=1") for _ in range(8)]
    began = time.monotonic()
    draining = asyncio.create_task(shop.server.drain())
    closings = []

    async def watch(peer: Peer) -> None:
        news = await peer.expect("draining")
        assert 0 < news["reconnectAfterMs"] <= 1000
        assert news["deadline"] > time.time() * 1000
        await peer.expect("usage_update")  # it is served until then
        assert (await peer.closed())[0] == 1012
        closings.append((time.monotonic() - began, news["reconnectAfterMs"] / 1000))

    await asyncio.gather(*(watch(peer) for peer in peers))
    await draining
    assert time.monotonic() - began < 2
    assert {shop.book(peer).state for peer in peers} == {"released"}
    assert len({round(after, 1) for after, _ in closings}) > 2
    assert all(after == pytest.approx(promised, abs=0.25) for after, promised in closings)


async def test_a_drained_session_goes_on_elsewhere_and_pays_for_its_use_only(open_shop: OpenShop) -> None:
    old = await open_shop(drain_seconds=0.3)
    new = await open_shop(provider=old.provider)
    peer = await old.buy(query="&resumable=1")
    began = time.monotonic()
    await old.server.drain()
    assert (await peer.closed())[0] == 1012
    used = time.monotonic() - began + 0.2
    again = await new.connect()
    await again.send({"type": "resume", "token": peer.started["resumeToken"]})
    again.started = await again.expect("session_started")
    assert again.started["balance"] >= (60 - used) * PRICE
    await again.close()
    session = await new.ended(again)
    assert session.paid == 60 * PRICE


async def test_a19_a_client_that_cannot_resume_has_its_refund_before_its_socket_closes(open_shop: OpenShop) -> None:
    shop = await open_shop(drain_seconds=0.5)
    peer = await shop.buy(seconds=60)
    await shop.server.drain()
    news = await peer.expect("session_ended")
    session = shop.book(peer)
    assert (news["reason"], session.state) == ("server_draining", "ended")
    assert news["refundAmount"] == session.refund.amount >= 59 * PRICE
    assert (await peer.closed())[0] == 1012


async def test_a_session_that_ends_by_itself_while_draining_is_settled(open_shop: OpenShop) -> None:
    shop = await open_shop(drain_seconds=3)
    leaver, ender = await shop.buy(), await shop.buy()
    draining = asyncio.create_task(shop.server.drain())
    await leaver.expect("draining")
    await leaver.close()
    await ender.send({"type": "end_session"})
    await ender.expect("session_ended")
    await draining
    for peer in (leaver, ender):
        assert shop.book(peer).state == "ended"


async def test_a_connection_lost_while_draining_can_be_resumed(open_shop: OpenShop) -> None:
    shop = await open_shop(drain_seconds=0.5)
    peer = await shop.buy()
    draining = asyncio.create_task(shop.server.drain())
    await peer.expect("draining")
    peer.drop()
    await draining
    assert shop.book(peer).state == "released"


async def test_a_draining_server_takes_nothing_new_and_says_so(open_shop: OpenShop) -> None:
    shop = await open_shop(drain_seconds=0.5)
    unpaid = await shop.connect()
    await shop.buy()
    draining = asyncio.create_task(shop.server.drain())
    await asyncio.sleep(0.05)
    assert (await unpaid.closed())[0] == 1012
    ready = await shop.get("/health/ready")
    assert (ready.status_code, ready.json()) == (503, {"status": "draining"})
    assert (await shop.get("/health/live")).status_code == 200
    assert (await shop.get("/ws402/schema/ticker")).status_code == 503
    with pytest.raises(InvalidStatus) as refused:
        await shop.connect()
    assert refused.value.response.status_code == 503
    assert refused.value.response.headers["Retry-After"]
    await draining


async def test_a_proof_that_is_being_verified_when_draining_begins_is_not_lost(open_shop: OpenShop) -> None:
    shop = await open_shop(drain_seconds=0.2)
    reference = await shop.invoice()
    shop.provider.faults.delay(0.6, "verify")
    peer = await shop.connect(query="&resumable=1")
    await peer.prove(any_proof(reference))
    await asyncio.sleep(0.05)
    await shop.server.drain()
    assert (await peer.expect("session_started"))["balance"] == 60 * PRICE
    assert (await peer.closed())[0] == 1012
    (session,) = shop.provider.sessions.values()
    assert session.state == "released"
    assert session.elapsed_ms < 500


async def test_draining_waits_for_settlements_that_the_gateway_missed(open_shop: OpenShop) -> None:
    shop = await open_shop()
    peer = await shop.buy()
    shop.provider.faults.unavailable("settle", times=2)
    await peer.close()
    await shop.until(lambda: shop.server.sessions.ends.waiting == 1)
    await shop.server.drain()
    assert shop.book(peer).state == "ended"


# --- the program ------------------------------------------------------------------------------------------------


class Program:
    def __init__(self, process: Process, gateway: MockGateway, port: int) -> None:
        self.process = process
        self.gateway = gateway
        self.url = f"http://127.0.0.1:{port}"

    async def buy(self) -> Peer:
        async with httpx.AsyncClient() as http:
            schema = (await http.get(f"{self.url}/ws402/schema/ticker", params={"duration": 60})).json()
        peer = Peer(await connect(f"{schema['websocketEndpoint']}?userId=ann&resumable=1", ping_interval=None))
        await peer.prove(any_proof(schema["paymentDetails"]["reference"]))
        peer.started = await peer.expect("session_started")
        return peer


@pytest.fixture
async def program(tmp_path: Path) -> AsyncIterator[Program]:
    """`ws402 server` beside a mock gateway over HTTP."""
    port = free_port()
    with MockGateway() as gateway:
        environment = {
            **gateway.environment,
            "PORT": str(port),
            "RESOURCES": json.dumps([TICKER]),
            "DRAIN_SECONDS": "1",
            "UPDATE_INTERVAL": "200",
        }
        process = Process(
            "server",
            [COMMAND, "server"],
            environment=environment,
            folder=tmp_path,
            ready=lambda: _answers(f"http://127.0.0.1:{port}/health/ready"),
        )
        process.start()
        try:
            yield Program(process, gateway, port)
        finally:
            process.stop()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False


async def test_sigterm_drains_while_probes_are_answered_and_ends_with_status_0(program: Program) -> None:
    peer = await program.buy()
    program.process.kill(signal.SIGTERM)
    await peer.expect("draining")
    async with httpx.AsyncClient() as http:
        assert (await http.get(f"{program.url}/health/ready")).status_code == 503
        assert (await http.get(f"{program.url}/health/live")).status_code == 200
    assert (await peer.closed())[0] == 1012
    assert await asyncio.to_thread(program.process.wait, 10) == 0
    assert program.gateway.provider.sessions[peer.id].state == "released"
    assert program.gateway.provider.audit() == 0
    assert "Traceback" not in program.process.output()


async def test_a_second_sigterm_ends_it_soon(program: Program) -> None:
    peer = await program.buy()
    program.process.kill(signal.SIGTERM)
    await peer.expect("draining")
    program.process.kill(signal.SIGTERM)
    began = time.monotonic()
    await asyncio.to_thread(program.process.wait, 10)
    assert time.monotonic() - began < 8
    assert program.gateway.provider.sessions[peer.id].state == "released"
    peer.drop()
    await peer.socket.wait_closed()


async def test_a_killed_server_leaves_its_last_checkpoint_and_nothing_worse(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = await program.buy()
    await peer.expect("usage_update")
    program.process.kill(signal.SIGKILL)
    assert (await peer.closed())[0] == 1006
    session = program.gateway.provider.sessions[peer.id]
    assert session.state == "live"
    assert session.elapsed_ms <= 1000


START_ERRORS: list[tuple[dict[str, Any], str]] = [
    ({"RESOURCES": "[]"}, "nothing to sell"),
    ({"RESOURCES": "{"}, "RESOURCES"),
    ({"RESOURCES": '[{"id":"f","kind":"file","target":"/nowhere/at/all","price_per_second":1}]'}, "is not a file"),
    ({"RESOURCES": '[{"id":"p","kind":"python","target":"nowhere:x","price_per_second":1}]'}, "cannot be imported"),
    (
        {"RESOURCES": '[{"id":"p","kind":"python","target":"nowhere.at:all","price_per_second":1}]'},
        "cannot be imported",
    ),
    ({"RESOURCES": '[{"id":"p","kind":"python","target":"json:loads","price_per_second":1}]'}, "no async function"),
    ({"RESOURCES": '[{"id":"w","kind":"websocket","target":"http://x","price_per_second":1}]'}, "no WebSocket URL"),
    ({"RESOURCES": '[{"id":"h","kind":"http","target":"ftp://x","price_per_second":1}]'}, "no HTTP URL"),
    ({"RESOURCES": '[{"id":"t","kind":"ticker","price_per_second":0}]'}, "price_per_second".upper()),
    ({"RESOURCES": '[{"id":"../t","kind":"ticker","price_per_second":1}]'}, "RESOURCES.0.ID"),
    ({"RESOURCES": json.dumps([TICKER, TICKER])}, "Two resources"),
    (
        {"RESOURCES": '[{"id":"t","kind":"ticker","prise":"0.36 USDC per hour"}]'},
        "RESOURCES.0.PRISE: is no setting. Did you mean 'price'?",
    ),
    ({"RESOURCES": '[{"id":"t","kind":"ticker","price":"0.36 USDC per huor"}]'}, "Did you mean 'hour'?"),
    ({"PROVIDER": "proxy", "GATEWAY_API_KEY": ""}, "GATEWAY_API_KEY"),
    ({"PORT": "70000"}, "PORT"),
    ({"TRUSTED_PROXIES": '["somewhere"]'}, "TRUSTED_PROXIES"),
    ({"HOST": "203.0.113.254"}, "HOST"),
]


@pytest.mark.parametrize(("environment", "said"), START_ERRORS)
async def test_what_is_wrong_at_the_start_is_one_line_with_status_2(
    environment: dict[str, str], said: str, tmp_path: Path
) -> None:
    basic = {"PROVIDER": "mock", "PORT": "0", "RESOURCES": json.dumps([TICKER]), "LOG_LEVEL": "error"}
    status, output = await _run({**basic, **environment}, tmp_path)
    assert status == 2, output
    assert said in output
    assert output.count("\n") == 1
    assert output.startswith("ws402: ")


async def test_a_port_in_use_is_named(tmp_path: Path, open_shop: OpenShop) -> None:
    shop = await open_shop()
    port = str(shop.server.port)
    environment = {"PROVIDER": "mock", "PORT": port, "RESOURCES": json.dumps([TICKER]), "LOG_LEVEL": "error"}
    status, output = await _run(environment, tmp_path)
    assert status == 2
    assert port in output
    assert "Traceback" not in output


async def test_a_gateway_that_is_away_at_the_start_is_said_and_not_fatal(tmp_path: Path) -> None:
    port = free_port()
    environment = {
        "PORT": str(port),
        "GATEWAY_URL": f"http://127.0.0.1:{free_port()}",
        "GATEWAY_API_KEY": "k" * 32,
        "RESOURCES": json.dumps([TICKER]),
    }
    process = Process(
        "server",
        [COMMAND, "server"],
        environment=environment,
        folder=tmp_path,
        ready=lambda: _answers(f"http://127.0.0.1:{port}/health/ready"),
    )
    process.start()
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as http:
            health = await http.get("/gateway-health")
            assert (health.status_code, health.json()["status"]) == (503, "unhealthy")
            schema = await http.get("/ws402/schema/ticker")
            assert schema.status_code == 503
            assert schema.json()["code"] == "gateway_unavailable"
        assert "the gateway does not answer" in process.output()
    finally:
        process.stop()


async def _run(environment: dict[str, str], folder: Path) -> tuple[int, str]:
    path = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, COMMAND, "server", env={**path, **environment}, cwd=folder,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await asyncio.wait_for(process.communicate(), 30)
    return process.returncode or 0, output.decode()
