"""Where things are, who is whose, and how pods start and stop."""

from __future__ import annotations

import re
import subprocess

import pytest
from tests.charts.chart import CHART, DEV, EXAMPLES, VERSIONS, Refused, helms, kinds, notes, one, pods, render

WORKLOADS = ("Deployment", "StatefulSet")
CLUSTER_WIDE = ("Namespace",)


@pytest.mark.parametrize("example", EXAMPLES)
def test_gateway_things_are_in_the_private_namespace_and_nothing_else_is(example: str) -> None:
    for each in render(example=example):
        if each["kind"] in CLUSTER_WIDE:
            continue
        component = each["metadata"]["labels"]["app.kubernetes.io/component"]
        expected = "ws402-private" if component == "gateway" else "ws402"
        assert each["metadata"]["namespace"] == expected, f"{each['kind']}/{each['metadata']['name']}"


def test_the_private_namespace_is_restricted_and_outlives_the_release() -> None:
    namespace = one(render(), "Namespace", "ws402-private")
    assert namespace["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_a_platform_team_may_make_the_namespace() -> None:
    documents = render({**DEV, "gateway": {"namespace": {"create": False, "name": "keys"}}})
    assert not kinds(documents, "Namespace")
    assert one(documents, "StatefulSet", "ws402-gateway")["metadata"]["namespace"] == "keys"


@pytest.mark.parametrize("example", EXAMPLES)
def test_each_selector_selects_one_set_of_pods(example: str) -> None:
    documents = render(example=example)
    every = pods(documents)
    for each in kinds(documents, *WORKLOADS, "Service", "PodDisruptionBudget"):
        selector = each["spec"]["selector"]
        labels = selector.get("matchLabels", selector)
        selected = {
            name
            for name, pod in every
            if pod["metadata"]["namespace"] == each["metadata"]["namespace"]
            and labels.items() <= pod["metadata"]["labels"].items()
        }
        assert len(selected) == 1, f"{each['kind']}/{each['metadata']['name']} selects {selected}"


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_name_that_is_mounted_or_run_as_exists(example: str) -> None:
    """Or is one that the user was asked for."""
    documents = render(example=example)
    made = {(each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"]) for each in documents}
    given = {"kube-root-ca.crt", "vault-ca", "internal-ca"}
    given |= {each["spec"]["secretName"] for each in kinds(documents, "Certificate")}
    given |= {each["spec"]["target"]["name"] for each in kinds(documents, "ExternalSecret")}
    if example in {"postgresql", "google-kms", "azure-keyvault", "pkcs11"}:
        given |= {"ws402-gateway", "ws402-hsm-pin"}  # the user's Secrets
    for name, pod in pods(documents):
        namespace = pod["metadata"]["namespace"]
        assert ("ServiceAccount", namespace, pod["spec"]["serviceAccountName"]) in made, name
        for volume in pod["spec"].get("volumes", []):
            sources = [volume, *volume.get("projected", {}).get("sources", [])]
            for source in sources:
                if "secret" in source:
                    secret = source["secret"]["secretName"]
                    assert ("Secret", namespace, secret) in made or secret in given, f"{name}: {secret}"
                if "configMap" in source:
                    config = source["configMap"]["name"]
                    assert ("ConfigMap", namespace, config) in made or config in given, f"{name}: {config}"


def test_the_gateway_is_one_on_sqlite_and_many_on_postgresql() -> None:
    sqlite = one(render(), "StatefulSet", "ws402-gateway")["spec"]
    assert sqlite["replicas"] == 1
    assert sqlite["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}
    assert sqlite["volumeClaimTemplates"][0]["spec"]["accessModes"] == ["ReadWriteOnce"]
    documents = render(example="postgresql")
    assert not kinds(documents, "StatefulSet")
    assert one(documents, "Deployment", "ws402-gateway")["spec"]["replicas"] == 3


def test_the_ledger_is_copied_on_a_schedule_where_somebody_says_so() -> None:
    assert not kinds(render(), "CronJob")
    backup = {"enabled": True, "schedule": "5 3 * * *", "keep": 7}
    documents = render({**DEV, "gateway": {"backup": backup}})
    spec = one(documents, "CronJob", "ws402-gateway-backup")["spec"]
    assert (spec["schedule"], spec["timeZone"], spec["concurrencyPolicy"]) == ("5 3 * * *", "Etc/UTC", "Forbid")
    pod = spec["jobTemplate"]["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    assert container["args"] == ["ledger", "backup", "/copies", "--keep", "7"]
    gateway = one(documents, "StatefulSet", "ws402-gateway")["spec"]
    assert container["image"] == gateway["template"]["spec"]["containers"][0]["image"]
    assert container["securityContext"] == gateway["template"]["spec"]["containers"][0]["securityContext"]
    assert pod["spec"]["securityContext"] == gateway["template"]["spec"]["securityContext"]
    assert [each["name"] for each in container["env"]] == ["DATABASE_URL"]
    # Beside the gateway, and never taken for it.
    (term,) = pod["spec"]["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term["labelSelector"]["matchLabels"] == gateway["selector"]["matchLabels"]
    assert not gateway["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    claims = {each["persistentVolumeClaim"]["claimName"] for each in pod["spec"]["volumes"] if "emptyDir" not in each}
    assert claims == {"data-ws402-gateway-0", "ws402-gateway-backup"}
    claim = one(documents, "PersistentVolumeClaim", "ws402-gateway-backup")
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    # A first copy at once: else a claim that waits for its first pod holds up `helm install --wait`.
    (first,) = kinds(documents, "Job")
    assert first["spec"]["template"] == pod
    again, other = (render({**DEV, "gateway": {"backup": backup, **more}}) for more in ({}, {"image": {"tag": "v2"}}))
    names = [kinds(each, "Job")[0]["metadata"]["name"] for each in (documents, again, other)]
    assert names[0] == names[1] != names[2]
    own = render({**DEV, "gateway": {"backup": {**backup, "existingClaim": "nightly"}}})
    assert not kinds(own, "PersistentVolumeClaim")
    with pytest.raises(Refused, match="pg_dump"):
        render({"gateway": {"backup": backup}}, example="postgresql")


@pytest.mark.parametrize("example", EXAMPLES)
def test_a38_the_gateway_cannot_be_reached_from_outside(example: str) -> None:
    documents = render(example=example)
    for each in kinds(documents, "Service"):
        if each["metadata"]["namespace"] == "ws402-private":
            assert each["spec"]["type"] == "ClusterIP"
    for each in kinds(documents, "Ingress", "HTTPRoute"):
        assert "gateway:" not in str(each["spec"]).replace("ws402-gateway", "gateway:")


def test_a_change_of_resources_restarts_nothing_and_a_change_of_settings_does() -> None:
    def checksum(values: dict[str, object]) -> str:
        template = one(render({**DEV, **values}), "Deployment", "ws402-server")["spec"]["template"]
        return str(template["metadata"]["annotations"]["checksum/config"])

    dearer = [{"id": "ticker", "kind": "ticker", "price_per_second": 7}]
    assert checksum({"resources": dearer}) == checksum({})
    assert checksum({"server": {"settings": {"ping_seconds": 20}}}) != checksum({})


@pytest.mark.parametrize(
    ("settings", "seconds"), [({}, 5 + 20 + 10 + 10), ({"drain_seconds": 90}, 115), ({"drain_seconds": 0}, 25)]
)
def test_a_server_gets_the_time_that_its_drain_needs(settings: dict[str, int], seconds: int) -> None:
    spec = one(render({**DEV, "server": {"settings": settings}}), "Deployment", "ws402-server")["spec"]["template"][
        "spec"
    ]
    assert spec["terminationGracePeriodSeconds"] == seconds


@pytest.mark.parametrize(
    ("settings", "seconds"), [({}, 40), ({"verify_wait_seconds": 25}, 45), ({"verify_wait_seconds": 0}, 40)]
)
def test_a_gateway_gets_the_time_that_its_answers_need(settings: dict[str, int], seconds: int) -> None:
    documents = render({**DEV, "gateway": {"settings": settings}})
    spec = one(documents, "StatefulSet", "ws402-gateway")["spec"]["template"]["spec"]
    assert spec["terminationGracePeriodSeconds"] == seconds


def test_before_the_end_a_pod_waits_until_proxies_forget_it() -> None:
    def containers(kube: str) -> list[dict[str, object]]:
        return [
            pod["spec"]["containers"][0]
            for name, pod in pods(render(kube=kube))
            if "server" in name or "gateway" in name
        ]

    assert all(each["lifecycle"] == {"preStop": {"sleep": {"seconds": 5}}} for each in containers(VERSIONS[-1]))
    assert not any("lifecycle" in each for each in containers(VERSIONS[0])), "1.29 refuses it"


def test_probes_are_told_apart() -> None:
    for name, pod in pods(render()):
        if "server" not in name and "gateway" not in name:
            continue
        container = pod["spec"]["containers"][0]
        paths = [container[f"{each}Probe"]["httpGet"]["path"] for each in ("startup", "readiness", "liveness")]
        assert paths == ["/health/startup", "/health/ready", "/health/live"]
        scheme = "HTTPS" if "gateway" in name else "HTTP"
        assert container["readinessProbe"]["httpGet"]["scheme"] == scheme


def test_digests_pull_secrets_and_everybodys_own_wishes_come_through() -> None:
    own = {
        "labels": {"team": "money"},
        "annotations": {"note": "mine"},
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "priorityClassName": "high",
        "extraEnv": [{"name": "TZ", "value": "UTC"}],
        "extraVolumes": [{"name": "films", "emptyDir": {}}],
        "extraVolumeMounts": [{"name": "films", "mountPath": "/films"}],
    }
    digest = "sha256:" + "0" * 64
    image = {"repository": "registry.example/ws402", "tag": "1.2.3", "digest": digest}
    component = {"pod": own, "image": image}
    documents = render(
        {
            "devchain": {"enabled": True, **component},
            "server": component,
            "gateway": component,
            "imagePullSecrets": [{"name": "registry"}],
            "commonLabels": {"cost-center": "7"},
        }
    )
    for name, pod in pods(documents):
        spec, container = pod["spec"], pod["spec"]["containers"][0]
        assert spec["imagePullSecrets"] == [{"name": "registry"}], name
        assert container["image"] == f"registry.example/ws402:1.2.3@{digest}", name
        if name.startswith("Pod/"):
            continue
        assert pod["metadata"]["labels"].items() >= {"team": "money", "cost-center": "7"}.items(), name
        assert pod["metadata"]["annotations"]["note"] == "mine", name
        assert (spec["nodeSelector"], spec["affinity"]) == ({"disk": "ssd"}, {"nodeAffinity": {}}), name
        assert (spec["tolerations"], spec["priorityClassName"]) == (own["tolerations"], "high"), name
        assert {"name": "TZ", "value": "UTC"} in container["env"], name
        assert {"name": "films", "mountPath": "/films"} in container["volumeMounts"], name
        assert {"name": "films", "emptyDir": {}} in spec["volumes"], name
    assert all(each["metadata"]["labels"]["cost-center"] == "7" for each in documents)


def test_the_chart_is_rendered_by_helm_3_and_by_helm_4() -> None:
    if len(helms()) < 2:
        pytest.skip("no helm4 on PATH: the chart was tested under Helm 3 only")
    versions = [subprocess.run([each, "version", "--short"], check=True, capture_output=True) for each in helms()]
    assert [each.stdout.decode().split(".")[0] for each in versions] == ["v3", "v4"]


def test_helm_has_no_remark() -> None:
    for helm in helms():
        arguments = ["lint", "--strict", "--kube-version", VERSIONS[-1], "--set", "devchain.enabled=true", str(CHART)]
        done = subprocess.run([helm, *arguments], check=False, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout
        assert "WARNING" not in done.stdout
        typo = [*arguments[:-1], "--set", "server.settings.drain_secods=3", arguments[-1]]
        done = subprocess.run([helm, *typo], check=False, capture_output=True, text=True, timeout=60)
        assert done.returncode == 1
        assert "drain_secods" in done.stdout + done.stderr


def test_another_release_has_other_names() -> None:
    names = {each["metadata"]["name"] for each in render(release="shop", namespace="shop")}
    assert {"shop-private", "shop-ws402-gateway", "shop-ws402-server"} <= names
    assert all(name.startswith("shop") for name in names)


def test_the_notes_are_loud_about_a_trial_and_name_real_things() -> None:
    documents = render()
    told = notes()
    assert "TRIAL ONLY" in told
    forwards = re.findall(r"-n (\S+) port-forward svc/(\S+)", told)
    assert len(forwards) == 2
    for namespace, name in forwards:
        assert one(documents, "Service", name)["metadata"]["namespace"] == namespace
    assert "TRIAL" not in notes(example="single-region")
    assert "ws402 ops --kube -n ws402 --release ws402 status" in told
    assert "UNSAFE" not in told
    assert "UNSAFE" in notes({**DEV, "networkPolicy": {"enabled": False}})
