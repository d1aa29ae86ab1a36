"""`ws402 devchain` as a program."""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import httpx
from solders.keypair import Keypair
from tests.fixtures.processes import COMMAND, Process, free_port

from ws402.devchain.evm import EvmDevChain


def test_it_prints_accounts_and_address_serves_and_ends_when_asked(tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"

    def ready() -> bool:
        try:
            return httpx.post(url, json={"jsonrpc": "2.0", "id": 1, "method": "net_version"}).json()["result"] == "8453"
        except httpx.TransportError:
            return False

    arguments = [COMMAND, "devchain", "evm", "--port", str(port), "--chain-id", "8453", "--accounts", "2"]
    process = Process("devchain", arguments, environment={}, folder=tmp_path, ready=ready)
    process.start()
    try:
        accounts = httpx.post(url, json={"jsonrpc": "2.0", "id": 1, "method": "eth_accounts"}).json()["result"]
        assert len(accounts) == 2
    finally:
        process.kill(signal.SIGINT)
        assert process.wait(10) == 0
    told = process.output()
    assert all(each in told.lower() for each in accounts)
    assert f"Chain 8453 answers at {url}" in told
    assert "never send real money" in told


def test_a_port_in_use_ends_in_one_line_with_the_remedy(devchain: EvmDevChain) -> None:
    ended = subprocess.run(
        [COMMAND, "devchain", "evm", "--port", str(devchain.port)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert "cannot listen" in line
    assert "--port" in line


def test_a_nonsensical_option_is_refused() -> None:
    ended = subprocess.run(
        [COMMAND, "devchain", "evm", "--block-time", "-1"], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr


def test_a_solana_chain_prints_accounts_and_token_and_serves_them(tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"

    def ask(method: str, *params: str) -> Any:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        return httpx.post(url, json=body).json()["result"]

    def ready() -> bool:
        try:
            return bool(ask("getHealth") == "ok")
        except httpx.TransportError:
            return False

    arguments = [COMMAND, "devchain", "solana", "--port", str(port), "--accounts", "2", "--balance", "7"]
    process = Process("devchain-solana", arguments, environment={}, folder=tmp_path, ready=ready)
    process.start()
    try:
        told = process.output()
        accounts = re.findall(r"^  (\w{32,44})  (\w{80,90})$", told, re.MULTILINE)
        assert [ask("getBalance", address)["value"] for address, _ in accounts] == [7 * 10**9] * 2
        assert str(Keypair.from_base58_string(accounts[0][1]).pubkey()) == accounts[0][0]
        (mint,) = re.findall(r"Token DUSD \(6 decimals\): (\w+)", told)
        assert ask("getTokenSupply", mint)["value"]["decimals"] == 6
    finally:
        process.kill(signal.SIGINT)
        assert process.wait(10) == 0
    assert f"The chain answers at {url} and ws://127.0.0.1:{port + 1}" in told
    assert "never send real money" in told
