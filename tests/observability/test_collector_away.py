"""A collector that is away, or takes a connection and says nothing, costs neither memory nor a program's end."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from tests.fixtures.processes import Process, free_port

from ws402.observability import metrics, tracing

QUEUE = 2048
"""The SDK's default of OTEL_BSP_MAX_QUEUE_SIZE."""


@pytest.fixture
def silent() -> Iterator[str]:
    """Takes connections, and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def closed() -> str:
    """Nobody listens there."""
    return f"http://127.0.0.1:{free_port()}"


def trace_to(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    tracing.configure("server")


def work(spans: int) -> None:
    for _ in range(spans):
        span = tracing.begin("work")
        assert span is not None
        span.end()


def exported() -> float:
    return sum(sample.value for family in metrics.SPANS_EXPORTED.collect() for sample in family.samples)


def ending() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "traces-shut-down"]


@pytest.mark.parametrize("where", ["silent", "closed"])
def test_what_waits_is_bounded_and_told_in_few_lines(
    where: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    trace_to(request.getfixturevalue(where), monkeypatch)
    before = exported()
    with caplog.at_level(logging.WARNING):
        work(2 * QUEUE)
        known = set(ending())
        tracing.shut_down(0.05)
    assert [each.is_alive() for each in ending() if each not in known] == [True], "it waited for the collector"
    assert not tracing.enabled()
    assert exported() == before
    assert sum("Queue full" in record.getMessage() for record in caplog.records) <= 2
    assert len(caplog.records) < 20


class Slow(SpanExporter):
    """Takes what it gets when it is told to."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.taken: list[ReadableSpan] = []

    def export(self, spans: object) -> SpanExportResult:
        assert self.go_on.wait(60)
        self.taken += spans  # type: ignore[operator]
        return SpanExportResult.SUCCESS


def test_the_newest_spans_are_kept_and_sent_when_it_is_back() -> None:
    exporter = Slow()
    tracing.configure("server", exporter=exporter, sampler=ALWAYS_ON)
    work(4 * QUEUE)
    exporter.go_on.set()
    tracing.shut_down(60)
    assert QUEUE <= len(exporter.taken) <= QUEUE + 1024  # what was on its way when the queue filled up came before


def test_a_program_ends_though_nobody_takes_its_spans(silent: str, tmp_path: Path) -> None:
    """At its very end, too: the exit handlers of the SDK would wait for 30 s."""
    code = "from ws402.observability import tracing; tracing.configure('server'); "
    code += "span = tracing.begin('x'); span.end()"
    environment = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": silent}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True, timeout=25)


CONFIG = """
receivers: {{otlp: {{protocols: {{http: {{endpoint: "127.0.0.1:{port}"}}}}}}}}
exporters: {{debug: {{}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{traces: {{receivers: [otlp], exporters: [debug]}}}}
"""


@pytest.mark.otlp
def test_a_real_collector_that_stands_still_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = shutil.which("otelcol-contrib") or shutil.which("otelcol")
    if program is None:
        pytest.skip("no otelcol is in PATH")
    port = free_port()
    (tmp_path / "config.yaml").write_text(CONFIG.format(port=port))
    url = f"http://127.0.0.1:{port}"

    def ready() -> bool:
        try:
            return httpx.get(url).status_code == 404
        except httpx.TransportError:
            return False

    collector = Process(
        "otelcol", [program, f"--config={tmp_path}/config.yaml"], environment={}, folder=tmp_path, ready=ready
    )
    collector.start()
    try:
        before = exported()
        trace_to(url, monkeypatch)
        work(10)
        tracing.shut_down(60)
        assert exported() == before + 10
        collector.kill(signal.SIGSTOP)
        os.waitid(os.P_PID, collector.pid, os.WSTOPPED | os.WNOWAIT)  # all of its threads stand
        trace_to(url, monkeypatch)
        work(10)
        known = set(ending())
        tracing.shut_down(0.05)
        assert [each.is_alive() for each in ending() if each not in known] == [True]
    finally:
        collector.kill(signal.SIGCONT)
        collector.stop()
