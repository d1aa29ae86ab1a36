"""Traces: one for a session, from the client's proof to the refund, in a real collector; none when they are off."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, TraceIdRatioBased
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from tests.fixtures.evm import ETHER
from tests.fixtures.processes import free_port
from tests.fixtures.stack import MakeStack, Stack
from tests.wire.peers.client import StockClient
from tests.wire.peers.wallet import Wallet

from ws402.errors import ConfigurationError
from ws402.observability import tracing

Span = dict[str, Any]

CLIENT_TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{CLIENT_TRACE}-00f067aa0ba902b7-01"


def exported(trace_id: str) -> dict[str, Span]:
    """The spans of a trace that the collector wrote, by id; each knows its `service`."""
    found: dict[str, Span] = {}
    written = Path(os.environ["OTELCOL_OUT"])
    files = sorted(written.glob("*.json*")) if written.is_dir() else [written]
    for line in "".join(each.read_text() for each in files if each.exists()).splitlines():
        for group in json.loads(line).get("resourceSpans", ()):
            service = next(
                each["value"]["stringValue"]
                for each in group["resource"]["attributes"]
                if each["key"] == "service.name"
            )
            for scope in group["scopeSpans"]:
                for span in scope["spans"]:
                    if span["traceId"] == trace_id:
                        found[span["spanId"]] = {**span, "service": service}
    return found


def attributes(span: Span) -> dict[str, Any]:
    return {each["key"]: next(iter(each["value"].values())) for each in span["attributes"]}


@pytest.fixture
def metrics_port() -> int:
    return free_port()


@pytest.fixture
def stack(make_stack: MakeStack, metrics_port: int) -> Stack:
    url = os.environ.get("OTLP_HTTP_URL")
    if not url or not os.environ.get("OTELCOL_OUT"):
        pytest.skip("OTLP_HTTP_URL and OTELCOL_OUT name no collector")
    traced = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_BSP_SCHEDULE_DELAY": "200", "LOG_LEVEL": "debug"}
    return make_stack(gateway_settings={**traced, "METRICS_PORT": str(metrics_port)}, server_settings=traced)


@pytest.fixture
async def peer(stack: Stack) -> AsyncIterator[StockClient]:
    async with Wallet(stack.rpc_url) as wallet, StockClient(stack.server_url, wallet) as made:
        stack.rpc.fund(wallet.address, ETHER)
        yield made


@pytest.mark.otlp
async def test_a_sessions_trace_has_all_spans_joined_the_refund_included(
    stack: Stack, peer: StockClient, metrics_port: int
) -> None:
    trace = secrets.token_hex(16)  # the collector keeps what earlier runs sent
    schema = await peer.schema("ticker", 300)
    proof = await peer.pay(schema["paymentDetails"])
    async with await peer.open("ticker") as session:
        await session.send_json(
            {"type": "payment_proof", "proof": proof, "traceparent": TRACEPARENT.replace(CLIENT_TRACE, trace)}
        )
        started = await session.expect("session_started")
        assert started["traceparent"].split("-")[1] == trace
        await session.expect("usage_update")
    assert await peer.wallet.wait_for_balance(ETHER // 2) > ETHER // 2
    wanted = {
        ("ws402-server", "ws402.session open"),
        ("ws402-server", "ws402.session"),
        ("ws402-server", "ws402.gateway verify"),
        ("ws402-server", "ws402.gateway settle"),
        ("ws402-server", "POST"),
        ("ws402-gateway", "POST /api/ops"),
        ("ws402-gateway", "ws402.verify"),
        ("ws402-gateway", "ws402.settle"),
        ("ws402-gateway", "ws402.batch claim"),
        ("ws402-gateway", "ws402.batch settle"),
        ("ws402-gateway", "INSERT sessions"),
        ("ws402-gateway", "INSERT refunds"),
        ("ws402-gateway", "ws402.refund deliver"),
        ("ws402-gateway", "base-sepolia/eth_sendRawTransaction"),
        ("ws402-gateway", "ws402.refund"),
    }
    end = time.monotonic() + 20
    spans: dict[str, Span] = {}
    while not wanted <= {(span["service"], span["name"]) for span in spans.values()}:
        spans = exported(trace)
        missing = wanted - {(span["service"], span["name"]) for span in spans.values()}
        assert time.monotonic() < end, missing
        await asyncio.sleep(0.3)
    orphans = [
        span["name"]
        for span in spans.values()
        if span["parentSpanId"] not in spans and span["parentSpanId"] != TRACEPARENT.split("-")[2]
    ]
    assert orphans == []
    by_name = {span["name"]: span for span in spans.values()}
    assert attributes(by_name["INSERT sessions"])["db.system.name"] == "sqlite"
    assert attributes(by_name["POST /api/ops"])["http.response.status_code"] == "200"
    assert attributes(by_name["ws402.refund"])["ws402.refund.tx"].startswith("0x")
    assert "status" not in by_name["ws402.refund"] or not by_name["ws402.refund"]["status"].get("code")
    hidden = [schema["paymentDetails"]["reference"], started["resumeToken"], stack.api_key, stack.merchant_key[2:]]
    assert not [secret for secret in hidden if secret in json.dumps(spans)]
    assert f'"trace_id": "{trace}"' in "".join(each.output() for each in (stack.gateway, stack.server))
    answer = httpx.get(f"http://127.0.0.1:{metrics_port}/metrics", headers={"Accept": "application/openmetrics-text"})
    exemplars = {
        sample.exemplar.labels["trace_id"]
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
        if sample.exemplar is not None
    }
    assert trace in exemplars


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    yield exporter
    tracing.shut_down()


def test_without_an_endpoint_nothing_is_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    tracing.configure("server")
    assert not tracing.enabled()
    assert tracing.begin("x", parent=TRACEPARENT) is None
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    tracing.configure("server")
    assert not tracing.enabled()


def test_another_protocol_is_refused_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    with pytest.raises(ConfigurationError, match="http/protobuf"):
        tracing.configure("server")


def test_a_ratio_keeps_that_share_of_roots_and_follows_parents(spans: InMemorySpanExporter) -> None:
    tracing.configure("server", exporter=spans, sampler=ParentBased(TraceIdRatioBased(0.1)))
    kept = [span for span in (tracing.begin("root") for _ in range(5000)) if span is not None]
    assert 380 < len(kept) < 620
    assert len({span.trace_id for span in kept}) == len(kept)
    child = tracing.begin("child", parent=TRACEPARENT)
    assert child is not None
    assert child.trace_id == CLIENT_TRACE
    assert tracing.begin("child", parent=TRACEPARENT[:-2] + "00") is None


@pytest.mark.parametrize("broken", ["", "00", "00-xyz-abc-01", "ff" + TRACEPARENT[2:], f"00-{'0' * 32}-{'0' * 16}-01"])
def test_a_broken_traceparent_begins_a_new_trace(spans: InMemorySpanExporter, broken: str) -> None:
    tracing.configure("server", exporter=spans, sampler=ALWAYS_ON)
    span = tracing.begin("root", parent=broken)
    assert span is not None
    assert int(span.trace_id, 16) > 0


def test_work_for_several_spans_shows_below_each(spans: InMemorySpanExporter) -> None:
    tracing.configure("server", exporter=spans, sampler=ALWAYS_ON)
    first, second = tracing.begin("first"), tracing.begin("second")
    assert first is not None
    assert second is not None
    with tracing.use(first, None, second):
        tracing.spread("work", tracing.INTERNAL, {"ws402.batch.size": 2}, 1, 2)
    assert tracing.current() is None
    tracing.shut_down()
    done = {(span.name, span.parent.span_id if span.parent else 0) for span in spans.get_finished_spans()}
    assert done == {("work", int(first.span_id, 16)), ("work", int(second.span_id, 16))}
