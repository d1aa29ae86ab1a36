"""The gateway of a Helm release, reached by kubectl: nobody reaches it from outside of the cluster otherwise.

What to ask for stands in the annotations of the gateway's Service (`charts/ws402/templates/gateway/_ops.tpl`).
Everything is read with the operator's own rights, and nothing is kept: kubectl ends with the command.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import os
import queue
import re
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from ws402 import tls
from ws402.errors import ConfigurationError, UnavailableError

PREFIX: Final = "ws402/"
_PATIENCE: Final = 60.0
"""Seconds in which kubectl must have answered."""
_ENOUGH: Final = 20
"""Lines of kubectl's that are kept for a reason."""
_PLACE: Final = re.compile(r"([a-z0-9][a-z0-9-]*)/([a-z0-9][a-z0-9.-]*)")
_FORWARDING: Final = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+) ")


@dataclass(frozen=True)
class Installation:
    """Which one, as `ws402 ops --kube` is told."""

    release: str
    namespace: str
    gateway_namespace: str
    context: str | None


@dataclass(frozen=True)
class Link:
    """How to call a gateway: `name` is whom its certificate must be for, `key` the operator's, if it was found."""

    url: str
    name: str
    key: str | None
    tls: ssl.SSLContext | None


@contextlib.contextmanager
def reach(installation: Installation, *, need_key: bool) -> Iterator[Link]:
    """Forward a port of this machine to the gateway until the context ends.

    The authority and the client's certificate of GATEWAY_CA_FILE, GATEWAY_CLIENT_CERT_FILE and GATEWAY_CLIENT_KEY_FILE
    go before those of the cluster. Raises ConfigurationError and UnavailableError, which say what is missing.
    """
    service = _service(installation)
    name, told = service["metadata"]["name"], service["metadata"].get("annotations") or {}
    key = _operator_key(installation, told) if need_key else None
    encrypted = told.get(f"{PREFIX}scheme", "https") == "https"
    context = _tls(installation, told) if encrypted else None
    with _forwarded(installation, name) as port:
        yield Link(
            f"{'https' if encrypted else 'http'}://127.0.0.1:{port}",
            f"{name}.{installation.gateway_namespace}.svc",
            key,
            context,
        )


def _service(installation: Installation) -> dict[str, Any]:
    labels = f"app.kubernetes.io/instance={installation.release},app.kubernetes.io/component=gateway"
    found = _get(installation, installation.gateway_namespace, "services", "-l", labels)["items"]
    for each in found:
        if any(port.get("name") == "api" for port in each["spec"]["ports"]):
            return dict(each)
    raise ConfigurationError(
        f"The namespace '{installation.gateway_namespace}' has no gateway of a release '{installation.release}'.",
        remedy="Name them with --release and --namespace, and with --gateway-namespace where gateway.namespace.name "
        "is set; `helm list -A` shows the releases.",
    )


def _operator_key(installation: Installation, told: dict[str, str]) -> str:
    secret = told.get(f"{PREFIX}operator-key")
    if secret is None:
        raise ConfigurationError(
            "GATEWAY_ADMIN_KEY is not set, and this installation keeps its operators' keys outside of the cluster.",
            remedy="Take one of them from there (secrets.source says where), and set GATEWAY_ADMIN_KEY to it.",
        )
    where = f"the Secret {secret} in {installation.gateway_namespace}"
    try:
        data = _get(installation, installation.gateway_namespace, "secret", secret).get("data") or {}
    except UnavailableError as error:
        raise ConfigurationError(
            f"GATEWAY_ADMIN_KEY is not set, and {where} cannot be read: {error.message}",
            remedy="Set GATEWAY_ADMIN_KEY to an operator's key of your own (ws402 ops keys add … --scope admin).",
        ) from error
    keys = first_key(_decoded(data, "gateway_admin_key", where))
    if not keys:
        raise ConfigurationError(
            f"GATEWAY_ADMIN_KEY is not set, and {where} has no gateway_admin_key.",
            remedy="Set GATEWAY_ADMIN_KEY to an operator's key.",
        )
    return keys


def first_key(keys: str) -> str:
    """The first of several keys, without its tenant: `shop:…, …` as a gateway's settings have them."""
    return keys.split(",", maxsplit=1)[0].strip().rpartition(":")[2]


