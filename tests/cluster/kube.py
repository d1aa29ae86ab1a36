"""The cluster of KUBECONFIG, by kubectl and helm on the PATH: what the tests of the installed chart stand on."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")


class CommandError(AssertionError):
    """A command that should have worked."""


def run(*command: str, stdin: str | None = None, timeout: float = 120, check: bool = True) -> str:
    """Run it; answers its output. Raises CommandError with everything that it said."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=timeout, check=False)
    if check and done.returncode != 0:
        raise CommandError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done.stdout if check else done.stdout + done.stderr


def kubectl(*arguments: str, **options: Any) -> str:
    return run("kubectl", *arguments, **options)


def helm(*arguments: str, **options: Any) -> str:
    return run("helm", *arguments, **{"timeout": 300, **options})


def get(*arguments: str) -> Any:
    """An object, or a list of objects, as kubectl gets it."""
    found = json.loads(kubectl("get", *arguments, "-o", "json"))
    return found["items"] if found.get("kind", "").endswith("List") else found


def apply(*documents: dict[str, Any]) -> None:
    kubectl("apply", "-f", "-", stdin="\n---\n".join(json.dumps(each) for each in documents))


def until(what: str, ask: Callable[[], T], seconds: float = 60, every: float = 0.5) -> T:
    """Ask until the answer is true. Raises AssertionError with the last answer."""
    end = time.monotonic() + seconds
    while True:
        try:
            answer = ask()
        except CommandError as error:
            answer = error  # type: ignore[assignment]
        else:
            if answer:
                return answer
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not after {seconds:g} s; last: {answer!r}")
        time.sleep(every)


def pods(namespace: str, selector: str) -> list[Any]:
    """Those that are meant to run."""
    return [pod for pod in get("-n", namespace, "pods", "-l", selector) if "deletionTimestamp" not in pod["metadata"]]


def ready(pod: Any) -> bool:
    return any(each["type"] == "Ready" and each["status"] == "True" for each in pod["status"].get("conditions", []))


@contextlib.contextmanager
def forwarded(namespace: str, target: str, port: int | str) -> Iterator[int]:
    """A port of this machine that `kubectl port-forward` leads into the cluster."""
    command = ["kubectl", "-n", namespace, "port-forward", target, f":{port}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.search(r"127\.0\.0\.1:(\d+)", line)
            if found is None:
                raise CommandError(f"port-forward to {target}: {line}{process.stdout.read()}")
            yield int(found.group(1))
        finally:
            process.terminate()


def token(namespace: str, account: str, audience: str, seconds: int = 600) -> str:
    """A ServiceAccount token as its pod would hold it."""
    return kubectl(
        "-n", namespace, "create", "token", account, f"--audience={audience}", f"--duration={seconds}s"
    ).strip()


def network_pod(name: str, namespace: str, labels: dict[str, str], image: str) -> dict[str, Any]:
    """A pod that does nothing but be somebody, with Python to make connections from it."""
    restricted = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "securityContext": {
                "runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "c",
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["python", "-c", "import time; time.sleep(36000)"],
                    "securityContext": restricted,
                    "resources": {
                        "requests": {"cpu": "5m", "memory": "32Mi"}, "limits": {"cpu": "500m", "memory": "128Mi"},
                    },
                }
            ],
        },
    }  # fmt: skip


CONNECT = """
import socket, sys, threading
def dial(target):
    host, port = target.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), timeout=2).close()
    except socket.gaierror:
        print("unresolved", target)
    except OSError:
        pass
    else:
        print(target)
dials = [threading.Thread(target=dial, args=(each,)) for each in sys.argv[1:]]
[each.start() for each in dials]
[each.join() for each in dials]
"""


def reached(namespace: str, pod: str, targets: list[tuple[str, int]]) -> set[str]:
    """Which of these a TCP connection from that pod opens to; what is blocked shows after two seconds.

    A name that does not resolve fails the test: it proves nothing.
    """
    asked = [f"{host}:{port}" for host, port in targets]
    said = kubectl("-n", namespace, "exec", pod, "--", "python", "-c", CONNECT, *asked).split("\n")
    assert not any("unresolved" in line for line in said), said
    return {line for line in said if line}


def reaches(namespace: str, pod: str, host: str, port: int) -> bool:
    return bool(reached(namespace, pod, [(host, port)]))
