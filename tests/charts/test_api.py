"""Every document is valid for the oldest Kubernetes that the chart takes and for a current one, without unknown fields.

kubeconform checks; the package kubernetes-validate has the API's schemas; those of other projects' kinds are in crds/.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest
from tests.charts.chart import DEV, EXAMPLES, VERSIONS, kinds, render, text
from tests.charts.test_edges import MONITORS
from tests.charts.test_wishes import WISHES

CRDS = Path(__file__).parent / "crds"
EVERYTHING = {
    **DEV,
    "tls": {"mutual": True},
    "ops": {"subjects": [{"kind": "User", "name": "a", "apiGroup": "rbac.authorization.k8s.io"}]},
    "metrics": {
        "adapter": {"enabled": True},
        "monitors": {"kind": "ServiceMonitor", **MONITORS},
        "scrapeConfig": {"enabled": True},
        "rules": {"enabled": True},
        "dashboards": {"enabled": True},
    },
    "ipFamilyPolicy": "PreferDualStack",
    "server": {
        "autoscaling": {"sessionsPerPod": 100},
        **WISHES["server"],
        "clients": [{"cidr": "0.0.0.0/0"}],
        "service": {"type": "LoadBalancer", "loadBalancerClass": "a.b/c", "externalTrafficPolicy": "Local"},
        "ingress": {"enabled": True, "hosts": [{"host": "a.example", "paths": [{"path": "/a"}]}]},
    },
    "gateway": WISHES["gateway"],
    "devchain": WISHES["devchain"],
}

_REFERENCE = re.compile(r'"\$ref": "[^"]*#/\$defs/([^"]+)"')

Check = Callable[[str, str], subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def kubeconform(tmp_path_factory: pytest.TempPathFactory) -> Check:
    program = shutil.which("kubeconform")
    if program is None:
        pytest.skip("no kubeconform on PATH: the chart was not checked against the API")
    folders: dict[str, Path] = {}

    def schemas(kube: str) -> Path:
        """The package's schemas of our kinds, with the definitions that they use and references that are file names."""
        if kube not in folders:
            folders[kube] = tmp_path_factory.mktemp(f"api-{kube}")
            packed = Path(str(files("kubernetes_validate"))) / "kubernetes-json-schema" / f"v{kube}-local-strict"
            ours = {each["kind"].lower() for each in render(EVERYTHING)} | {"deployment", "ingress"}
            used = set[str]()
            for path in packed.glob("*.json"):
                if path.name.partition("-")[0] in ours:
                    schema = re.sub(r'"\$id": "https://kubernetes\.io[^"]*"', '"$comment": ""', path.read_text())
                    used |= set(_REFERENCE.findall(schema))
                    (folders[kube] / path.name).write_text(
                        schema.replace('"/api/_definitions.json', '"_definitions.json')
                    )
            every = json.loads((packed / "_definitions.json").read_text())["$defs"]
            wanted = list(used)
            for name in wanted:  # it grows
                wanted += set(_REFERENCE.findall(json.dumps(every[name]))) - set(wanted)
            definitions = {"$defs": {name: every[name] for name in wanted}}
            (folders[kube] / "_definitions.json").write_text(json.dumps(definitions))
        return folders[kube]

    def check(documents: str, kube: str) -> subprocess.CompletedProcess[str]:
        kube = ".".join([*kube.split(".")[:2], "0"])
        where = [f"{folder}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json" for folder in (schemas(kube), CRDS)]
        arguments = [each for location in where for each in ("-schema-location", location)]
        command = [program, "-strict", "-kubernetes-version", kube, *arguments, "-"]
        return subprocess.run(command, check=False, input=documents, capture_output=True, text=True, timeout=120)

    return check


@pytest.mark.parametrize("kube", VERSIONS)
def test_examples_are_valid(kubeconform: Check, kube: str) -> None:
    done = kubeconform("\n---\n".join(text(example=example, kube=kube) for example in EXAMPLES), kube)
    assert (done.returncode, done.stdout) == (0, "")


def test_everything_that_can_be_switched_on_is_valid(kubeconform: Check) -> None:
    assert kinds(render(EVERYTHING), "PrometheusRule", "ServiceMonitor", "Role")
    done = kubeconform(text(EVERYTHING), VERSIONS[-1])
    assert (done.returncode, done.stdout) == (0, "")


def test_an_unknown_field_is_found(kubeconform: Check) -> None:
    done = kubeconform(text().replace("unhealthyPodEvictionPolicy", "unhealthyPodPolicy"), VERSIONS[-1])
    assert done.returncode == 1
    assert "unhealthyPodPolicy" in done.stdout
