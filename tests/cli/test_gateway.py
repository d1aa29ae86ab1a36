"""`ws402 gateway` as a program: every start-up error is one clear line with a remedy, and it ends when told to."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.fixtures.processes import COMMAND, Process, clean_environment, free_port

from ws402.devchain.evm import EvmDevChain

KEY = "k" * 40


@pytest.fixture
def environment(shared_devchain: EvmDevChain, tmp_path: Path) -> dict[str, str]:
    return {
        "GATEWAY_API_KEY": KEY,
        "GATEWAY_PORT": "0",
        "BASE_RPC": shared_devchain.rpc_url,
        "MERCHANT_PRIVATE_KEY": "0x" + "11" * 32,
        "DATABASE_URL": f"sqlite:///{tmp_path / 'ledger.db'}",
    }


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield int(holder.getsockname()[1])


def refused(environment: dict[str, str], *arguments: str) -> str:
    ended = subprocess.run(
        [COMMAND, "gateway", *arguments],
        env=clean_environment(environment),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ended.returncode == 2, ended.stderr
    lines = [line for line in ended.stderr.splitlines() if " INFO " not in line and " WARNING " not in line]
    assert len(lines) == 1, ended.stderr
    assert lines[0].startswith("ws402: ")
    assert "Traceback" not in ended.stderr
    return lines[0]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"GATEWAY_API_KEY": ""}, ["no API key", "GATEWAY_API_KEY", "openssl rand -hex 32"]),
        ({"GATEWAY_API_KEY": "hunter2"}, ["GATEWAY_API_KEY", "32 characters", "openssl rand -hex 32"]),
        ({"GATEWAY_API_KEY": "ключ" * 10}, ["GATEWAY_API_KEY", "characters"]),
        ({"BASE_RPC": ""}, ["no network", "BASE_RPC"]),
        ({"BASE_RPC": "http://127.0.0.1:9"}, ["base-sepolia", "BASE_RPC"]),
        ({"BASE_NETWORK": "base"}, ["8453", "84532"]),
        ({"BASE_NETWORK": "mainnet"}, ["BASE_NETWORK"]),
        ({"MERCHANT_PRIVATE_KEY": "0x1234"}, ["MERCHANT_PRIVATE_KEY", "32 bytes"]),
        ({"MERCHANT_PRIVATE_KEY": "0x" + "00" * 32}, ["MERCHANT_PRIVATE_KEY"]),
        ({"MERCHANT_PRIVATE_KEY": ""}, ["MERCHANT_WALLET", "MERCHANT_PRIVATE_KEY"]),
        ({"MERCHANT_WALLET": "0x1234"}, ["address"]),
        ({"DATABASE_URL": "sqlite:////proc/ws402/ledger.db"}, ["/proc/ws402", "DATABASE_URL"]),
        ({"DATABASE_URL": "postgresql://u:hunter2@127.0.0.1:9/x"}, ["127.0.0.1", "DATABASE_URL"]),
        ({"DATABASE_URL": "mysql://u:hunter2@host/x"}, ["DATABASE_URL", "postgresql://"]),
        ({"DATABASE_URL": "nonsense"}, ["DATABASE_URL"]),
        ({"GATEWAY_PORT": "99999"}, ["GATEWAY_PORT"]),
        ({"GATEWAY_HOST": "203.0.113.1"}, ["203.0.113.1"]),
        ({"DEFAULT_NETWORK": "base"}, ["DEFAULT_NETWORK", "base-sepolia"]),
        ({"WS402_CONFIG": "/nowhere.toml"}, ["/nowhere.toml"]),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_cannot_work_is_one_line_with_a_remedy(
    environment: dict[str, str], change: dict[str, str], told: list[str]
) -> None:
    line = refused(environment | change)
    for word in told:
        assert word in line
    for secret in ("hunter2", "0x1234" if "MERCHANT_PRIVATE_KEY" in change else "hunter2", KEY):
        assert secret not in line


def test_a_taken_port_is_told(environment: dict[str, str], taken_port: int) -> None:
    line = refused(environment, "--port", str(taken_port))
    assert str(taken_port) in line
    assert "in use" in line


def test_an_unwritable_folder_is_told(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    line = refused(environment | {"DATABASE_URL": f"sqlite:///{tmp_path / 'file' / 'ledger.db'}"})
    assert "ledger.db" in line


class Run:
    """A gateway program that serves."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self.url = f"http://127.0.0.1:{environment['GATEWAY_PORT']}"
        self.process = Process(
            "gateway", [COMMAND, "gateway"], environment=environment, folder=folder, ready=self._ready
        )

    def _ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health/ready").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False


