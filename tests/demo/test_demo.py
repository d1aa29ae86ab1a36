"""`ws402 demo` as a newcomer runs it: everything starts, everything adds up, and nothing is left behind."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from tests.fixtures.processes import COMMAND, clean_environment

from ws402.client import Refund, Settlement
from ws402.demo.chains import Goods
from ws402.demo.payers import PLANS, Outcome

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts the demo on free ports, its output on pipes."""
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [COMMAND, "demo", "--gateway-port", "0", "--rpc-port", "0", "--solana-port", "0", *arguments],
            env=clean_environment({"PYTHONUNBUFFERED": "1"}),
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.terminate()
            process.wait(30)
        assert process.stdout is not None
        process.stdout.close()


def lines_until(process: subprocess.Popen[str], part: str) -> list[str]:
    """Read lines up to the one that has this in it."""
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line.rstrip("\n"))
        if part in line:
            return lines
    pytest.fail("\n".join(lines))


def test_all_is_paid_streamed_and_refunded_and_the_page_stays_for_keep(start: Start) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        process = start("--port", str(min(port, 65533)), "--keep")
        lines = lines_until(process, "Pay on the page:")
    output = "\n".join(lines)
    assert "\x1b" not in output
    assert "PROBLEM" not in output
    assert "All accounts agree." in lines

    rows = [
        row
        for line in lines
        if (row := re.match(r"(\w+) +(\d+) +([a-z-]+) +(ETH|SOL|DUSD) +([\d.]+) +([\d.]+) +([\d.]+)$", line))
    ]
    assert [row[1] for row in rows] == [plan.name for plan in PLANS]
    assets = [
        ("base-sepolia", "ETH"),
        ("base-sepolia", "DUSD"),
        ("solana-localnet", "SOL"),
        ("solana-localnet", "DUSD"),
    ]
    assert {(row[3], row[4]) for row in rows} == set(assets)
    assert len({row[2] for row in rows}) == 3
    for row in rows:
        paid, consumed, refunded = (Decimal(row[at]) for at in (5, 6, 7))
        assert paid == consumed + refunded
        assert consumed > 0
    hashes = re.findall(r"^    (paid|back) (0x[0-9a-f]{64}|[1-9A-HJ-NP-Za-km-z]{86,88})$", output, flags=re.MULTILINE)
    assert len(hashes) == len({tx for _, tx in hashes})
    assert [kind for kind, _ in hashes].count("paid") == len(PLANS) + 2
    assert [kind for kind, _ in hashes].count("back") == len(PLANS) - 1
    audits = re.findall(
        r"Audit of (\w+) on (\S+) at block \d+: ledger ([\d.]+), chain ([\d.]+), difference 0$", output, re.MULTILINE
    )
    assert [(network, asset) for asset, network, _, _ in audits] == assets
    assert all(ledger == chain for _, _, ledger, chain in audits)

    page = re.search(r"Pay on the page: (\S+)", output)
    assert page
    assert not page[1].endswith(f":{port}/"), "a taken port gives way"
    assert httpx.get(page[1]).status_code == 200
    settings = httpx.get(page[1] + "ws402/page").json()
    assert all(settings[name].startswith("http://127.0.0.1:") for name in ("devRpcUrl", "devSolanaRpcUrl"))
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) == 4, "a gateway and three servers"
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    with pytest.raises(httpx.ConnectError):
        httpx.get(page[1])


def test_an_interrupted_demo_ends_all_that_it_started(start: Start) -> None:
    process = start("--port", "0")
    lines_until(process, "Starting three servers")
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    process.send_signal(signal.SIGINT)
    assert process.wait(40) == 130
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]


def test_a_folder_that_cannot_be_made_is_told_in_one_line(start: Start, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    process = start("--port", "0", "--logs", str(tmp_path / "file" / "below"))
    assert process.stdout is not None
    output = process.stdout.read()
    assert process.wait(30) == 2
    assert output.startswith("ws402: The folder")
    assert len(output.splitlines()) == 1


def right() -> dict[str, Any]:
    paid = 20_000_000_000_000 * 300
    return {
        "plan": PLANS[0],
        "network": "base-sepolia",
        "goods": Goods("ticker", "Live ticker", "ETH", 18, 20_000_000_000_000, "native"),
        "url": "http://127.0.0.1:1",
        "settlement": Settlement(paid=paid, consumed=1, refund=paid - 1),
        "refund": Refund(paid - 1, "final", "0x1", seen=True),
        "payments": ["0x2"],
        "messages": 3,
    }


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, None),
        ({"settlement": Settlement(paid=6 * 10**15, consumed=2, refund=6 * 10**15 - 1)}, "does not add up"),
        ({"settlement": Settlement(paid=6 * 10**15, consumed=1, refund=6 * 10**15 - 1, exact=False)}, "not add up"),
        ({"settlement": Settlement(paid=5, consumed=1, refund=4)}, "was credited 5"),
        ({"refund": None}, "is owed"),
        ({"refund": Refund(6 * 10**15 - 2, "final", "0x1", seen=True)}, "is owed"),
        ({"refund": Refund(6 * 10**15 - 1, "final", "0x1", seen=False)}, "not seen on the chain"),
        ({"refund": Refund(6 * 10**15 - 1, "due")}, "not seen on the chain"),
        ({"messages": 0}, "got nothing"),
    ],
)
def test_whatever_is_off_is_found(change: dict[str, Any], says: str | None) -> None:
    problems = Outcome(**right() | change).problems()
    assert (problems == []) is (says is None)
    assert says is None or any(says in problem for problem in problems)
