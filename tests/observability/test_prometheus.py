"""Prometheus 2 and 3 with the shipped rules, over real processes: every query of panels and rules gets an answer."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from tests.fixtures.evm import ETHER
from tests.fixtures.processes import COMMAND, Process, free_port
from tests.fixtures.prometheus import MAJORS, program, programs
from tests.fixtures.stack import Stack, answers
from tests.fixtures.vault import VaultCorner
from tests.wire.peers.client import StockClient
from tests.wire.peers.wallet import Wallet

from ws402.devchain.evm import EvmDevChain

FILES = Path(__file__).parents[2] / "charts" / "ws402" / "files"
VARIABLES = {"$__rate_interval": "10s", "$namespace": ".*", "$job": ".+", "$instance": ".+"}

pytestmark = pytest.mark.prometheus


def panels() -> dict[str, str]:
    """The queries of all panels, by dashboard and title, with Grafana's variables filled in."""
    found = {}
    for path in sorted((FILES / "dashboards").glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel.get("targets", ()):
                query = target["expr"]
                for name, value in VARIABLES.items():
                    query = query.replace(name, value)
                found[f"{path.stem}: {panel['title']}: {target['legendFormat']}"] = query
    return found


def rules() -> list[dict[str, Any]]:
    """All rules of all files."""
    return [
        rule
        for path in sorted((FILES / "rules").glob("*.yaml"))
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
    ]


def watched() -> dict[str, str]:
    """What alerts look at: an alert itself has no series while all is well, each of its selectors has."""
    found = {}
    for rule in rules():
        if "alert" in rule and "absent(" not in rule["expr"]:
            for selector in re.findall(r"\b(?:ws402|process)[\w:]+(?:\{[^}]*\})?", rule["expr"]):
                found[f"{rule['alert']}: {selector}"] = selector
    return found


def switched_on(query: str) -> bool:
    """Whether it asks for what only a gateway with webhooks or with a collector has; this one has neither."""
    return re.search(r"ws402_(webhook|collect|offers)", query) is not None


def of_vault(query: str) -> bool:
    """Whether it asks for what only a gateway with Vault tells."""
    return "ws402_vault" in query or "ws402_secret" in query


class Prometheus:
    """A server of its own, which scrapes these targets each second and has the shipped rules."""

    def __init__(self, folder: Path, targets: dict[str, int], major: str) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self.begun = time.time()
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(path) for path in (FILES / "rules").glob("*.yaml")],
            "scrape_configs": [
                {"job_name": name, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
                for name, port in targets.items()
            ],
        }
        file = folder / "prometheus.yaml"
        # The rules' own interval is made for years of running; here a run lasts a minute.
        file.write_text(yaml.safe_dump(config))
        self.process = Process(
            "prometheus",
            [
                program("prometheus", major),
                f"--config.file={file}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={self.url.removeprefix('http://')}",
            ],
            environment={},
            folder=folder,
            ready=self._ready,
        )

    def _ready(self) -> bool:
        with suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/-/ready").status_code == 200
        return False

    def ask(self, query: str) -> list[Any]:
        """The series that a query had at any time since the start."""
        window = {"query": query, "start": self.begun, "end": time.time(), "step": 1}
        answer = httpx.get(f"{self.url}/api/v1/query_range", params=window, timeout=30).json()
        assert answer["status"] == "success", f"{query}: {answer}"
        result: list[Any] = answer["data"]["result"]
        return result


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Prometheus]]:
    """Each release that is here, by its number; both look at the same processes."""
    ports = {"ws402-gateway": free_port(), "ws402-server": free_port()}
    with ExitStack() as opened:
        stack = Stack(
            tmp_path_factory.mktemp("world"),
            gateway_settings={
                "METRICS_PORT": str(ports["ws402-gateway"]),
                "LEDGER_METRICS_SECONDS": "1",
                "AUDIT_SECONDS": "5",
                "VANISH_SECONDS": "5",
                "RESUME_SECONDS": "5",
            },
            server_settings={"METRICS_PORT": str(ports["ws402-server"]), "TIMEOUT": "2"},
        )
        opened.callback(stack.stop)
        stack.start()
        watching = {
            major: Prometheus(tmp_path_factory.mktemp("prometheus"), ports, major) for major in programs("prometheus")
        }
        for each in watching.values():
            opened.callback(each.process.stop)
            each.process.start()
        asyncio.run(live(stack))
        yield watching


@pytest.fixture(params=MAJORS)
def prometheus(request: pytest.FixtureRequest) -> Prometheus:
    """One release after the other; skipped, which CI takes for a failure, when it is not here."""
    program("prometheus", request.param)
    watching: dict[str, Prometheus] = request.getfixturevalue("world")
    return watching[request.param]


