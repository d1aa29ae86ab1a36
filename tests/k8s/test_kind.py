"""`make kind-up` and `make kind-down`, with commands that only write down what they were told; and their files."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
K8S = ROOT / "k8s"
SCRIPT = """#!/bin/sh
echo "{name} $*" >>"{folder}/calls"
case "{name} $*" in
"kind version") echo "kind v{version} go1.24 linux/amd64" ;;
"kind get clusters") cat "{folder}/clusters" ;;
"kind create"*) echo ws402 >"{folder}/clusters" ;;
esac
"""


@pytest.fixture
def commands(tmp_path: Path) -> Path:
    return make_commands(tmp_path, "0.30.0")


def make_commands(folder: Path, version: str) -> Path:
    (folder / "clusters").touch()
    for name in ("kind", "kubectl", "helm", "docker"):
        command = folder / name
        command.write_text(SCRIPT.format(name=name, folder=folder, version=version))
        command.chmod(0o755)
    return folder


def run(folder: Path, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": f"{folder}:{os.environ['PATH']}", "HOME": str(folder)}
    return subprocess.run([str(K8S / script), *arguments], env=environment, capture_output=True, text=True, check=False)


def calls(folder: Path) -> list[str]:
    return (folder / "calls").read_text().splitlines()


def documents() -> list[dict[str, Any]]:
    return [each for path in sorted((K8S / "dev").glob("*.yaml")) for each in yaml.safe_load_all(path.read_text())]


def test_up_makes_a_cluster_brings_the_images_into_it_and_starts_the_services(commands: Path) -> None:
    done = run(commands, "kind-up", "v7")
    assert done.returncode == 0, done.stderr
    said = calls(commands)
    create = said.index("kind create cluster --config k8s/kind.yaml --wait 120s")
    loads = [i for i, call in enumerate(said) if call.startswith("kind load image-archive")]
    apply = said.index("kubectl apply -k k8s/dev")
    assert len(loads) == 3
    assert create < loads[0] < apply
    assert [call.rsplit(" ", 1)[1] for call in said if call.startswith("docker save")] == [
        "ws402-server:v7", "ws402-gateway:v7", "ws402-devchain:v7",
    ]  # fmt: skip
    assert "helm install ws402 charts/ws402" in done.stdout


def test_up_again_keeps_the_cluster(commands: Path) -> None:
    run(commands, "kind-up")
    assert run(commands, "kind-up").returncode == 0
    assert sum(call.startswith("kind create") for call in calls(commands)) == 1


def test_up_refuses_a_kind_that_does_not_enforce_network_policy(tmp_path: Path) -> None:
    done = run(make_commands(tmp_path, "0.23.0"), "kind-up")
    assert done.returncode == 1
    assert "0.24 or newer" in done.stderr
    assert not any("create" in call for call in calls(tmp_path))


def test_down_removes_that_cluster_only(commands: Path) -> None:
    assert run(commands, "kind-down").returncode == 0
    assert calls(commands) == ["kind delete cluster --name ws402"]


def test_the_nodes_are_pinned_and_enough_for_a_drain() -> None:
    cluster = yaml.safe_load((K8S / "kind.yaml").read_text())
    assert cluster["name"] == "ws402"
    assert sum(node["role"] == "worker" for node in cluster["nodes"]) >= 2
    for node in cluster["nodes"]:
        assert re.fullmatch(r"kindest/node:v1\.\d+\.\d+@sha256:[0-9a-f]{64}", node["image"])


def test_every_service_of_development_is_pinned_restricted_and_listed() -> None:
    listed = yaml.safe_load((K8S / "dev/kustomization.yaml").read_text())
    files = {path.name for path in (K8S / "dev").glob("*.yaml")} - {"kustomization.yaml"}
    assert set(listed["resources"]) == files
    pinned = {each["name"] for each in listed["images"]}
    pods = [each["spec"]["template"]["spec"] for each in documents() if "template" in each.get("spec", {})]
    assert len(pods) == 5
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"]
        for container in pod["containers"]:
            assert container["image"] in pinned
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert not container["securityContext"]["allowPrivilegeEscalation"]
