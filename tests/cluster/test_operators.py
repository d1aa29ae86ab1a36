"""What an operator is told to type works as it stands there: the notes of the installation, and the runbook."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster.kube import helm, kubectl, until
from tests.cluster.release import ROOT, Release
from tests.fixtures.processes import free_port

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

ONCALL = {"kind": "User", "name": "oncall", "apiGroup": "rbac.authorization.k8s.io"}
MAY = {
    "private": {"get pods", "list pods", "get pods/log", "create pods/portforward", "get services", "list services"},
    "public": {"get configmaps/ws402-server-gateway-ca"},
}
MAY_NOT = {
    "private": (
        "get secrets", "list secrets", "get configmaps", "create pods/exec", "create pods/attach", "delete pods",
        "create pods", "patch services", "create serviceaccounts/token", "create pods/eviction",
        "create services/portforward", "watch pods", "get pods/ephemeralcontainers", "patch statefulsets",
    ),
    "public": (
        "list configmaps", "get configmaps/ws402-server", "get secrets", "get pods", "get pods/log",
        "create pods/portforward", "list services", "patch configmaps/ws402-server-gateway-ca",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def operated(release: Release) -> Release:
    """The shared release, with somebody on call."""
    release.upgrade(f"--set-json=ops.subjects={json.dumps([ONCALL])}")
    return release


@pytest.fixture(scope="module")
def oncall(operated: Release, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of the one on call: a kubeconfig that acts as them, and a key of their own."""
    config = json.loads(kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
    config["users"][0]["user"]["as"] = ONCALL["name"]
    file = tmp_path_factory.mktemp("oncall") / "kubeconfig"
    file.write_text(json.dumps(config))
    file.chmod(0o600)
    made = operated.ops("--json", "keys", "add", "default", "oncall", "--scope", "admin")
    key = json.loads(made.stdout)["key"]
    environment = {**terminal(operated), "KUBECONFIG": str(file), "GATEWAY_ADMIN_KEY": key}
    until("the new key counts", lambda: shell("ws402 ops --kube audit", environment).returncode == 0, 30)
    return environment


def terminal(release: Release) -> dict[str, str]:
    """An administrator's: our command on the path, and which installation is meant."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")},
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "WS402_KUBE_NAMESPACE": release.namespace,
        "WS402_KUBE_RELEASE": release.name,
    }


def shell(command: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", command], env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def may(release: Release, where: str, what: str) -> bool:
    verb, _, resource = what.partition(" ")
    namespace = release.private if where == "private" else release.namespace
    kind, _, rest = resource.partition("/")
    names = [kind, f"--subresource={rest}"] if rest and kind != "configmaps" else [resource]
    said = kubectl("auth", "can-i", verb, *names, "-n", namespace, f"--as={ONCALL['name']}", check=False)
    answer = said.split()[-1] if said.split() else said
    assert answer in ("yes", "no"), said
    return answer == "yes"


def test_operators_may_do_what_they_need_and_nothing_else(operated: Release) -> None:
    for where, allowed in MAY.items():
        assert {what for what in allowed if may(operated, where, what)} == allowed
    for where, forbidden in MAY_NOT.items():
        assert [what for what in forbidden if may(operated, where, what)] == []


def test_without_a_key_or_the_secret_the_one_on_call_is_told_what_to_do(oncall: dict[str, str]) -> None:
    keyless = {name: value for name, value in oncall.items() if name != "GATEWAY_ADMIN_KEY"}
    done = shell("ws402 ops --kube status", keyless)
    assert done.returncode == 2
    assert "secrets" in done.stderr
    assert "Set GATEWAY_ADMIN_KEY to an operator's key of your own" in done.stderr


@pytest.fixture
def devchain_port() -> int:
    return free_port()


@pytest.fixture
def notes(operated: Release, devchain_port: int) -> Iterator[list[str]]:
    """The commands of the notes, ports for free ones of this machine; what forwards ports does so meanwhile."""
    told = helm("get", "notes", operated.name, "-n", operated.namespace)
    text = re.sub(r" +# .*", "", re.sub(r"\\\n\s*", " ", told)).replace(" 8545", f" {devchain_port}:8545")
    server = str(free_port())
    text = text.replace("4030:", f"{server}:").replace(":4030/", f":{server}/").replace(":8545 ", f":{devchain_port} ")
    commands = [
        line.strip() for line in text.splitlines() if re.match(r"  (?:\w+=\S+ +)*(?:kubectl|helm|ws402) ", line)
    ]
    forwards = [command for command in commands if "port-forward" in command]
    running = [
        subprocess.Popen(["bash", "-c", f"exec {each}"], env=terminal(operated), stdout=subprocess.PIPE, text=True)
        for each in forwards
    ]
    for each in running:
        assert each.stdout is not None
        assert "Forwarding" in each.stdout.readline()
    yield [command for command in commands if command not in forwards]
    for each in running:
        with each:
            each.terminate()


def test_every_command_of_the_notes_works(operated: Release, notes: list[str]) -> None:
    for command in notes:
        if " test " not in command:  # test_newcomer runs that one
            done = shell(command, terminal(operated))
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    assert sum("ws402 ops --kube" in command for command in notes) == 1
    assert sum("ws402 pay" in command for command in notes) == 1


def runbook() -> list[str]:
    """Its commands, each once; what lets refunds go on comes last."""
    text = (ROOT / "docs" / "runbook.md").read_text()
    found = [" ".join(each.split()) for each in re.findall(r"`((?:ws402|kubectl) [^`]+)`", text)]
    return sorted(dict.fromkeys(found), key=lambda command: "signers resume" in command)


def test_every_command_of_the_runbook_works(operated: Release, oncall: dict[str, str], notes: list[str]) -> None:
    commands = runbook()
    assert len(commands) > 12
    assert any("signers resume" in command for command in commands)
    pod = operated.pods("gateway")[0]["metadata"]["name"]
    words = {
        "NETWORK": "base-sepolia",
        "ASSET": "ETH",
        "AMOUNT": "1",
        "TX": "0x" + "7" * 64,
        "REASON": "'a try'",
    }
    assert shell("ws402 ops --kube signers pause base-sepolia --reason 'a try'", oncall).returncode == 0
    (pay,) = [command for command in notes if "ws402 pay" in command]
    paid = shell(f"{pay} --leave-after 1 --refund-wait 0", terminal(operated))
    assert paid.returncode == 0, paid.stdout + paid.stderr
    refunds = json.loads(operated.ops("--json", "refunds", "list").stdout)["refunds"]
    refund = next(each["id"] for each in refunds if each["state"] in ("waiting", "due"))
    words["WHAT"] = refund
    for command in commands:
        if re.search(r"refunds (?:release|resolve|retry)", command):
            held = shell(f"ws402 ops --kube refunds hold {refund} --reason 'a try'", oncall)
            assert held.returncode == 0 or "'held'" in held.stderr, held.stderr
        typed = re.sub(r"\b(?:NETWORK|ASSET|AMOUNT|TX|WHAT|REASON)\b", lambda found: words[found.group()], command)
        typed = re.sub(r"\bID\b", refund, re.sub(r"\bPOD\b", pod, typed))
        if re.search("resolve|deposit|withdraw", typed):  # what would be booked is true of no chain here
            typed = typed.replace("--kube", "--kube --dry-run")
        public = "-n ws402 " in typed
        if public:
            server = operated.pods("server")[0]["metadata"]["name"]
            typed = typed.replace("-n ws402 ", f"-n {operated.namespace} ").replace(pod, server)
        typed = typed.replace("-n ws402-private ", f"-n {operated.private} ")
        done = shell(typed, terminal(operated) if public else oncall)
        never_restarted = "--previous" in typed and "previous terminated container" in done.stderr
        all_claimed = "unclaimed refund" in typed and "has no unclaimed money for us" in done.stderr
        none = re.search(r" (events (show|replay|enable)|authorizations show) ", typed) and re.search(
            r"There is no (event|signed transfer)|This gateway has no webhooks", done.stderr
        )
        accepted = done.returncode == 0 or never_restarted or all_claimed or none
        assert accepted, f"{typed}\n{done.stdout}{done.stderr}"
    for left in (f"refunds release {refund}", "signers resume base-sepolia"):  # whatever the runbook ended with
        shell(f"ws402 ops --kube {left}", oncall)
    operated.settled()
    operated.balanced()


def test_no_kubectl_is_left_behind(operated: Release) -> None:
    """Told to end while it works, the command ends its kubectl too."""
    script = """
    ws402 ops --kube audit-log verify --expect none >/dev/null 2>&1 & mine=$!
    until child=$(pgrep -P $mine -f port-forward); do sleep 0.02; kill -0 $mine || exit 9; done
    kill $mine; wait $mine; echo $?
    kill -0 $child
    """
    done = shell(script, terminal(operated))
    assert done.stdout == "143\n", done.stderr
    assert "No such process" in done.stderr
