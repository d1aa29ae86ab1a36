"""One installed release: its pods, its gateway's API and books, and payers in the cluster."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
from tests.cluster.kube import apply, forwarded, get, helm, kubectl, network_pod, pods, ready, until

from ws402 import __version__

ROOT: Final = Path(__file__).parents[2]
CHART: Final = str(ROOT / "charts" / "ws402")
TAG: Final = os.environ.get("WS402_IMAGE_TAG", __version__)
IMAGES: Final = [f"--set={part}.image.tag={TAG}" for part in ("server", "gateway", "devchain")]


@dataclass
class Release:
    """`name` must contain "ws402": objects are then named after it alone."""

    name: str = "ws402"
    namespace: str = "ws402"
    rpc: str = ""
    """The chain, as payers in the cluster reach it; the release's own by default."""
    admin_secret: str = ""
    """The Secret that holds the operators' key."""
    loads: list[Load] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rpc = self.rpc or f"http://{self.name}-devchain.{self.namespace}.svc:8545"
        self.admin_secret = self.admin_secret or f"{self.name}-gateway-dev"

    @property
    def private(self) -> str:
        """The gateway's namespace."""
        return f"{self.namespace}-private"

    @property
    def url(self) -> str:
        """The servers, as pods reach them."""
        return f"http://{self.name}-server.{self.namespace}.svc"

    def labels(self, component: str) -> dict[str, str]:
        return {
            "app.kubernetes.io/name": "ws402",
            "app.kubernetes.io/instance": self.name,
            "app.kubernetes.io/component": component,
        }

    def selector(self, component: str) -> str:
        return ",".join(f"{name}={value}" for name, value in self.labels(component).items()) + (
            ",ws402/receives-traffic=true" if component != "test" else ""
        )

    def namespace_of(self, component: str) -> str:
        return self.private if component == "gateway" else self.namespace

    def pods(self, component: str) -> list[Any]:
        return pods(self.namespace_of(component), self.selector(component))

    def ready(self, component: str, count: int, seconds: float = 90) -> list[Any]:
        """Wait for exactly that many ready pods."""

        def ask() -> list[Any]:
            found = self.pods(component)
            return found if len(found) == count and all(map(ready, found)) else []

        return until(f"{count} ready {component}s", ask, seconds)

    def upgrade(self, *arguments: str) -> None:
        """Install, or change what is given and keep the rest."""
        helm(
            "upgrade", "--install", self.name, CHART, "-n", self.namespace, "--create-namespace",
            "--reset-then-reuse-values", "--wait", "--timeout=240s", *IMAGES, *arguments,
        )  # fmt: skip

    def uninstall(self) -> None:
        helm("uninstall", self.name, "-n", self.namespace, "--wait", "--timeout=120s", "--ignore-not-found")

    def secret(self, namespace: str, name: str, key: str) -> str:
        return base64.b64decode(get("-n", namespace, "secret", name)["data"][key]).decode()

    @property
    def admin_key(self) -> str:
        return self.secret(self.private, self.admin_secret, "gateway_admin_key").split(",")[0].strip()

    def ca(self) -> str:
        return str(get("-n", self.namespace, "configmap", f"{self.name}-server-gateway-ca")["data"]["ca.crt"])

    @contextlib.contextmanager
    def gateway(self, **headers: str) -> Iterator[httpx.Client]:
        """The gateway's API through port-forward, with its certificate checked."""
        verify = ssl.create_default_context(cadata=self.ca())
        with (
            forwarded(self.private, f"svc/{self.name}-gateway", 4029) as port,
            httpx.Client(base_url=f"https://localhost:{port}", headers=headers, verify=verify, timeout=40) as client,
        ):
            yield client

    def status(self, bearer: str | None) -> int:
        """How the gateway answers a server's call with this credential."""
        headers = {"Authorization": f"Bearer {bearer}"} if bearer is not None else {}
        body = {"amount": 1000, "resourceId": "ticker", "estimatedDuration": 60}
        with self.gateway(**headers) as gateway:
            return gateway.post("/api/payment/generate", json=body).status_code

    def ops(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`ws402 ops` as an operator runs it: a forwarded port, the gateway's certificate, the key from the Secret."""
        with (
            tempfile.NamedTemporaryFile("w", suffix=".crt") as bundle,
            forwarded(self.private, f"svc/{self.name}-gateway", 4029) as port,
        ):
            bundle.write(self.ca())
            bundle.flush()
            environment = {**os.environ, "GATEWAY_ADMIN_KEY": self.admin_key, "SSL_CERT_FILE": bundle.name}
            command = [str(Path(sys.executable).parent / "ws402"), "ops", "--url", f"https://localhost:{port}"]
            return subprocess.run(
                [*command, *arguments], env=environment, capture_output=True, text=True, timeout=90, check=False
            )

    def balanced(self, seconds: float = 60) -> None:
        """`ws402 ops audit` gives 0: the books agree with themselves and with the chain."""
        said: list[str] = []

        def ask() -> bool:
            done = self.ops("audit")
            said[:] = [done.stdout, done.stderr]
            return done.returncode == 0

        try:
            until("a clean audit", ask, seconds, every=2)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{''.join(said)}") from None

    def settled(self, seconds: float = 120) -> None:
        """No session is open any more, and every refund has been delivered."""

        def ask() -> bool:
            status = json.loads(self.ops("--json", "status").stdout)
            return not unfinished(status)

        until("all sessions settled and refunds delivered", ask, seconds, every=2)

    def load(self, count: int, first_account: int, seconds: int = 900, namespace: str | None = None) -> Load:
        """Start that many paid sessions from one pod, of another namespace or else as one of the chart's test pods."""
        load = Load(self, count, first_account, seconds, namespace or self.namespace)
        load.start()
        self.loads.append(load)
        return load


def unfinished(status: dict[str, Any]) -> bool:
    """Whether `ws402 ops status` shows sessions or refunds that are not over."""
    sessions, refunds = status["sessions"], status["refunds"]
    return any(sessions.get(state) for state in ("live", "released")) or any(
        refunds.get(state) for state in ("waiting", "due", "in_flight")
    )


class Load:
    """A pod that holds paid sessions (see load.py)."""

    def __init__(self, release: Release, count: int, first_account: int, seconds: int, namespace: str) -> None:
        self.release = release
        self.namespace = namespace
        self.count = count
        self.name = f"load-{secrets.token_hex(3)}"
        self._arguments = [release.url, release.rpc, str(first_account), str(count), str(seconds)]

    def start(self) -> None:
        release = self.release
        labels = release.labels("test") if self.namespace == release.namespace else {}
        pod = network_pod(self.name, self.namespace, labels, f"ws402-devchain:{TAG}")
        container = pod["spec"]["containers"][0]
        container["command"] = ["python", "/load/load.py", *self._arguments]
        container["resources"] = {
            "requests": {"cpu": "20m", "memory": "96Mi"}, "limits": {"cpu": "1", "memory": "768Mi"},
        }  # fmt: skip
        container["volumeMounts"] = [{"name": "load", "mountPath": "/load"}, {"name": "tmp", "mountPath": "/tmp"}]
        pod["spec"] |= {
            "restartPolicy": "Never",
            "volumes": [{"name": "load", "configMap": {"name": self.name}}, {"name": "tmp", "emptyDir": {}}],
        }
        script = (Path(__file__).parent / "load.py").read_text()
        metadata = {"name": self.name, "namespace": self.namespace}
        apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"load.py": script}}, pod)

    def figures(self) -> dict[str, Any]:
        """The last line that it wrote."""
        lines = [line for line in self._log("--tail=3").splitlines() if line.startswith("{")]
        return dict(json.loads(lines[-1])) if lines else {}

    def _log(self, *options: str) -> str:
        return kubectl("-n", self.namespace, "logs", self.name, *options)

    def opened(self, seconds: float = 120) -> None:
        """Wait until all are open; one that was refused fails the test."""

        def ask() -> bool:
            now = self.figures()
            assert not now.get("refused"), now
            assert now.get("event") != "done", self._log("--tail=20")
            return int(now.get("opened", 0)) == self.count

        until(f"{self.count} sessions open", ask, seconds, every=1)

    def live(self) -> int:
        now = self.figures()
        return int(now["opened"]) - sum(int(now.get(name, 0)) for name in ("exact", "estimated", "failed"))

    def leave(self, seconds: float = 90) -> dict[str, Any]:
        """End all sessions; answers the sums."""
        kubectl("-n", self.namespace, "exec", self.name, "--", "python", "-c", "open('/tmp/leave', 'w')")
        return (
            until("all sessions ended", lambda: (now := self.figures()).get("event") == "done" and now, seconds) or {}
        )

    def stop(self) -> None:
        kubectl("-n", self.namespace, "delete", "pod,configmap", self.name, "--ignore-not-found", "--wait=false")
