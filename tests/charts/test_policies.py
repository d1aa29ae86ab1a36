"""The NetworkPolicies of the chart: what may talk to what, and that nothing else may."""

from __future__ import annotations

import pytest
from tests.charts.chart import EXAMPLES, kinds, pods, render
from tests.charts.reach import Place, own, pod, reaches

SERVER, GATEWAY, CHAIN, TEST = own("server"), own("gateway", "ws402-private"), own("devchain"), own("test")
BARE = Place("ws402")
NEIGHBOUR = Place("ws402-private")
STRANGER = pod("shop", name="ws402", instance="ws402", component="server")
OTHER_RELEASE = pod("ws402", name="ws402", instance="other", component="server")
PROMETHEUS = pod("monitoring", name="prometheus")
DNS = Place("kube-system", {"k8s-app": "kube-dns"})
FAKE_DNS, NOT_DNS = Place("shop", {"k8s-app": "kube-dns"}), Place("kube-system", {"k8s-app": "other"})
OUTSIDE = Place(address="198.51.100.9")
API_SERVER = Place(address="10.96.0.1")


@pytest.mark.parametrize(
    ("source", "target", "port", "may"),
    [
        (SERVER, GATEWAY, 4029, True),
        (TEST, GATEWAY, 4029, False),
        (BARE, GATEWAY, 4029, False),
        (OTHER_RELEASE, GATEWAY, 4029, False),
        (STRANGER, GATEWAY, 4029, False),
        (NEIGHBOUR, GATEWAY, 4029, False),
        (CHAIN, GATEWAY, 4029, False),
        (PROMETHEUS, GATEWAY, 4029, False),
        (OUTSIDE, GATEWAY, 4029, False),
        (SERVER, GATEWAY, 9464, False),
        (PROMETHEUS, GATEWAY, 9464, True),
        (PROMETHEUS, SERVER, 9464, True),
        (STRANGER, SERVER, 9464, False),
        (TEST, SERVER, 4030, True),
        (STRANGER, SERVER, 4030, False),
        (OUTSIDE, SERVER, 4030, False),
        (GATEWAY, SERVER, 4030, False),
        (GATEWAY, CHAIN, 8545, True),
        (TEST, CHAIN, 8545, True),
        (SERVER, CHAIN, 8545, False),
        (STRANGER, CHAIN, 8545, False),
        (GATEWAY, API_SERVER, 443, True),
        (SERVER, API_SERVER, 443, False),
        (GATEWAY, OUTSIDE, 443, False),
        (SERVER, OUTSIDE, 443, False),
        (CHAIN, OUTSIDE, 443, False),
        (TEST, OUTSIDE, 443, False),
        (NEIGHBOUR, OUTSIDE, 443, False),
        (SERVER, pod("vault", name="vault"), 8200, False),
        (SERVER, Place("postgres"), 5432, False),
    ],
    ids=lambda each: (
        f"{each.namespace or each.address}/{'-'.join(each.labels.values())}" if isinstance(each, Place) else None
    ),
)
def test_who_reaches_whom_in_a_trial(source: Place, target: Place, port: int, may: bool) -> None:
    assert reaches(render(), source, target, port) is may


@pytest.mark.parametrize("source", [SERVER, GATEWAY, TEST], ids=["server", "gateway", "test"])
def test_dns_is_the_clusters_own(source: Place) -> None:
    documents = render()
    assert reaches(documents, source, DNS, 53, "UDP")
    assert reaches(documents, source, DNS, 53)
    assert not reaches(documents, source, FAKE_DNS, 53, "UDP")
    assert not reaches(documents, source, NOT_DNS, 53, "UDP")
    assert not reaches(documents, source, DNS, 443)


def test_a38_in_production_only_the_gateway_reaches_keys_and_chains() -> None:
    documents = render(example="single-region")
    vault, rpc = pod("vault", name="vault"), Place(address="203.0.113.7")
    ingress, quotes = pod("ingress-nginx", name="ingress-nginx"), Place("market", {"app": "quotes"})
    assert reaches(documents, GATEWAY, vault, 8200)
    assert reaches(documents, GATEWAY, rpc, 443)
    assert not reaches(documents, GATEWAY, rpc, 80)
    assert not reaches(documents, GATEWAY, Place("vault"), 8200)
    assert not reaches(documents, GATEWAY, quotes, 9000)
    assert not reaches(documents, GATEWAY, OUTSIDE, 443)
    assert not reaches(documents, SERVER, vault, 8200)
    assert not reaches(documents, SERVER, rpc, 443)
    assert reaches(documents, SERVER, quotes, 9000)
    assert reaches(documents, ingress, SERVER, 4030)
    assert not reaches(documents, ingress, GATEWAY, 4029)


def test_servers_do_not_reach_the_ledger() -> None:
    documents = render(example="postgresql")
    ledger = Place("postgres", {"cnpg.io/cluster": "ws402"})
    assert reaches(documents, GATEWAY, ledger, 5432)
    assert not reaches(documents, SERVER, ledger, 5432)


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_pod_is_denied_by_default_in_both_directions(example: str) -> None:
    documents = render(example=example)
    for name, each in pods(documents):
        place = Place(each["metadata"]["namespace"], each["metadata"]["labels"])
        nowhere = Place("nowhere")
        assert not reaches(documents, place, nowhere, 1), name
        assert not reaches(documents, nowhere, place, 1), name


@pytest.mark.parametrize("example", EXAMPLES)
def test_no_policy_allows_everything(example: str) -> None:
    """A rule without peers or ports would; a default deny has no rules."""
    for policy in kinds(render(example=example), "NetworkPolicy"):
        for rule in policy["spec"].get("ingress", []):
            assert rule["from"], policy["metadata"]["name"]
            assert rule["ports"], policy["metadata"]["name"]
        for rule in policy["spec"].get("egress", []):
            assert rule["to"], policy["metadata"]["name"]
            assert rule["ports"], policy["metadata"]["name"]


def test_without_its_policies_the_matrix_says_otherwise() -> None:
    """So it can fail: what is denied above is denied by a policy."""
    documents = render({"devchain": {"enabled": True}, "networkPolicy": {"enabled": False}})
    assert not kinds(documents, "NetworkPolicy")
    assert reaches(documents, STRANGER, GATEWAY, 4029)
