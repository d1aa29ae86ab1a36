"""Renders charts/ws402 by `helm template`, once for each set of values."""

from __future__ import annotations

import atexit
import functools
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

CHART: Final = Path(__file__).parents[2] / "charts" / "ws402"
EXAMPLES: Final = sorted(path.name for path in (CHART / "examples").glob("[!.]*"))
VERSIONS: Final = ("1.29.0", "1.34.4")
"""The oldest Kubernetes that the chart takes, and a current one."""

Document = dict[str, Any]
DEV: Final[Mapping[str, Any]] = {"devchain": {"enabled": True}}


class Refused(Exception):  # noqa: N818 - what it is
    """Helm refused the values; its text says why."""


@functools.cache
def _template(values: str, example: str | None, kube: str, namespace: str, release: str, chart: Path = CHART) -> str:
    helm = shutil.which("helm")
    if helm is None:
        pytest.skip("no helm on PATH: the chart was not tested")
    files = ["--values", str(CHART / "examples" / example / "values.yaml")] if example else []
    done = subprocess.run(
        [helm, "template", release, str(chart), "--namespace", namespace, "--kube-version", kube, *files, "-f", "-"],
        check=False,
        input=values,
        capture_output=True,
        text=True,
        timeout=60,
    )
    if done.returncode:
        raise Refused(done.stderr.strip().removesuffix("Use --debug flag to render out invalid YAML").strip())
    return done.stdout


def text(
    values: Mapping[str, Any] | None = None,
    *,
    example: str | None = None,
    kube: str = VERSIONS[-1],
    namespace: str = "ws402",
    release: str = "ws402",
) -> str:
    """What Helm writes. Raises Refused."""
    if values is None:
        values = {} if example else DEV
    return _template(json.dumps(values), example, kube, namespace, release)


def render(values: Mapping[str, Any] | None = None, **how: Any) -> list[Document]:
    """All documents, test hooks included; by default those of a trial with the dev chain."""
    return _parse(text(values, **how))


@functools.cache
def _parse(written: str) -> list[Document]:
    """Shared by all tests: they look, and change nothing."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return [each for each in yaml.load_all(written, loader) if each]


def refusal(values: Mapping[str, Any], **how: Any) -> str:
    """Why these values are refused."""
    with pytest.raises(Refused) as refused:
        render(values, **how)
    return str(refused.value)


def one(documents: Iterable[Document], kind: str, name: str) -> Document:
    """The only document of this kind and name."""
    (found,) = [each for each in documents if each["kind"] == kind and each["metadata"]["name"] == name]
    return found


def kinds(documents: Iterable[Document], *kinds: str) -> list[Document]:
    """All documents of these kinds."""
    return [each for each in documents if each["kind"] in kinds]


def pods(documents: Iterable[Document]) -> list[tuple[str, Document]]:
    """Every pod and pod template, as (name of its owner, {metadata, spec}), with the namespace filled in."""
    found = []
    for each in documents:
        pod = each if each["kind"] == "Pod" else each.get("spec", {}).get("template")
        if isinstance(pod, dict) and "containers" in pod.get("spec", {}):
            metadata = {**pod["metadata"], "namespace": each["metadata"]["namespace"]}
            found.append((f"{each['kind']}/{each['metadata']['name']}", {"metadata": metadata, "spec": pod["spec"]}))
    return found


def notes(values: Mapping[str, Any] | None = None, example: str | None = None) -> str:
    """What `helm install` says at its end; `helm template` does not, so a copy of the chart has it in a document."""
    chart = _with_notes()
    written = _template(json.dumps({} if example else values or DEV), example, VERSIONS[-1], "ws402", "ws402", chart)
    return str(one(_parse(written), "ConfigMap", "notes")["data"]["notes"])


@functools.cache
def _with_notes() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="ws402-notes-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    chart = folder / "ws402"
    shutil.copytree(CHART, chart)
    source = (chart / "templates" / "NOTES.txt").read_text()
    (chart / "templates" / "_notes.tpl").write_text('{{ define "notes" }}' + source + "{{ end }}")
    (chart / "templates" / "notes.yaml").write_text(
        '{kind: ConfigMap, metadata: {name: notes}, data: {notes: {{ include "notes" . | toJson }}}}'
    )
    return chart
