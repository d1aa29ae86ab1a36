"""`ws402 ops --kube` without a cluster: a kubectl that answers from files and "forwards" to a real gateway with TLS.

tests/cluster/test_operators.py does the same with the real one.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner, Result
from tests.cli.test_ops import ADMIN_KEY, mutual_gateway
from tests.fixtures.certificates import Authority

from ws402.cli import cli
from ws402.devchain.evm import EvmDevChain
from ws402.gateway.run.gateway import Gateway

NAME = "ws402-gateway.ws402-private.svc"
KUBECTL = """#!{python}
import json, pathlib, signal, sys, time
folder = pathlib.Path({folder!r})
words = sys.argv[1:]
with (folder / "calls").open("a") as calls:
    calls.write(json.dumps(words) + "\\n")
answers = json.loads((folder / "answers").read_text())
if "port-forward" in words:
    said = answers["port-forward"]
    if not said.startswith("Forwarding"):
        sys.exit(said)
    print("W: told before", said, sep="\\n", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: ((folder / "ended").touch(), sys.exit()))
    time.sleep(600)
key = "/".join([words[words.index("--namespace") + 1], *words[words.index("get") + 1 : -2]])
if isinstance(answers.get(key), dict):
    print(json.dumps(answers[key]))
else:
    sys.exit(answers.get(key, f"Error from server (NotFound): {{key}} not found"))
"""
SERVICES = "ws402-private/services/-l/app.kubernetes.io/instance=ws402,app.kubernetes.io/component=gateway"


class Cluster:
    """What kubectl says here, and what it was asked."""

    def __init__(self, folder: Path, gateway: Gateway, authority: Authority) -> None:
        self.folder = folder
        client = authority.issue("server", ["ws402-server"])
        self.answers: dict[str, Any] = {
            SERVICES: {"items": [
                {"metadata": {"name": "ws402-gateway-metrics"}, "spec": {"ports": [{"name": "metrics"}]}},
                {"metadata": {"name": "ws402-gateway", "annotations": {
                    "ws402/scheme": "https", "ws402/ca": "ws402/ws402-server-gateway-ca",
                    "ws402/client-tls": "ws402/ws402-server-client-tls", "ws402/operator-key": "given",
                }}, "spec": {"ports": [{"name": "api"}]}},
            ]},
            "ws402/configmap/ws402-server-gateway-ca": {"data": {"ca.crt": authority.file.read_text()}},
            "ws402/secret/ws402-server-client-tls": {"data": {
                "tls.crt": _base64(client.cert.read_text()), "tls.key": _base64(client.key.read_text())
            }},
            "ws402-private/secret/given": {"data": {"gateway_admin_key": _base64(f"alice:{ADMIN_KEY}, {'o' * 40}")}},
            "port-forward": f"Forwarding from 127.0.0.1:{urlsplit(gateway.url).port} -> 4029",
        }  # fmt: skip
        script = folder / "kubectl"
        script.write_text(KUBECTL.format(python=sys.executable, folder=str(folder)))
        script.chmod(0o755)

    async def ops(self, *arguments: str, **environment: str) -> Result:
        (self.folder / "answers").write_text(json.dumps(self.answers))
        path = f"{self.folder}{os.pathsep}{os.environ['PATH']}"
        given = {"GATEWAY_ADMIN_KEY": "", "PATH": path, **environment}
        return await asyncio.to_thread(CliRunner().invoke, cli, ["ops", *arguments], env=given)

    def calls(self) -> list[list[str]]:
        return [json.loads(line) for line in (self.folder / "calls").read_text().splitlines()]


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.fixture
async def cluster(shared_devchain: EvmDevChain, tmp_path: Path) -> AsyncIterator[Cluster]:
    authority = Authority(tmp_path / "tls")
    server = authority.issue("gateway", [NAME])
    gateway = await mutual_gateway(tmp_path, shared_devchain, authority, server)
    yield Cluster(tmp_path, gateway, authority)
    await gateway.close()


async def test_everything_is_found_and_kubectl_ends_with_the_command(cluster: Cluster) -> None:
    done = await cluster.ops("--kube", "--context", "home", "audit", HTTPS_PROXY="http://127.0.0.1:9")
    assert done.exit_code == 0, done.exception
    assert "difference" in done.output
    assert (cluster.folder / "ended").exists()
    calls = cluster.calls()
    assert all(words[:2] == ["--context", "home"] for words in calls)
    assert calls[-1][4:] == [
        "port-forward", "--address=127.0.0.1", "--pod-running-timeout=20s", "service/ws402-gateway", ":api"
    ]  # fmt: skip


async def test_the_key_of_the_environment_goes_before_the_clusters(cluster: Cluster) -> None:
    done = await cluster.ops("--kube", "audit", GATEWAY_ADMIN_KEY="x" * 40)
    assert "API key" in str(done.exception)
    assert not any("given" in words for words in cluster.calls())


async def test_a_gateway_whose_certificate_is_for_another_name_is_not_told_the_key(cluster: Cluster) -> None:
    cluster.answers = {
        name.replace("ws402-private", "other"): answer for name, answer in cluster.answers.items()
    }  # the same, elsewhere
    done = await cluster.ops("--kube", "--gateway-namespace", "other", "audit")
    assert done.exit_code == 1
    assert "ertificate" in str(done.exception)


def _without(name: str) -> Callable[[Cluster], None]:
    def change(cluster: Cluster) -> None:
        cluster.answers[name] = "Error from server (Forbidden): it is forbidden"

    return change


def _unnamed(annotation: str) -> Callable[[Cluster], None]:
    def change(cluster: Cluster) -> None:
        del cluster.answers[SERVICES]["items"][1]["metadata"]["annotations"][annotation]

    return change


def _named(annotation: str, value: str) -> Callable[[Cluster], None]:
    def change(cluster: Cluster) -> None:
        cluster.answers[SERVICES]["items"][1]["metadata"]["annotations"][annotation] = value

    return change


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_without(SERVICES), "(Forbidden): it is forbidden. Check `kubectl config current-context`"),
        (_without("ws402-private/secret/given"), "Set GATEWAY_ADMIN_KEY to an operator's key of your own"),
        (_unnamed("ws402/operator-key"), "keeps its operators' keys outside of the cluster"),
        (_without("ws402/secret/ws402-server-client-tls"), "Set GATEWAY_CLIENT_CERT_FILE and GATEWAY_CLIENT_KEY_FILE"),
        (_without("ws402/configmap/ws402-server-gateway-ca"), "whether ops.subjects names you"),
        (_named("ws402/ca", "ws402/--all"), "which is no namespace/name"),
        (_without("port-forward"), "No port was forwarded to the gateway: Error from server (Forbidden)"),
        (lambda cluster: cluster.answers[SERVICES]["items"].pop(), "has no gateway of a release 'ws402'"),
    ],
)
async def test_what_is_missing_is_told(cluster: Cluster, change: Callable[[Cluster], None], told: str) -> None:
    change(cluster)
    done = await cluster.ops("--kube", "status")
    assert done.exit_code == 1
    assert told in str(done.exception)


async def test_kubectl_is_named_where_there_is_none(cluster: Cluster) -> None:
    done = await cluster.ops("--kube", "status", PATH=str(cluster.folder / "tls"))
    assert "There is no kubectl on the PATH" in str(done.exception)


def test_options_that_contradict_each_other_are_refused() -> None:
    for options, told in (
        (["--kube", "--url", "http://x"], "name two gateways"),
        (["-n", "shop"], "--namespace is only for"),
    ):
        assert told in str(CliRunner().invoke(cli, ["ops", *options, "status"]).exception)
