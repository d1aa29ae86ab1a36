"""Values that cannot be right are refused, each with one message that says what to do."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from tests.charts.chart import CHART, DEV, kinds, refusal, render

EVM = {"network": "base", "chain_id": 8453}
VAULT = {"vault": {"address": "https://vault.vault.svc:8200"}}
PEER = [{"namespace": "elsewhere", "ports": [443]}]
HOOK = {"name": "shop", "url": "https://events.shop.svc/ws402"}
PRODUCTION: dict[str, Any] = {
    "networks": {"evm": [EVM]},
    "secrets": VAULT,
    "gateway": {"egress": {"vault": PEER, "rpc": PEER}},
}


def _merge(base: Any, change: Any) -> Any:
    if not isinstance(base, dict) or not isinstance(change, dict):
        return change
    return {**base, **{name: _merge(base.get(name), value) for name, value in change.items()}}


def test_the_base_of_these_tests_is_right() -> None:
    assert render(PRODUCTION)


def test_without_a_chain_the_way_to_a_trial_is_told() -> None:
    told = refusal({})
    assert "--set devchain.enabled=true" in told
    assert "secrets.vault" in told


BASE = {"network": "base", "chain_id": 8453}
KEPT = "aws-kms:00000000-0000-0000-0000-000000000001"


@pytest.mark.parametrize(
    ("base", "change", "says"),
    [
        (DEV, {"networks": {"evm": [EVM]}}, "keys everybody knows"),
        (DEV, {"gateway": {"namespace": {"name": "ws402"}}}, "Set gateway.namespace.name"),
        (DEV, {"gateway": {"replicas": 2}}, "gateway.database.kind=postgresql"),
        (DEV, {"gateway": {"database": {"kind": "postgresql"}, "egress": {"database": PEER}}}, "no database URL"),
        (DEV, {"server": {"terminationGracePeriodSeconds": 44}}, "at least 45"),
        (DEV, {"gateway": {"terminationGracePeriodSeconds": 39}}, "at least 40"),
        (DEV, {"server": {"httpRoute": {"enabled": True, "parentRefs": [{"name": "a"}]}}}, "set server.clients"),
        (DEV, {"identity": {"mode": "apiKeys"}}, "set server.existingSecret"),
        (DEV, {"server": {"autoscaling": {"mode": "keda"}}}, "keda.serverAddress"),
        (DEV, {"server": {"autoscaling": {"minReplicas": 20}}}, "maxReplicas is below"),
        (DEV, {"server": {"settings": {"status_key": "x" * 40}}}, "values are not kept secret"),
        (DEV, {"gateway": {"settings": {"gateway_admin_key": "x" * 40}}}, "values are not kept secret"),
        (DEV, {"gateway": {"settings": {"gateway_host": "0.0.0.0"}}}, "set by the chart"),
        (DEV, {"server": {"settings": {"gateway_token_file": "/tmp/x"}}}, "use tls and identity"),
        (DEV, {"gateway": {"settings": {"base_network": "base"}}}, "networks.evm"),
        (DEV, {"resources": [{"id": "a", "kind": "ticker", "price_per_second": 2**53}]}, "Write it in quotes"),
        (DEV, {"tls": {"mode": "existingSecret", "existingSecret": "a"}}, "tls.caBundle"),
        (PRODUCTION, {"secrets": {"vault": {"address": ""}}}, "secrets.vault.address is not set"),
        (PRODUCTION, {"secrets": {"source": "dev"}}, "needs devchain.enabled=true"),
        (DEV, {"secrets": {"source": "existingSecret"}}, "set secrets.existingSecret"),
        (PRODUCTION, {"secrets": {"source": "existingSecret", "existingSecret": "a"}}, "Leave networks empty"),
        (PRODUCTION, {"gateway": {"egress": {"vault": []}}}, "set gateway.egress.vault"),
        (PRODUCTION, {"gateway": {"egress": {"rpc": []}}}, "set gateway.egress.rpc"),
        (PRODUCTION, {"secrets": {"source": "aws"}}, "set gateway.egress.extra"),
        *(
            (
                PRODUCTION,
                {"networks": {"evm": [BASE | {name: key}]}},
                "gateway.egress.extra to the keeper of base's key",
            )
            for name, key in (("signer", KEPT), ("collector_signer", KEPT), ("earlier_signers", [KEPT]))
        ),
        (PRODUCTION, {"networks": {"evm": [BASE | {"collector_signer": "vault"}]}}, "collector_signer"),
        (PRODUCTION, {"gateway": {"database": {"kind": "postgresql"}}}, "set gateway.egress.database"),
        (PRODUCTION, {"gateway": {"settings": {"webhooks": [HOOK]}}}, "set gateway.egress.webhooks"),
        (DEV, {"gateway": {"settings": {"webhooks": [{**HOOK, "ulr": "x"}]}}}, "ulr"),
    ],
)
def test_what_does_not_go_together_is_refused_with_a_remedy(base: Any, change: Any, says: str) -> None:
    assert says in refusal(_merge(base, change))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"servers": {}}, "additional properties 'servers' not allowed"),
        ({"server": {"foo": 1}}, "additional properties 'foo' not allowed"),
        ({"server": {"service": {"type": "ExternalName"}}}, "/server/service/type"),
        ({"server": {"service": {"port": 0}}}, "/server/service/port"),
        ({"server": {"image": {"tag": "latest"}}}, "/server/image/tag"),
        ({"server": {"image": {"digest": "abc"}}}, "/server/image/digest"),
        ({"server": {"ingress": {"enabled": True}}}, "/server/ingress"),
        ({"server": {"httpRoute": {"enabled": True}}}, "/server/httpRoute/parentRefs"),
        ({"server": {"autoscaling": {"minReplicas": 1}}}, "/server/autoscaling/minReplicas"),
        ({"server": {"autoscaling": {"mode": "both"}}}, "/server/autoscaling/mode"),
        ({"server": {"autoscaling": {"cpuUtilization": None}}}, "/server/autoscaling"),
        ({"server": {"clients": [{"namespace": "a", "cidr": "10.0.0.0/8"}]}}, "/server/clients/0"),
        ({"server": {"egress": {"extra": [{"namespace": "a"}]}}}, "missing property 'ports'"),
        ({"server": {"pod": {"resources": {"memory": "1Gi"}}}}, "/server/pod/resources"),
        ({"resources": []}, "/resources"),
        ({"resources": [{"id": "a b", "kind": "ticker", "price_per_second": 1}]}, "/resources/0/id"),
        ({"resources": [{"id": "a", "kind": "ticker", "price_per_second": 0}]}, "/resources/0/price_per_second"),
        ({"resources": [{"id": "a", "kind": "ticker", "price_per_second": 1.5}]}, "/resources/0/price_per_second"),
        ({"resources": [{"id": "a", "kind": "http", "price_per_second": 1}]}, "missing property 'target'"),
        ({"networks": {"evm": [{**EVM, "merchant_private_key": "0x1"}]}}, "'merchant_private_key' not allowed"),
        ({"networks": {"solana": [{"network": "base"}]}}, "/networks/solana/0/network"),
        ({"secrets": {"vault": {"address": "vault:8200"}}}, "/secrets/vault/address"),
        ({"secrets": {"vault": {"address": "http://vault:8200"}}}, "the keys would pass in the clear"),
        ({"secrets": {"vault": {"caBundle": "-----BEGIN CERTIFICATE-----\nPRIVATE KEY"}}}, "/secrets/vault/caBundle"),
        ({"secrets": {"key": "0x1"}}, "additional properties 'key' not allowed"),
        ({"identity": {"alsoAllow": ["*/*"]}}, "/identity/alsoAllow/0"),
        ({"tls": {"mode": "off"}}, "/tls/mode"),
        ({"tls": {"mode": "none", "mutual": True}}, "/tls/mutual"),
        ({"tls": {"mode": "none", "clientCertificate": True}}, "/tls/clientCertificate"),
        ({"tls": {"mode": "certManager"}}, "/tls/certManager/issuerRef"),
        ({"networkPolicy": {"dns": []}}, "/networkPolicy/dns"),
        ({"gateway": {"database": {"size": "much"}}}, "/gateway/database/size"),
        ({"server": {"autoscaling": {"cpuUtilization": None, "sessionsPerPod": None}}}, "/server/autoscaling"),
        ({"commonLabels": {"a b": "c"}}, "/commonLabels"),
        ({"fullnameOverride": "1shop"}, "/fullnameOverride"),
        ({"server": {"clients": [{"cidr": "10.0.0.256/8"}]}}, "/server/clients/0/cidr"),
        ({"server": {"clients": [{"cidr": "10.0.0.0/33"}]}}, "/server/clients/0/cidr"),
        ({"server": {"clients": [{"namespace": "Shop"}]}}, "/server/clients/0/namespace"),
        ({"server": {"existingSecret": "My Secret"}}, "/server/existingSecret"),
        ({"ops": {"subjects": [{"kind": "Robot", "name": "a"}]}}, "/ops/subjects/0/kind"),
    ],
)
def test_the_schema_names_the_value_that_is_wrong(change: Any, says: str) -> None:
    assert says in refusal(_merge(DEV, change))


@pytest.mark.parametrize("path", ["gateway", "server.pod", "server.image.tag", "tls.mode", "commonLabels", "resources"])
def test_a_null_in_place_of_a_default_is_refused_by_its_name(path: str) -> None:
    change: Any = None
    for name in reversed(path.split(".")):
        change = {name: change}
    told = refusal(_merge(DEV, change))
    *above, name = path.split(".")
    assert f"at '{''.join(f'/{each}' for each in above)}'" in told
    assert f"'{name}'" in told


def test_a_null_that_means_by_default_is_none() -> None:
    values = {"server": {"autoscaling": {"sessionsPerPod": None}, "terminationGracePeriodSeconds": None}}
    (scaler,) = kinds(render(_merge(DEV, values)), "HorizontalPodAutoscaler")
    assert len(scaler["spec"]["metrics"]) == 1


@pytest.mark.parametrize(
    "values",
    [
        {"commonLabels": {"app.kubernetes.io/name": "foo"}},
        {"commonLabels": {"ws402/receives-traffic": "false"}},
        {"server": {"pod": {"labels": {"app.kubernetes.io/component": "gateway"}}}},
        {"gateway": {"pod": {"labels": {"app.kubernetes.io/instance": "foo"}}}},
        {"devchain": {"pod": {"labels": {"helm.sh/chart": "foo"}}}},
        {"metrics": {"monitors": {"labels": {"app.kubernetes.io/managed-by": "foo"}}}},
        {"metrics": {"rules": {"labels": {"app.kubernetes.io/version": "1"}}}},
        {"metrics": {"dashboards": {"labels": {"app.kubernetes.io/name": "foo"}}}},
        {"server": {"pod": {"annotations": {"checksum/config": "0"}}}},
    ],
)
def test_labels_that_the_chart_selects_by_cannot_be_set(values: Any) -> None:
    told = refusal(_merge(DEV, values))
    assert "is set by the chart" in told
    assert "Take it away" in told


def test_one_label_in_two_places_is_refused() -> None:
    told = refusal({**DEV, "commonLabels": {"team": "a"}, "server": {"pod": {"labels": {"team": "b"}}}})
    assert "server.pod.labels: the label 'team' is among commonLabels" in told


@pytest.mark.parametrize(
    ("release", "namespace", "says"),
    [
        ("a" * 50, "shop", "at most 40 characters. Set fullnameOverride"),
        ("a" * 35, "shop", "at most 40 characters. Set fullnameOverride"),
        ("ws402" + "b" * 40, "shop", "at most 40 characters. Set fullnameOverride"),
        ("1shop", "shop", "must begin with a letter"),
        ("shop.eu", "shop", "letters, digits and hyphens only"),
        ("ws402", "n" * 56, "has at most 63 characters. Set gateway.namespace.name"),
    ],
)
def test_names_that_kubernetes_would_refuse_or_cut_to_the_same_are_refused(
    release: str, namespace: str, says: str
) -> None:
    assert says in refusal(DEV, release=release, namespace=namespace)


def test_the_longest_names_are_valid_ones() -> None:
    documents = render({**DEV, "metrics": {"adapter": {"enabled": True}}}, release="a" * 34, namespace="n" * 55)
    for each in documents:
        limit = 63 if each["kind"] in ("Service", "Namespace") else 253
        assert len(each["metadata"]["name"]) <= limit
        assert all(len(value) <= 63 for value in each["metadata"]["labels"].values())


@pytest.mark.parametrize(
    "attempt",
    [
        {"service": {"type": "LoadBalancer"}},
        {"ingress": {"enabled": True}},
        {"httpRoute": {"enabled": True}},
        {"hostNetwork": True},
        {"clients": [{"cidr": "0.0.0.0/0"}]},
        {"pod": {"hostPort": 4029}},
    ],
)
def test_a38_no_value_exposes_the_gateway(attempt: dict[str, Any]) -> None:
    assert "not allowed" in refusal(_merge(DEV, {"gateway": attempt}))


def test_no_value_stands_in_the_templates_that_the_defaults_do_not_have() -> None:
    """A template that reads a value nobody documents would be a hidden switch."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    for path in [*CHART.rglob("templates/**/*.yaml"), *CHART.rglob("templates/**/*.tpl")]:
        for found in re.findall(r"\.Values((?:\.[A-Za-z]+)+)", path.read_text()):
            at: Any = values
            for name in found.strip(".").split("."):
                assert isinstance(at, dict), f"{path.name}: {found}"
                assert name in at, f"{path.name}: {found}"
                at = at[name]
