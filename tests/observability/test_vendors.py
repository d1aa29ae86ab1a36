"""The examples for vendors: each is read by its own tool, or its request is captured."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from tests.fixtures.capture import Capture
from tests.fixtures.processes import free_port

EXAMPLES = Path(__file__).parents[2] / "k8s" / "observability"

pytestmark = pytest.mark.otlp


def tool(*names: str) -> str:
    for name in names:
        if found := shutil.which(name):
            return found
    pytest.skip(f"none of {', '.join(names)} is in PATH")


def components(collector: str) -> dict[str, set[str]]:
    told = yaml.safe_load(subprocess.run([collector, "components"], capture_output=True, check=True).stdout)
    return {kind: {each["name"] for each in told.get(kind) or ()} for kind in ("receivers", "processors", "exporters")}


@pytest.mark.parametrize("name", ["collector-cloudwatch.yaml", "collector-datadog.yaml"])
def test_the_collector_takes_the_example(name: str, tmp_path: Path) -> None:
    """What this collector was built without is replaced by what it has; the rest is checked as it stands."""
    collector = tool("otelcol-contrib", "otelcol")
    known = components(collector)
    text = (EXAMPLES / name).read_text()
    example: dict[str, Any] = yaml.safe_load(text)
    stand_ins = {
        "receivers": ("otlp", {"protocols": {"http": {"endpoint": "127.0.0.1:0"}}}),
        "processors": ("batch", {}),
        "exporters": ("otlp_http", {"endpoint": "http://127.0.0.1:9"}),
    }
    for kind, (stand_in, options) in stand_ins.items():
        for each in [each for each in example[kind] if each.partition("/")[0] not in known[kind]]:
            del example[kind][each]
            renamed = f"{stand_in}/{each}"
            example[kind][renamed] = options
            for pipeline in example["service"]["pipelines"].values():
                pipeline[kind] = [renamed if used == each else used for used in pipeline[kind]]
    path = tmp_path / name
    path.write_text(yaml.safe_dump(example))
    ended = subprocess.run([collector, "validate", f"--config={path}"], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    pipelines = example["service"]["pipelines"].values()
    used = {each for pipeline in pipelines for part in pipeline.values() for each in part}
    assert used == {each for kind in stand_ins for each in example[kind]}
    secrets = [line for line in text.splitlines() if "key:" in line and "${env:" not in line]
    assert secrets == []


def test_amtool_routes_alerts_by_severity() -> None:
    amtool, config = tool("amtool"), str(EXAMPLES / "alertmanager-pagerduty.yaml")
    checked = subprocess.run([amtool, "check-config", config], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    for severity, receiver in (("critical", "page"), ("warning", "ticket"), ("info", "nobody")):
        route = [amtool, "config", "routes", "test", f"--config.file={config}", f"severity={severity}"]
        assert subprocess.run(route, capture_output=True, text=True, check=True).stdout.strip() == receiver


@pytest.fixture
def alertmanager(tmp_path: Path, capture: Capture) -> Iterator[str]:
    """A real Alertmanager with the example, whose PagerDuty is a loopback server."""
    program = tool("prometheus-alertmanager", "alertmanager")
    config = (EXAMPLES / "alertmanager-pagerduty.yaml").read_text()
    for name in ("page", "ticket"):
        (tmp_path / f"pagerduty-{name}").write_text(f"{name}-key".ljust(32, "x"))
    config = config.replace("/etc/alertmanager/secrets", str(tmp_path)).replace("group_wait: 5s", "group_wait: 0s")
    config = f"global: {{pagerduty_url: 'http://127.0.0.1:{capture.port}/v2/enqueue'}}\n{config}"
    (tmp_path / "alertmanager.yml").write_text(config)
    port = free_port()
    process = subprocess.Popen(
        [
            program,
            f"--config.file={tmp_path}/alertmanager.yml",
            f"--storage.path={tmp_path}/data",
            f"--web.listen-address=127.0.0.1:{port}",
            "--cluster.listen-address=",
        ],
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        transport = httpx.HTTPTransport(retries=8)
        with httpx.Client(transport=transport) as client:
            assert client.get(f"{url}/-/ready").is_success
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=20)


def test_a_critical_alert_pages(alertmanager: str, capture: Capture) -> None:
    alert = {
        "labels": {"alertname": "LedgerImbalance", "severity": "critical", "network": "base"},
        "annotations": {"summary": "The books differ", "runbook_url": "https://example.test/runbook#ledgerimbalance"},
    }
    assert httpx.post(f"{alertmanager}/api/v2/alerts", json=[alert]).is_success
    sent = json.loads(capture.wait(b"The books differ"))
    assert sent["event_action"] == "trigger"
    assert sent["routing_key"].startswith("page-key")
    assert sent["payload"]["severity"] == "critical"
    assert sent["payload"]["summary"] == "The books differ"
    assert sent["payload"]["custom_details"]["runbook"].endswith("#ledgerimbalance")
