"""From an empty cluster to the first paid session, by the commands of the README."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster.kube import get, helm, kubectl
from tests.cluster.release import ROOT, Release
from tests.fixtures.processes import free_port

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(420)]

LIMIT_SECONDS = 300
LIMIT_COMMANDS = 4


def commands() -> list[str]:
    """The README's, in order; a command that ends with `&` is one too."""
    section = (ROOT / "README.md").read_text().split("## Install on Kubernetes")[1]
    block = re.search(r"```sh\n(.*?)```", section, re.DOTALL)
    assert block, "the README does not show how to install on Kubernetes"
    joined = re.sub(r"\\\n\s*", " ", block.group(1))
    return [re.sub(r" +# .*", "", line).strip() for line in joined.splitlines() if line.strip()]


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """One shell for all commands, as a newcomer has; what it left running ends with it."""
    environment = {
        **os.environ,
        "HOME": str(tmp_path),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    with subprocess.Popen(
        ["bash"], cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, start_new_session=True,
    ) as process:  # fmt: skip
        yield process
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)


def test_four_commands_and_five_minutes_to_the_first_paid_session(bare: Release, shell: subprocess.Popen[str]) -> None:
    shown = commands()
    assert len(shown) <= LIMIT_COMMANDS
    assert "kind-up" in shown[0]  # the cluster and its images: here they are there already
    script = "\n".join(["set -e", "trap 'kill $(jobs -p)' EXIT", *shown[1:]])
    # The README's ports may be taken on this machine.
    for here, there in (("4030", ":80"), ("8545", ":8545")):
        free = str(free_port())
        script = script.replace(f"{here}{there}", f"{free}{there}").replace(f"127.0.0.1:{here}", f"127.0.0.1:{free}")
    began = time.monotonic()
    said, _ = shell.communicate(script + "\necho WENT-WELL\n", timeout=LIMIT_SECONDS)
    took = time.monotonic() - began
    assert "WENT-WELL" in said, said
    assert re.search(r"(?i)refund", said), said
    print(f"the newcomer's path took {took:.0f} s")
    assert took < LIMIT_SECONDS
    bare.balanced()


def test_helm_test_is_green(release: Release) -> None:
    said = helm("test", release.name, "-n", release.namespace, "--timeout=240s")
    assert said.count("Phase:          Succeeded") >= 3, said
    release.balanced()


def test_both_namespaces_are_as_they_should_be(release: Release) -> None:
    private = get("namespace", release.private)
    assert private["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert private["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    for component, namespace in (("server", release.namespace), ("gateway", release.private)):
        for pod in release.pods(component):
            assert pod["metadata"]["namespace"] == namespace
            assert not pod["spec"].get("automountServiceAccountToken")
    refused = kubectl(
        "-n", release.private, "run", "root", "--image=busybox", "--dry-run=server", "--", "true", check=False
    )
    assert "violates PodSecurity" in refused


def test_the_server_image_holds_no_way_to_money(release: Release) -> None:
    """No ledger, chain or key code, no library for them, no compiler, pip, Perl or setuid; only /tmp can be written."""
    pod = release.pods("server")[0]["metadata"]["name"]
    look = """
import importlib.metadata, importlib.util, os, shutil
names = {each.metadata["Name"].lower() for each in importlib.metadata.distributions(path=[
    path for path in __import__("sys").path if path.startswith("/opt/ws402")])}
for each in ("web3", "solders", "hvac", "sqlalchemy", "asyncpg", "eth-account", "boto3", "btclib-secp256k1", "pip"):
    assert each not in names, each
for each in ("web3", "sqlalchemy", "hvac", "solders", "ws402.gateway", "ws402.chains", "ws402.keys"):
    assert importlib.util.find_spec(each) is None, each
for each in ("gcc", "cc", "curl", "wget", "perl", "pip"):
    assert shutil.which(each) is None, each
for folder, _, files in os.walk("/usr"):
    for each in files:
        assert not os.lstat(os.path.join(folder, each)).st_mode & 0o6000, each
assert os.getuid() == os.getgid() == 65532
for each in ("/opt/app/x", "/etc/x", "/usr/x"):
    try:
        open(each, "w")
    except OSError:
        continue
    raise AssertionError(each)
assert open("/proc/1/comm").read().strip() == "dumb-init"
print("CLEAN")
"""
    assert kubectl("-n", release.namespace, "exec", pod, "--", "python", "-c", look).strip().endswith("CLEAN")
