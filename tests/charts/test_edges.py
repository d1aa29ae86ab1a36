"""How clients and scrapers come in: Services, Ingress, monitors, and the namespace that is kept from them."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from tests.charts.chart import DEV, kinds, one, refusal, render

CLIENTS = [{"cidr": "0.0.0.0/0"}]


def service(values: dict[str, Any]) -> dict[str, Any]:
    documents = render({**DEV, "server": {"service": values, "clients": CLIENTS}})
    spec: dict[str, Any] = one(documents, "Service", "ws402-server")["spec"]
    return spec


def test_a_load_balancer_is_told_its_class_and_whom_to_let_in() -> None:
    wanted = {
        "loadBalancerClass": "example.com/internal",
        "loadBalancerSourceRanges": ["203.0.113.0/24", "2001:db8::/32"],
        "externalTrafficPolicy": "Local",
    }
    spec = service({"type": "LoadBalancer", **wanted})
    assert spec.items() >= wanted.items()
    assert not wanted.keys() & service({"type": "ClusterIP", **wanted}).keys(), "the API refuses them there"


def test_a_node_port_may_be_chosen() -> None:
    spec = service({"type": "NodePort", "nodePort": 30402})
    assert (spec["type"], spec["ports"][0]["nodePort"]) == ("NodePort", 30402)
    assert "nodePort" not in service({"type": "NodePort"})["ports"][0]


def test_every_service_has_the_families_that_are_asked_for() -> None:
    documents = render({**DEV, "ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv6", "IPv4"]})
    services = kinds(documents, "Service")
    assert len(services) == 5
    for each in services:
        assert each["spec"]["ipFamilyPolicy"] == "PreferDualStack"
        assert each["spec"]["ipFamilies"] == ["IPv6", "IPv4"]
    assert all("ipFamilyPolicy" not in each["spec"] for each in kinds(render(), "Service"))


def ingress(values: dict[str, Any]) -> dict[str, Any]:
    documents = render({**DEV, "server": {"ingress": {"enabled": True, **values}, "clients": CLIENTS}})
    spec: dict[str, Any] = one(documents, "Ingress", "ws402-server")["spec"]
    return spec


def test_an_ingress_without_a_secret_is_still_tls() -> None:
    spec = ingress({"host": "pay.example.com"})
    assert spec["tls"] == [{"hosts": ["pay.example.com"]}]
    assert [each["host"] for each in spec["rules"]] == ["pay.example.com"]


def test_an_ingress_has_several_names_and_paths() -> None:
    more = [
        {"host": "*.example.org"},
        {"host": "shop.example", "tlsSecret": "shop", "paths": [{"path": "/a"}, {"path": "/b", "pathType": "Exact"}]},
    ]
    spec = ingress({"host": "pay.example.com", "tlsSecret": "pay", "hosts": more})
    assert [each.get("secretName") for each in spec["tls"]] == ["pay", None, "shop"]
    paths = [[(path["path"], path["pathType"]) for path in each["http"]["paths"]] for each in spec["rules"]]
    assert paths == [[("/", "Prefix")], [("/", "Prefix")], [("/a", "Prefix"), ("/b", "Exact")]]
    for rule in spec["rules"]:
        for path in rule["http"]["paths"]:
            assert path["backend"]["service"] == {"name": "ws402-server", "port": {"name": "http"}}
    assert len(ingress({"hosts": more})["rules"]) == 2
    assert "/server/ingress" in refusal({**DEV, "server": {"ingress": {"enabled": True}, "clients": CLIENTS}})


def test_the_namespace_has_labels_and_annotations_of_ones_own_and_stays_kept() -> None:
    own = {
        "labels": {"team": "money", "pod-security.kubernetes.io/warn": "baseline"},
        "annotations": {"owner": "treasury", "helm.sh/resource-policy": "delete"},
    }
    metadata = one(render({**DEV, "gateway": {"namespace": own}}), "Namespace", "ws402-private")["metadata"]
    assert metadata["labels"]["team"] == "money"
    assert metadata["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert metadata["labels"]["pod-security.kubernetes.io/warn"] == "baseline"
    assert metadata["annotations"] == {"owner": "treasury", "helm.sh/resource-policy": "keep"}


MONITORS: dict[str, Any] = {
    "namespace": "monitoring",
    "scrapeTimeout": "9s",
    "relabelings": [{"targetLabel": "cluster", "replacement": "eu"}],
    "metricRelabelings": [{"action": "labeldrop", "regex": "pod"}],
}


@pytest.mark.parametrize(
    ("kind", "endpoints"), [("ServiceMonitor", "endpoints"), ("PodMonitor", "podMetricsEndpoints")]
)
def test_monitors_may_be_elsewhere_and_relabel(kind: str, endpoints: str) -> None:
    monitors = kinds(render({**DEV, "metrics": {"monitors": {"kind": kind, **MONITORS}}}), kind)
    assert {each["metadata"]["namespace"] for each in monitors} == {"monitoring"}
    watched = [each["spec"]["namespaceSelector"]["matchNames"] for each in monitors]
    assert watched == [["ws402-private"], ["ws402"]]
    for each in monitors:
        (endpoint,) = each["spec"][endpoints]
        assert endpoint["scrapeTimeout"] == "9s"
        assert endpoint["relabelings"] == MONITORS["relabelings"]
        assert endpoint["metricRelabelings"] == MONITORS["metricRelabelings"]


def test_a_prometheus_without_the_operator_finds_the_same_services() -> None:
    documents = render({**DEV, "metrics": {"scrapeConfig": {"enabled": True}}})
    written = one(documents, "ConfigMap", "ws402-server-scrape-config")["data"]["ws402.yaml"]
    (job,) = yaml.safe_load(written)["scrape_configs"]
    (found,) = job["kubernetes_sd_configs"]
    assert set(found["namespaces"]["names"]) == {"ws402", "ws402-private"}
    keep = job["relabel_configs"][0]
    *labels, port = keep["source_labels"]
    *values, name = keep["regex"].split(";")
    assert port == "__meta_kubernetes_endpointslice_port_name"
    names = [each.removeprefix("__meta_kubernetes_service_label_") for each in labels]
    wanted = dict(zip(names, values, strict=True))
    scraped = []
    for each in kinds(documents, "Service"):
        own = {key.replace(".", "_").replace("/", "_"): value for key, value in each["metadata"]["labels"].items()}
        if wanted.items() <= own.items() and name in [port["name"] for port in each["spec"]["ports"]]:
            scraped.append(each["metadata"]["name"])
    assert sorted(scraped) == ["ws402-gateway-metrics", "ws402-server-metrics"]