def _tls(installation: Installation, told: dict[str, str]) -> ssl.SSLContext:
    """What checks the gateway's certificate, by the cluster's authority unless the environment names one."""
    given = {
        name: Path(value) if (value := os.environ.get(f"GATEWAY_{name}_FILE")) else None
        for name in ("CA", "CLIENT_CERT", "CLIENT_KEY")
    }
    with tempfile.TemporaryDirectory(prefix="ws402-ops-") as folder:  # for its owner only, and only until it is loaded
        if given["CA"] is None and (place := told.get(f"{PREFIX}ca")) is not None:
            namespace, config_map = _place(place)
            data = _get(installation, namespace, "configmap", config_map).get("data") or {}
            given["CA"] = _file(folder, "ca.crt", data.get("ca.crt") or "")
        mutual = told.get(f"{PREFIX}client-tls")
        if given["CLIENT_CERT"] is None and given["CLIENT_KEY"] is None and mutual is not None:
            namespace, secret = _place(mutual)
            try:
                data = _get(installation, namespace, "secret", secret).get("data") or {}
            except UnavailableError as error:
                raise ConfigurationError(
                    "This gateway takes no call without a client's certificate, and the Secret "
                    f"{secret} in {namespace} cannot be read: {error.message}",
                    remedy="Set GATEWAY_CLIENT_CERT_FILE and GATEWAY_CLIENT_KEY_FILE to a certificate of your own.",
                ) from error
            for name, field in (("CLIENT_CERT", "tls.crt"), ("CLIENT_KEY", "tls.key")):
                given[name] = _file(folder, field, _decoded(data, field, f"the Secret {secret} in {namespace}"))
        return tls.calling(given["CA"], given["CLIENT_CERT"], given["CLIENT_KEY"]).value


def _place(text: str) -> tuple[str, str]:
    """The namespace and the name of an object, fit to be arguments."""
    found = _PLACE.fullmatch(text)
    if found is None:
        raise ConfigurationError(f"The gateway's Service names an object as '{text}', which is no namespace/name.")
    return found.group(1), found.group(2)


def _file(folder: str, name: str, text: str) -> Path:
    path = Path(folder) / name
    path.write_text(text)
    return path


def _decoded(data: dict[str, str], field: str, where: str) -> str:
    try:
        return base64.b64decode(data.get(field) or "", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise ConfigurationError(f"{field} of {where} is no text.") from None


def _get(installation: Installation, namespace: str, *what: str) -> dict[str, Any]:
    """An object or a list, as kubectl gets it. Raises UnavailableError with kubectl's reason."""
    command = [*_kubectl(installation, namespace), "--request-timeout=20s", "get", *what, "-o", "json"]
    try:
        done = subprocess.run(  # noqa: S603 - kubectl of the operator's PATH, no shell
            command, capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
    except FileNotFoundError:
        raise _no_kubectl() from None
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"kubectl did not answer within {_PATIENCE:.0f} seconds.") from None
    if done.returncode:
        raise UnavailableError(
            _sentence(done.stderr, done.returncode),
            remedy="Check `kubectl config current-context` (or give --context), and whether ops.subjects names you.",
        )
    return dict(json.loads(done.stdout))


def _kubectl(installation: Installation, namespace: str) -> list[str]:
    context = ["--context", installation.context] if installation.context else []
    return ["kubectl", *context, "--namespace", namespace]


def _no_kubectl() -> ConfigurationError:
    return ConfigurationError(
        "There is no kubectl on the PATH.", remedy="Install it, or forward the gateway's port yourself and give --url."
    )


def _sentence(said: str, status: int) -> str:
    """The last line that kubectl said: what it says before are repetitions of it."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1].removesuffix(".") + "." if lines else f"kubectl ended with status {status}."


@contextlib.contextmanager
def _forwarded(installation: Installation, service: str) -> Iterator[int]:
    """The local port of a `kubectl port-forward`, which ends with the context, and when this process is told to end."""
    command = [
        *_kubectl(installation, installation.gateway_namespace),
        *("port-forward", "--address=127.0.0.1", "--pod-running-timeout=20s", f"service/{service}", ":api"),
    ]
    try:
        process = subprocess.Popen(  # noqa: S603 - see _get
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
    except FileNotFoundError:
        raise _no_kubectl() from None
    with _ends_orderly(), process:
        told: queue.Queue[int | str] = queue.Queue()
        reader = threading.Thread(target=_read, args=(process.stdout, told), daemon=True, name="kubectl")
        reader.start()
        try:
            yield _port(told)
        finally:
            process.terminate()
            reader.join()


@contextlib.contextmanager
def _ends_orderly() -> Iterator[None]:
    """SIGTERM unwinds this process, so that it leaves no kubectl behind. Only a main thread may say so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _read(output: IO[str], told: queue.Queue[int | str]) -> None:
    """Tell the port that kubectl took, or why there is none; read on to the end, for it stops when the pipe is full."""
    lines: list[str] = []
    for line in output:
        if found := _FORWARDING.match(line):
            told.put(int(found.group(1)))
        elif len(lines) < _ENOUGH:
            lines.append(line)
    told.put(_sentence("".join(lines), 0))


def _port(told: queue.Queue[int | str]) -> int:
    try:
        answer = told.get(timeout=_PATIENCE)
    except queue.Empty:
        answer = f"kubectl said nothing within {_PATIENCE:.0f} seconds."
    if isinstance(answer, str):
        raise UnavailableError(
            f"No port was forwarded to the gateway: {answer}",
            remedy="See whether it runs (kubectl get pods), and whether ops.subjects names you.",
        )
    return answer
