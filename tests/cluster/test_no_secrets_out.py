"""A46: keys are where they must be, and nowhere else that anybody with rights to read logs and objects could see."""

from __future__ import annotations

import base64
import re

import pytest
from tests.cluster.kube import get, kubectl
from tests.cluster.release import Release

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")


def words(release: Release) -> dict[str, str]:
    """Every secret value of both namespaces, plain and in base64, by where it is."""
    found = {}
    for namespace in (release.namespace, release.private):
        for secret in get("-n", namespace, "secrets"):
            if secret["type"].startswith("helm.sh/"):
                continue  # what Helm keeps of the release, itself a Secret
            for key, value in secret.get("data", {}).items():
                plain = base64.b64decode(value).decode()
                if key == "ca.crt" or key.endswith(".crt"):
                    continue  # certificates are public
                lines = [line for line in plain.splitlines() if len(line) >= 32 and "-----" not in line]
                for line in lines:
                    found[f"{secret['metadata']['name']}/{key}"] = line.removeprefix("0x")
    return found


def everything(namespace: str) -> str:
    """All objects of a namespace but the Secrets themselves."""
    kinds = kubectl("api-resources", "--namespaced", "--verbs=list", "-o", "name").split()
    listed = ",".join(kind for kind in kinds if kind != "secrets" and "metrics" not in kind)
    return kubectl("-n", namespace, "get", listed, "-o", "yaml", "--ignore-not-found")


def test_a46_no_object_shows_a_key(release: Release) -> None:
    secret = words(release)
    assert len(secret) >= 3, "there are no secrets, so this proves nothing"
    for namespace in (release.namespace, release.private):
        shown = everything(namespace)
        assert "kind: Pod" in shown
        assert not PEM.search(shown)
        for where, word in secret.items():
            assert word not in shown, f"an object of {namespace} shows {where}"
            assert base64.b64encode(word.encode()).decode()[:40] not in shown, f"an object of {namespace} shows {where}"


def test_a46_no_log_shows_a_key(release: Release) -> None:
    """The dev chain's own log is left out: it lists its accounts' keys, which everybody knows."""
    secret = words(release)
    for component in ("server", "gateway"):
        for pod in release.pods(component):
            name = pod["metadata"]["name"]
            log = kubectl("-n", pod["metadata"]["namespace"], "logs", name, "--all-containers")
            assert log.strip(), f"{name} has no log, so this proves nothing"
            assert not PEM.search(log)
            for where, word in secret.items():
                assert word not in log, f"the log of {name} shows {where}"
            assert not re.search(r"\beyJ[A-Za-z0-9_-]{20,}\.", log), f"the log of {name} has a token"


def test_a46_no_environment_has_a_key(release: Release) -> None:
    secret = words(release)
    look = (
        "import os,sys; print(open('/proc/1/environ').read() + open('/proc/1/cmdline').read() + str(dict(os.environ)))"
    )
    for component in ("server", "gateway"):
        pod = release.pods(component)[0]
        said = kubectl("-n", pod["metadata"]["namespace"], "exec", pod["metadata"]["name"], "--", "python", "-c", look)
        for where, word in secret.items():
            assert word not in said, f"the environment of a {component} shows {where}"
