"""The metrics of a running gateway and server: every one that is defined is exported, and they tell what happened."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from prometheus_client.core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from tests.fixtures.evm import ETHER
from tests.fixtures.processes import free_port
from tests.fixtures.stack import PRICE, Stack
from tests.wire.peers.client import StockClient
from tests.wire.peers.wallet import Wallet

from ws402.observability import metrics
from ws402.observability.instruments import Histogram, Instrument

DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"
OPENMETRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}


class Target:
    """One process as Prometheus sees it."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/metrics"

    def families(self) -> dict[str, Metric]:
        answer = httpx.get(self.url, headers=OPENMETRICS)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("application/openmetrics-text")
        return {family.name: family for family in text_string_to_metric_families(answer.text)}

    def value(self, name: str, **labels: str) -> float:
        """The sum of a name's samples with these labels."""
        return sum(
            sample.value
            for family in self.families().values()
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    async def reaches(self, value: float, name: str, **labels: str) -> float:
        """Wait until the sum is this, or for 15 s; answers it."""
        end = time.monotonic() + 15
        while (now := self.value(name, **labels)) != value and time.monotonic() < end:
            await asyncio.sleep(0.1)
        return now


@pytest.fixture(scope="module")
def targets() -> dict[str, Target]:
    return {"gateway": Target(free_port()), "server": Target(free_port())}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, targets: dict[str, Target]) -> Iterator[Stack]:
    ports = {name: each.url.split(":")[2].split("/")[0] for name, each in targets.items()}
    with ExitStack() as opened:
        stack = Stack(
            tmp_path_factory.mktemp("metrics"),
            gateway_settings={"METRICS_PORT": ports["gateway"], "LEDGER_METRICS_SECONDS": "1", "AUDIT_SECONDS": "5"},
            server_settings={"METRICS_PORT": ports["server"]},
        )
        opened.callback(stack.stop)
        stack.start()
        yield stack


@pytest.fixture
async def peer(stack: Stack) -> AsyncIterator[StockClient]:
    async with Wallet(stack.rpc_url) as wallet, StockClient(stack.server_url, wallet) as made:
        stack.rpc.fund(wallet.address, ETHER)
        yield made


@pytest.mark.parametrize(
    ("component", "registries"),
    [("gateway", (metrics.PROCESS, metrics.GATEWAY)), ("server", (metrics.PROCESS, metrics.SERVER))],
)
def test_every_metric_is_exported_and_documented(
    stack: Stack, targets: dict[str, Target], component: str, registries: tuple[object, ...]
) -> None:
    exported = targets[component].families()
    defined = {
        each.name: each
        for each in vars(metrics).values()
        if isinstance(each, Instrument) and set(each.registries) & set(registries)
    }
    assert {name for name in exported if name.startswith("ws402_")} == set(defined)
    document = DOCUMENT.read_text()
    for name, each in defined.items():
        assert exported[name].type == each.kind
        assert re.search(rf"^\| `{name}(_total)?` \| {each.kind} \|", document, re.MULTILINE), name
        assert not {"payer", "reference", "session", "tx", "user"} & set(each.labels)
        if isinstance(each, Histogram):
            assert list(each.bounds) == sorted(each.bounds)


async def test_a_session_and_its_refund_are_told(stack: Stack, targets: dict[str, Target], peer: StockClient) -> None:
    gateway, server = targets["gateway"], targets["server"]
    before = await peer.wallet.balance()
    async with await peer.buy("ticker", 300) as session:
        await session.expect("usage_update")
        assert server.value("ws402_sessions_active") == 1
        assert server.value("ws402_usage_updates_total") >= 1
        async with await peer.open("ticker") as second:
            await second.prove({"txHash": "0x" + "1" * 64, "reference": "none", "senderAddress": peer.wallet.address})
            await second.expect("payment_rejected")
    assert before > await peer.wallet.wait_for_balance(before - 10 * PRICE) > before - 300 * PRICE
    base = {"network": "base-sepolia"}
    assert gateway.value("ws402_payments_verified_total", asset="ETH", **base) == 1
    assert gateway.value("ws402_payments_rejected_total", code="unknown_invoice") == 1
    assert gateway.value("ws402_payment_volume_units_total", asset="ETH", **base) == 300 * PRICE
    assert gateway.value("ws402_payment_open_seconds_count", **base) == 1
    assert gateway.value("ws402_response_seconds_count", route="/api/ops", code="200") >= 3
    assert gateway.value("ws402_sessions_settled_total", reason="client_closed") == 1
    assert gateway.value("ws402_refunds_issued_total", asset="ETH", **base) == 1
    assert await gateway.reaches(1, "ws402_refund_transactions_total", event="included", **base) == 1
    assert gateway.value("ws402_signer_lease_held", **base) == 1
    assert gateway.value("ws402_signer_refunds_payable", **base) > 100
    assert 0 < gateway.value("ws402_signer_balance_units", asset="ETH", **base) < 2 * ETHER
    assert gateway.value("ws402_chain_up", **base) == 1
    assert gateway.value("ws402_chain_head_block", **base) > 0
    assert gateway.value("ws402_rpc_calls_total", method="eth_sendRawTransaction", **base) >= 1
    assert gateway.value("ws402_rpc_seconds_count", method="eth_sendRawTransaction", **base) >= 1
    assert await gateway.reaches(1, "ws402_refunds_delivered_total", **base) == 1
    assert await gateway.reaches(0, "ws402_refunds_open", **base) == 0
    consumed = gateway.value("ws402_ledger_account_units", account="revenue", asset="ETH", **base)
    assert 0 < consumed < 10 * PRICE
    assert server.value("ws402_sessions_opened_total") == 1
    assert server.value("ws402_sessions_ended_total", reason="client_closed") == 1
    assert server.value("ws402_proofs_refused_total", code="unknown_invoice") == 1
    assert server.value("ws402_session_open_seconds_count") == 1
    assert server.value("ws402_metered_units_total", asset="ETH", **base) == consumed
    assert server.value("ws402_gateway_link_seconds_count", lane="operations") >= 2


async def test_the_audit_is_told_as_nought_or_page(stack: Stack, targets: dict[str, Target], peer: StockClient) -> None:
    gateway = targets["gateway"]
    async with await peer.buy("ticker", 300) as session:
        await session.expect("usage_update")
    await peer.wallet.wait_for_balance(ETHER // 2)
    begun = time.time()
    while gateway.value("ws402_ledger_audit_timestamp_seconds") < begun:
        assert time.time() < begun + 20
        await asyncio.sleep(0.2)
    samples = gateway.families()["ws402_ledger_imbalance_units"].samples
    assert {each.labels["check"] for each in samples} == {"chain", "escrow", "owed", "sign"}
    assert {each.value for each in samples} == {0}
    assert gateway.value("ws402_ledger_audit_failures_total") == 0


def test_the_metrics_port_has_nothing_else(stack: Stack, targets: dict[str, Target]) -> None:
    base = targets["gateway"].url.removesuffix("/metrics")
    assert httpx.get(f"{base}/api/health").status_code == 404
    assert httpx.post(f"{base}/metrics").status_code == 404
    plain = httpx.get(f"{base}/metrics")
    assert plain.headers["content-type"].startswith("text/plain")
    assert "# EOF" not in plain.text
    assert httpx.get(f"{stack.gateway_url}/metrics").status_code == 404