@pytest.fixture
def run(environment: dict[str, str], tmp_path: Path) -> Iterator[Run]:
    run = Run(environment | {"GATEWAY_PORT": str(free_port()), "LOG_LEVEL": "debug"}, tmp_path)
    run.process.start()
    yield run
    run.process.stop()


def generate(url: str) -> Any:
    body = {"amount": 1000, "resourceId": "feed", "estimatedDuration": 10}
    return httpx.post(f"{url}/api/payment/generate", json=body, headers={"Authorization": f"Bearer {KEY}"}).json()


def test_it_serves_until_sigterm_and_ends_well(run: Run) -> None:
    assert generate(run.url)["amount"] == 1000
    assert run.process.stop(15) == 0
    output = run.process.output()
    assert f"ws402 gateway: {run.url} (base-sepolia paid to 0x" in output
    assert KEY not in output
    assert "11" * 32 not in output
    assert "Traceback" not in output


def test_it_ends_on_sigint_too_and_starts_again_on_the_same_ledger(run: Run) -> None:
    run.process.kill(signal.SIGINT)
    assert run.process.wait(15) == 0
    run.process.start()
    assert generate(run.url)["amount"] == 1000


def test_a_sigterm_while_it_starts_ends_it(environment: dict[str, str], tmp_path: Path) -> None:
    with socket.socket() as silent:  # a node that takes the connection and says nothing
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        silence = {"BASE_RPC": f"http://127.0.0.1:{silent.getsockname()[1]}", "GATEWAY_PORT": str(free_port())}
        run = Run(environment | silence, tmp_path)
        run.process.start(wait=False)
        while not _listens(run.url):
            assert run.process.running, run.process.tail()
        assert httpx.get(f"{run.url}/health/live").status_code == 200
        assert httpx.get(f"{run.url}/health/startup").status_code == 503
        assert run.process.stop(15) == 0


def _listens(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/live").status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def test_the_file_configures_it(environment: dict[str, str], tmp_path: Path) -> None:
    port = free_port()
    file = tmp_path / "ws402.toml"
    networks = [
        {"network": "demo", "chain_id": 84532, "rpc": [environment["BASE_RPC"]], "merchant_wallet": "0x" + "22" * 20}
    ]
    lines = [
        f"{name.lower()} = {json.dumps(value)}"
        for name, value in environment.items()
        if name not in ("BASE_RPC", "GATEWAY_PORT", "MERCHANT_PRIVATE_KEY")
    ]
    table = "\n".join(f"{name} = {json.dumps(value)}" for name, value in networks[0].items())
    file.write_text("\n".join([*lines, f"gateway_port = {port}", "[[evm_networks]]", table]))
    run = Run({"WS402_CONFIG": str(file), "GATEWAY_PORT": str(port)}, tmp_path)
    run.process.start()
    try:
        details = generate(run.url)
        assert (details["network"], details["recipient"].lower()) == ("demo", "0x" + "22" * 20)
    finally:
        run.process.stop()


def test_help_needs_no_settings() -> None:
    shown = subprocess.run(
        [COMMAND, "gateway", "--help"], capture_output=True, text=True, check=True, env={**os.environ}
    )
    assert "SIGTERM" in shown.stdout