async def live(stack: Stack) -> None:
    """Mixed traffic and faults: sessions, refusals, an outage of the chain and of the gateway, a server that dies."""
    async with Wallet(stack.rpc_url) as wallet, StockClient(stack.server_url, wallet) as peer:
        await asyncio.to_thread(stack.rpc.fund, wallet.address, ETHER)
        async with await peer.buy("ticker", 300) as session:
            await session.send("hello")
            await session.expect("usage_update")
            async with await peer.open("ticker") as second:
                await second.prove({"txHash": "0x" + "1" * 64, "reference": "none", "senderAddress": wallet.address})
                await second.expect("payment_rejected")
        invoice = {"amount": 1000, "resourceId": "ticker", "estimatedDuration": 1}
        async with httpx.AsyncClient(base_url=stack.gateway_url, timeout=40) as client:
            assert (await client.post("/api/payment/generate", json=invoice)).status_code == 401
            client.headers["Authorization"] = f"Bearer {stack.api_key}"
            locked = sqlite3.connect(stack.folder / "ledger.db")
            locked.execute("BEGIN IMMEDIATE")
            waiting = asyncio.create_task(client.post("/api/payment/generate", json=invoice))
            await _outage(stack.devchain, 6.5)
            assert (await waiting).status_code == 503
            locked.close()
        left = await peer.buy("ticker", 300)
        # Longer than the server waits for the answers to two checkpoints: a rate needs two failures.
        await _outage(stack.gateway, 8)
        stack.server.kill()
        await left.closed()
        await asyncio.to_thread(stack.server.start)
        await asyncio.sleep(8)


async def _outage(process: Process | None, seconds: float) -> None:
    assert process is not None
    process.kill(signal.SIGSTOP)
    try:
        await asyncio.sleep(seconds)
    finally:
        process.kill(signal.SIGCONT)


def test_every_panel_has_something_to_show(prometheus: Prometheus) -> None:
    queries = {name: query for name, query in panels().items() if not (of_vault(query) or switched_on(query))}
    empty = [f"{name}: {query}" for name, query in queries.items() if not prometheus.ask(query)]
    assert not empty, "\n".join(empty)


def test_every_recording_rule_has_a_value(prometheus: Prometheus) -> None:
    empty = [rule["record"] for rule in rules() if "record" in rule and not prometheus.ask(rule["expr"])]
    assert not empty, "\n".join(empty)


def test_every_alert_looks_at_something_that_exists(prometheus: Prometheus) -> None:
    queries = {name: query for name, query in watched().items() if not (of_vault(query) or switched_on(query))}
    empty = [name for name, query in queries.items() if ":" not in query.split("{")[0] and not prometheus.ask(query)]
    assert not empty, "\n".join(empty)


GATEWAY_WITH_VAULT = """\
gateway_port = 0
metrics_port = {port}
database_url = "sqlite:///{folder}/ledger.db"

{vault}

[[evm_networks]]
network = "base-sepolia"
chain_id = 84532
rpc = ["{rpc}"]
signer = "vault"
"""


@pytest.mark.vault
@pytest.mark.parametrize("major", MAJORS)
def test_what_is_told_of_vault_is_shown(
    major: str, vault: VaultCorner, shared_devchain: EvmDevChain, tmp_path: Path
) -> None:
    vault.put("keys/base-sepolia", private_key="0x" + secrets.token_hex(32))
    vault.put("api-keys", servers=secrets.token_hex(32), operators=secrets.token_hex(32))
    login, port = vault.approle("--network", "base-sepolia", poll_seconds=0.5), free_port()
    text = GATEWAY_WITH_VAULT.format(port=port, folder=tmp_path, vault=vault.table(login), rpc=shared_devchain.rpc_url)
    config = vault.file("gateway.toml", text)
    metrics = f"http://127.0.0.1:{port}/metrics"
    gateway = Process(
        "gateway",
        [COMMAND, "gateway"],
        environment={"WS402_CONFIG": str(config)},
        folder=tmp_path,
        ready=lambda: answers(metrics),
    )
    prometheus = Prometheus(tmp_path, {"ws402-gateway": port}, major)
    with ExitStack() as opened:
        opened.callback(gateway.stop)
        gateway.start()
        opened.callback(prometheus.process.stop)
        prometheus.process.start()
        queries = {**panels(), **watched()}
        wanted = {name: query for name, query in queries.items() if of_vault(query)}
        assert len(wanted) > 8
        end = time.monotonic() + 30
        while (
            empty := [name for name, query in wanted.items() if not prometheus.ask(query)]
        ) and time.monotonic() < end:
            time.sleep(0.5)
    assert not empty, "\n".join(empty)
