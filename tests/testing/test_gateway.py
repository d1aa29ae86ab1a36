"""The mock gateway as people use it: from pytest, from a program, from another language."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

import httpx
import pytest

from ws402.errors import ConfigurationError
from ws402.protocol import GenerateRequest
from ws402.provider.mock.provider import MockPaymentProvider
from ws402.testing import MockGateway

GENERATE = {"amount": 300_000, "resourceId": "feed", "estimatedDuration": 300, "pricePerSecond": 1000}


class Peer:
    """A server in another language: knows HTTP and the environment variables."""

    def __init__(self, environment: dict[str, str]) -> None:
        headers = {"Authorization": f"Bearer {environment['GATEWAY_API_KEY']}"}
        self.http = httpx.Client(base_url=environment["GATEWAY_URL"], headers=headers)

    def call(self, path: str, body: Any, status: int = 200) -> Any:
        answer = self.http.post(path, json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    def control(self, **command: Any) -> Any:
        return self.call("/mock", command)


@pytest.fixture
def peer(ws402_gateway: MockGateway) -> Any:
    peer = Peer(ws402_gateway.environment)
    yield peer
    peer.http.close()


def test_a_server_in_another_language_is_tested_over_http(ws402_gateway: MockGateway, peer: Peer) -> None:
    details = peer.call("/api/payment/generate", GENERATE)
    proof = peer.control(do="pay", reference=details["reference"], sender="0xpayer")
    assert peer.call("/api/payment/verify", {"proof": proof})["amount"] == 300_000
    assert peer.call("/api/payment/refund", {"proof": proof, "amount": 1000})["status"] == "success"
    seen = peer.http.get("/mock").json()
    (session,) = seen["sessions"]
    assert (session["paid"], session["consumed"], session["refunded"], session["payer"]) == (
        300_000,
        299_000,
        1000,
        "0xpayer",
    )
    assert [refund["amount"] for refund in seen["refunds"]] == [1000]
    assert seen["audit"] == 0
    assert seen["calls"] == {"generate": 1, "verify": 1, "refund": 1}
    assert "resumeToken" not in str(seen)


def test_every_deviation_of_a_payment_can_be_had_over_http(peer: Peer) -> None:
    def refusal(**deviation: Any) -> str:
        details = peer.call("/api/payment/generate", GENERATE)
        proof = peer.control(do="pay", reference=details["reference"], **deviation)
        code: str = peer.call("/api/payment/verify", {"proof": proof})["code"]
        return code

    assert refusal(amount=1) == "amount_short"
    assert refusal(asset="USDC") == "wrong_asset"
    assert refusal(recipient="0x1") == "wrong_recipient"
    assert refusal(state="failed") == "transfer_failed"
    assert refusal(state="pending") == "transfer_unconfirmed"
    assert refusal(at=1) == "transfer_too_old"


def test_faults_on_demand_over_http(peer: Peer) -> None:
    details = peer.call("/api/payment/generate", GENERATE)
    proof = peer.control(do="pay", reference=details["reference"])
    peer.control(do="reject", code="chain_unavailable", times=1, reason="as asked")
    assert peer.call("/api/payment/verify", {"proof": proof}) == {
        "valid": False, "amount": 0, "code": "chain_unavailable", "reason": "as asked"
    }  # fmt: skip
    peer.control(do="unavailable", call="verify")
    peer.call("/api/payment/verify", {"proof": proof}, 503)
    peer.control(do="lose_answer", call="verify")
    peer.call("/api/payment/verify", {"proof": proof}, 503)
    assert peer.call("/api/payment/verify", {"proof": proof})["valid"], "the answer that was lost"
    peer.control(do="delay", seconds=0.2)
    begun = time.monotonic()
    peer.call("/api/payment/generate", GENERATE)
    assert time.monotonic() - begun >= 0.2
    peer.control(do="unavailable", times=None)
    peer.call("/api/payment/generate", GENERATE, 503)
    peer.control(do="clear")
    peer.call("/api/payment/generate", GENERATE)


def test_a_session_is_ended_behind_its_servers_back(peer: Peer) -> None:
    details = peer.call("/api/payment/generate", GENERATE)
    proof = peer.control(do="pay", reference=details["reference"])
    session = peer.call("/api/payment/verify", {"proof": proof, "serverId": "s"})
    peer.control(do="end_session", sessionId=session["sessionId"], reason="server_vanished")
    usage = {
        "sessionId": session["sessionId"],
        "epoch": session["epoch"],
        "elapsedMs": 1,
        "bytesTransferred": 0,
        "messageCount": 0,
    }
    answer = peer.call("/api/ops", {"ops": [{"op": "checkpoint", "body": usage}]})["results"][0]["ok"]
    assert (answer["live"], answer["reason"]) == (False, "server_vanished")


@pytest.mark.parametrize(
    "command",
    [
        {},
        {"do": "dance"},
        {"do": "pay"},
        {"do": "reject", "code": "no_code"},
        {"do": "delay", "seconds": 1, "call": "x"},
    ],
)
def test_a_wrong_command_is_told(peer: Peer, command: dict[str, Any]) -> None:
    assert peer.call("/mock", command, 400)["error"] == "Bad Request"


@pytest.mark.parametrize("command", [{"do": "pay", "reference": "none"}, {"do": "end_session", "sessionId": "none"}])
def test_a_command_about_nothing_is_told(peer: Peer, command: dict[str, Any]) -> None:
    assert peer.call("/mock", command, 404)["error"] == "Not Found"


def test_what_goes_wrong_on_the_way(ws402_gateway: MockGateway, peer: Peer) -> None:
    ws402_gateway.http.answer(502, b"<html>", times=1)
    assert peer.http.post("/api/payment/generate", json=GENERATE).status_code == 502
    ws402_gateway.http.garble()
    assert "html" in peer.http.post("/api/payment/generate", json=GENERATE).text
    ws402_gateway.http.cut()
    with pytest.raises(httpx.RemoteProtocolError):
        peer.http.post("/api/payment/generate", json=GENERATE)
    assert ws402_gateway.faults.calls["generate"] == 2, "done, though the answer did not come"
    ws402_gateway.http.answer(500, times=9)
    ws402_gateway.http.clear()
    assert peer.call("/api/payment/generate", GENERATE)


def test_the_mock_takes_nothing_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_API_KEY", "short")
    monkeypatch.setenv("RATE_LIMIT_PER_SECOND", "nonsense")
    with MockGateway() as gateway:
        assert httpx.get(f"{gateway.url}/api/health").status_code == 200


def test_a_short_key_or_a_taken_port_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        MockGateway(api_key="short")
    with MockGateway() as gateway, pytest.raises(ConfigurationError) as refused:
        MockGateway(port=int(gateway.url.rsplit(":", 1)[1]))
    assert "in use" in str(refused.value)


async def test_the_provider_fixture_is_a_fresh_mock(ws402_provider: MockPaymentProvider) -> None:
    request = GenerateRequest(amount=1, resource_id="r", estimated_duration=1)
    assert (await ws402_provider.generate_payment_details(request)).amount == 1
    assert ws402_provider.sessions == {}


def test_a_program_serves_the_mock_until_it_is_told_to_stop() -> None:
    command = [sys.executable, "-m", "ws402.testing", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        told = dict(program.stdout.readline().strip().split("=", 1) for _ in range(2))
        peer = Peer(told)
        assert peer.call("/api/payment/generate", GENERATE)["amount"] == 300_000
        peer.http.close()
        program.terminate()
        assert program.wait(10) == 0


def test_a_program_with_a_short_key_ends_with_one_line() -> None:
    command = [sys.executable, "-m", "ws402.testing", "--port", "0", "--api-key", "short"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "32 characters" in ended.stderr


LIGHT = """
import sys
import ws402.testing.plugin
heavy = {"litestar", "uvicorn", "httpx", "sqlalchemy", "web3", "pydantic", "msgspec"} & set(sys.modules)
assert not heavy, heavy
import ws402.testing.gateway
extra = {"sqlalchemy", "web3", "aiosqlite", "asyncpg", "eth_account"} & set(sys.modules)
assert not extra, extra
"""


def test_the_plugin_is_cheap_and_the_mock_needs_no_ledger_and_no_chain() -> None:
    subprocess.run([sys.executable, "-c", LIGHT], check=True)
