"""Who reaches whom by the rendered NetworkPolicies, as the API documents them; ports by number, TCP.

https://kubernetes.io/docs/concepts/services-networking/network-policies/
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.charts.chart import Document


@dataclass(frozen=True)
class Place:
    """A pod (namespace and labels) or an address outside."""

    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    address: str = ""


def pod(namespace: str, **labels: str) -> Place:
    """A pod with app.kubernetes.io/<name> labels; `bare` ones by `Place`."""
    return Place(namespace, {f"app.kubernetes.io/{name}": value for name, value in labels.items()})


def own(component: str, namespace: str = "ws402") -> Place:
    """A pod of the release."""
    return pod(namespace, name="ws402", instance="ws402", component=component)


def reaches(documents: Iterable[Document], source: Place, target: Place, port: int, protocol: str = "TCP") -> bool:
    """Both ends must allow a connection; a pod that no policy selects allows everything in that direction."""
    policies = [each for each in documents if each["kind"] == "NetworkPolicy"]
    return _allows(policies, source, target, port, protocol, "Egress") and _allows(
        policies, target, source, port, protocol, "Ingress"
    )


def _allows(policies: list[Document], own: Place, peer: Place, port: int, protocol: str, direction: str) -> bool:
    if own.address:
        return True
    selecting = [
        each
        for each in policies
        if each["metadata"]["namespace"] == own.namespace
        and direction in each["spec"]["policyTypes"]
        and _matches(each["spec"]["podSelector"], own.labels)
    ]
    if not selecting:
        return True
    rules = "egress" if direction == "Egress" else "ingress"
    peers = "to" if direction == "Egress" else "from"
    return any(
        any(_is(each, peer, policy["metadata"]["namespace"]) for each in rule[peers])
        and any(each["port"] == port and each["protocol"] == protocol for each in rule["ports"])
        for policy in selecting
        for rule in policy["spec"].get(rules, [])
    )


def _is(peer: Mapping[str, Any], place: Place, namespace: str) -> bool:
    if "ipBlock" in peer:
        if not place.address:
            return False
        address = ipaddress.ip_address(place.address)
        block = peer["ipBlock"]
        inside = address in ipaddress.ip_network(block["cidr"])
        return inside and not any(address in ipaddress.ip_network(each) for each in block.get("except", []))
    if place.address:
        return False
    if "namespaceSelector" in peer:
        if not _matches(peer["namespaceSelector"], {"kubernetes.io/metadata.name": place.namespace}):
            return False
    elif place.namespace != namespace:
        return False
    return _matches(peer.get("podSelector", {}), place.labels)


def _matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    assert "matchExpressions" not in selector, "the chart does not use these"
    return all(labels.get(name) == value for name, value in selector.get("matchLabels", {}).items())
