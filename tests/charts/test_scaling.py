"""Autoscaling, and what monitoring gets."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest
import yaml
from tests.charts.chart import CHART, DEV, kinds, one, refusal, render

from ws402.observability import metrics
from ws402.settings import ServerSettings
from ws402.settings.server import SETTLING_SECONDS


def test_servers_follow_their_cpu_by_default() -> None:
    hpa = one(render(), "HorizontalPodAutoscaler", "ws402-server")["spec"]
    assert (hpa["minReplicas"], hpa["maxReplicas"]) == (2, 10)
    assert [each["resource"]["name"] for each in hpa["metrics"]] == ["cpu"]


def test_servers_may_follow_their_sessions() -> None:
    documents = render({**DEV, "server": {"autoscaling": {"sessionsPerPod": 200, "cpuUtilization": None}}})
    (metric,) = one(documents, "HorizontalPodAutoscaler", "ws402-server")["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] == "ws402_sessions_active"
    assert metric["pods"]["target"] == {"type": "AverageValue", "averageValue": "200"}


def test_scaling_in_is_slower_than_a_drain() -> None:
    """An HPA deletes pods past every budget: one at a time, and each gets its whole drain."""
    documents = render()
    down = one(documents, "HorizontalPodAutoscaler", "ws402-server")["spec"]["behavior"]["scaleDown"]
    grace = one(documents, "Deployment", "ws402-server")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert down["stabilizationWindowSeconds"] >= 900
    assert down["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 60}]
    assert down["policies"][0]["periodSeconds"] >= grace


def test_keda_takes_no_answer_for_what_it_is() -> None:
    documents = render(example="keda")
    assert not kinds(documents, "HorizontalPodAutoscaler")
    assert "replicas" not in one(documents, "Deployment", "ws402-server")["spec"]
    scaled = one(documents, "ScaledObject", "ws402-server")["spec"]
    assert scaled["minReplicaCount"] == 3
    assert scaled["fallback"]["behavior"] == "currentReplicasIfHigher"
    (trigger,) = scaled["triggers"]
    assert trigger["metadata"]["ignoreNullValues"] == "false"
    assert trigger["metadata"]["query"] == 'sum(ws402_sessions_active{namespace="ws402"})'
    assert trigger["metadata"]["threshold"] == "500"


def test_a_fixed_number_of_servers() -> None:
    documents = render({**DEV, "server": {"replicas": 5, "autoscaling": {"mode": "none"}}})
    assert not kinds(documents, "HorizontalPodAutoscaler", "ScaledObject")
    deployment = one(documents, "Deployment", "ws402-server")
    assert deployment["spec"]["replicas"] == 5
    assert deployment["metadata"]["annotations"] == {"ws402/replicas": "chart"}
    scaled = one(render(), "Deployment", "ws402-server")
    assert "replicas" not in scaled["spec"]
    assert "annotations" not in scaled["metadata"]


def stop(values: dict[str, Any]) -> tuple[int, float, int]:
    """Of a server: its pod's grace period, what its settings say of the drain, and what the process is told to have."""
    documents = render({**DEV, "server": values})
    spec = one(documents, "Deployment", "ws402-server")["spec"]["template"]["spec"]
    toml = tomllib.loads(one(documents, "ConfigMap", "ws402-server")["data"]["server.toml"])
    told = {each["name"]: each.get("value") for each in spec["containers"][0]["env"]}
    drain = ServerSettings.model_fields["drain_seconds"].default
    return spec["terminationGracePeriodSeconds"], toml.get("drain_seconds", drain), int(told["STOP_SECONDS"])


@pytest.mark.parametrize("drain", [0, 0.5, 20, 300, 1800, None])
def test_a_pod_gets_the_time_that_its_drain_takes(drain: Any) -> None:
    grace, written, told = stop({"settings": {"drain_seconds": drain}})
    assert float(written) == float(20 if drain is None else drain)
    assert told == grace - 5  # preStop's share
    assert told >= float(written) + SETTLING_SECONDS


def test_a_longer_grace_period_is_told_to_the_server() -> None:
    assert stop({"terminationGracePeriodSeconds": 600}) == (600, 20, 595)


def extra(component: str, name: str, value: str) -> dict[str, Any]:
    return {component: {"pod": {"extraEnv": [{"name": name, "value": value}]}}}


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (extra("server", "DRAIN_SECONDS", "300"), "server.settings.drain_seconds"),
        (extra("server", "drain_seconds", "1"), "server.settings.drain_seconds"),
        (extra("server", "WS402_CONFIG", "/x"), "which the chart sets"),
        (extra("server", "STOP_SECONDS", "9"), "which the chart sets"),
        (extra("gateway", "VERIFY_WAIT_SECONDS", "25"), "gateway.settings.verify_wait_seconds"),
        ({"server": {"settings": {"stop_seconds": 900}}}, "is computed by the chart"),
    ],
)
def test_nothing_sets_the_drain_past_the_grace_period(values: dict[str, Any], told: str) -> None:
    assert told in refusal({**DEV, **values})


def test_other_variables_pass() -> None:
    wanted = [{"name": "TZ", "value": "UTC"}, {"name": "PYTHONHASHSEED", "value": "0"}]
    documents = render({**DEV, "server": {"pod": {"extraEnv": wanted}}})
    container = one(documents, "Deployment", "ws402-server")["spec"]["template"]["spec"]["containers"][0]
    assert container["env"][-2:] == wanted


def test_what_scales_is_a_metric_that_servers_export() -> None:
    names = {family.name for family in metrics.SERVER.collect()}
    assert "ws402_sessions_active" in names
    (rule,) = yaml.safe_load((CHART / "files" / "prometheus-adapter.yaml").read_text())["rules"]
    assert rule["name"]["as"] in names


@pytest.mark.parametrize("kind", ["ServiceMonitor", "PodMonitor"])
def test_monitors_find_the_metrics_port_of_both(kind: str) -> None:
    documents = render({**DEV, "metrics": {"monitors": {"kind": kind, "labels": {"release": "prometheus"}}}})
    monitors = kinds(documents, kind)
    assert {each["metadata"]["namespace"] for each in monitors} == {"ws402", "ws402-private"}
    for each in monitors:
        assert each["metadata"]["labels"]["release"] == "prometheus"
        selector = each["spec"]["selector"]["matchLabels"].items()
        if kind == "ServiceMonitor":
            ports = [
                port["name"]
                for service in kinds(documents, "Service")
                if service["metadata"]["namespace"] == each["metadata"]["namespace"]
                and selector <= service["metadata"]["labels"].items()
                for port in service["spec"]["ports"]
            ]
            assert ports.count("metrics") == 1


def test_dashboards_and_rules_are_shipped_as_they_lie_there() -> None:
    documents = render({**DEV, "metrics": {"rules": {"enabled": True}, "dashboards": {"enabled": True}}})
    files = sorted((CHART / "files" / "dashboards").glob("*.json"))
    assert files
    for path in files:
        shipped = one(documents, "ConfigMap", f"ws402-dashboard-{path.stem}")
        assert shipped["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert json.loads(shipped["data"][path.name]) == json.loads(path.read_text())
    for path in sorted((CHART / "files" / "rules").glob("*.yaml")):
        assert one(documents, "PrometheusRule", f"ws402-rules-{path.stem}")["spec"] == yaml.safe_load(path.read_text())


def test_without_metrics_nothing_listens_or_selects() -> None:
    documents = render({**DEV, "metrics": {"enabled": False}})
    assert "9464" not in json.dumps(documents)
