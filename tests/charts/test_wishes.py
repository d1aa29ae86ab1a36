"""What whoever runs a cluster may want otherwise: where and how pods run, who they are, what comes beside them."""

from __future__ import annotations

from typing import Any

import pytest
from tests.charts.chart import DEV, kinds, one, pods, refusal, render

SIDECAR = {"name": "proxy", "image": "registry.example/proxy:1"}
SPREAD = {"maxSkew": 2, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"}
POD: dict[str, Any] = {
    "topologySpreadConstraints": [SPREAD],
    "runtimeClassName": "gvisor",
    "hostAliases": [{"ip": "203.0.113.7", "hostnames": ["rpc.internal"]}],
    "dnsConfig": {"options": [{"name": "ndots", "value": "2"}]},
    "probes": {"startup": {"failureThreshold": 400}, "liveness": {"timeoutSeconds": 9, "initialDelaySeconds": 3}},
    "initContainers": [{"name": "before", "image": "registry.example/before:1"}],
    "extraContainers": [SIDECAR],
    "extraEnvFrom": [{"configMapRef": {"name": "proxies"}}],
}
WISHES: dict[str, Any] = {
    "devchain": {"enabled": True, "pod": POD},
    "server": {"pod": POD, "revisionHistoryLimit": 3, "strategy": {"rollingUpdate": {"maxSurge": 1}}},
    "gateway": {"pod": POD, "revisionHistoryLimit": 4},
}


def test_pods_run_as_whoever_runs_the_cluster_wants() -> None:
    documents = render(WISHES)
    workloads = [each for each in pods(documents) if not each[0].startswith("Pod/")]
    assert len(workloads) == 3
    for name, pod in workloads:
        spec = pod["spec"]
        (spread,) = spec["topologySpreadConstraints"]
        assert spread.items() >= SPREAD.items(), name
        assert spread["labelSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items(), name
        assert spec["runtimeClassName"] == "gvisor", name
        assert (spec["hostAliases"], spec["dnsConfig"]) == (POD["hostAliases"], POD["dnsConfig"]), name
        assert [each["name"] for each in spec["initContainers"]] == ["before"], name
        own, beside = spec["containers"]
        assert beside == SIDECAR, name
        assert own["envFrom"] == POD["extraEnvFrom"], name
        assert (own["startupProbe"]["failureThreshold"], own["startupProbe"]["periodSeconds"]) == (400, 1), name
        assert (own["livenessProbe"]["timeoutSeconds"], own["livenessProbe"]["initialDelaySeconds"]) == (9, 3), name


def test_rollouts_go_as_wanted() -> None:
    documents = render(WISHES)
    server = one(documents, "Deployment", "ws402-server")["spec"]
    assert server["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert server["revisionHistoryLimit"] == 3
    assert one(documents, "StatefulSet", "ws402-gateway")["spec"]["revisionHistoryLimit"] == 4
    recreate = render({"gateway": {"strategy": {"type": "Recreate"}}}, example="postgresql")
    assert one(recreate, "Deployment", "ws402-gateway")["spec"]["strategy"] == {"type": "Recreate"}


def test_servers_may_be_accounts_that_are_there_already_and_the_gateway_knows_them() -> None:
    account = {"create": False, "name": "till"}
    documents = render({**DEV, "server": {"serviceAccount": account}, "gateway": {"serviceAccount": {"name": "vault"}}})
    accounts = {each["metadata"]["name"] for each in kinds(documents, "ServiceAccount")}
    assert "till" not in accounts
    assert "ws402-server" not in accounts
    assert "vault" in accounts
    config = one(documents, "ConfigMap", "ws402-gateway")["data"]["gateway.toml"]
    assert 'allow = ["ws402/till"]' in config
    used = {name: pod["spec"]["serviceAccountName"] for name, pod in pods(documents)}
    assert used["Deployment/ws402-server"] == used["Pod/ws402-test-connection"] == "till"
    assert used["StatefulSet/ws402-gateway"] == "vault"
    assert "/server/serviceAccount/name" in refusal({**DEV, "server": {"serviceAccount": {"create": False}}})


@pytest.mark.parametrize("field", ["runAsUser", "runAsGroup", "fsGroup"])
def test_the_cluster_may_give_pods_their_user_which_is_never_root(field: str) -> None:
    for _, pod in pods(render({**DEV, "securityContext": {field: None}})):
        security = pod["spec"]["securityContext"]
        assert field not in security
        assert security["runAsNonRoot"] is True
        assert len({"runAsUser", "runAsGroup", "fsGroup"} & set(security)) == 2
    assert f"/securityContext/{field}" in refusal({**DEV, "securityContext": {field: 0}})


def test_objects_of_ones_own_come_with_the_release() -> None:
    written = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": '{{ include "ws402.fullname" . }}-mine'},
        "data": {"a": "b"},
    }
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: text}\ndata: {ns: '{{ .Release.Namespace }}'}"
    documents = render({**DEV, "extraObjects": [written, text]})
    assert one(documents, "ConfigMap", "ws402-mine")["data"] == {"a": "b"}
    assert one(documents, "ConfigMap", "text")["data"] == {"ns": "ws402"}


def test_the_pods_of_helm_test_have_the_resources_that_are_given() -> None:
    limits = {"cpu": "200m", "memory": "100Mi"}
    documents = render({**DEV, "tests": {"resources": {"limits": limits}}})
    for name, pod in pods(documents):
        if name.startswith("Pod/"):
            assert pod["spec"]["containers"][0]["resources"]["limits"].items() >= limits.items()


def test_the_development_chain_is_kept_on_a_volume_that_outlives_the_release() -> None:
    kept = {"devchain": {"enabled": True, "persistence": {"enabled": True, "size": "3Gi", "storageClassName": "fast"}}}
    documents = render(kept)
    claim = one(documents, "PersistentVolumeClaim", "ws402-devchain")
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert claim["spec"]["storageClassName"] == "fast"
    assert claim["spec"]["resources"]["requests"] == {"storage": "3Gi"}
    pod = one(documents, "Deployment", "ws402-devchain")["spec"]["template"]["spec"]
    (own,) = pod["containers"]
    assert "--state=/data/chain.db" in own["args"]
    assert {"name": "data", "mountPath": "/data"} in own["volumeMounts"]
    assert {"name": "data", "persistentVolumeClaim": {"claimName": "ws402-devchain"}} in pod["volumes"]


def test_the_development_chain_takes_a_claim_that_is_there_and_none_when_it_is_not_kept() -> None:
    mine = render({"devchain": {"enabled": True, "persistence": {"enabled": True, "existingClaim": "mine"}}})
    pod = one(mine, "Deployment", "ws402-devchain")["spec"]["template"]["spec"]
    assert {"name": "data", "persistentVolumeClaim": {"claimName": "mine"}} in pod["volumes"]
    for documents in (mine, render(DEV)):
        assert not kinds(documents, "PersistentVolumeClaim")
    (own,) = one(render(DEV), "Deployment", "ws402-devchain")["spec"]["template"]["spec"]["containers"]
    assert not [each for each in own["args"] if "state" in each]
