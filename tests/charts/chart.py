"""Renders charts/ws402 once for each set of values, by Helm 3 and Helm 4, which must say the same."""

from __future__ import annotations

import atexit
import functools
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
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


_DRAWN = re.compile(r"^ *((gateway_admin_key|tls\.crt|tls\.key|ca\.crt): )?[A-Za-z0-9+/=]{16,}$|^\s*$", re.MULTILINE)
"""Lines that differ from one rendering to the next: keys and certificates, and the blank ones."""


class Refused(Exception):  # noqa: N818 - what it is
    """Helm refused the values; its arguments say why, one for each Helm."""


class Refusal(tuple[str, ...]):
    """What each Helm says against the same values; a text is in it when each says it."""

    __slots__ = ()

    def __contains__(self, part: object) -> bool:
        return isinstance(part, str) and all(part in each for each in self)


@functools.cache
def helms() -> tuple[str, ...]:
    """Helm 3, and Helm 4 where it is there."""
    helm, newer = shutil.which("helm"), shutil.which("helm4")
    if helm is None:
        pytest.skip("no helm on PATH: the chart was not tested")
    return (helm, newer) if newer else (helm,)


@functools.cache
def _template(
    values: str,
    example: str | None,
    kube: str,
    namespace: str,
    release: str,
    chart: Path = CHART,
    *,
    unchecked: bool = False,
) -> str:
    files = ["--values", str(CHART / "examples" / example / "values.yaml")] if example else []
    arguments = ["template", release, str(chart), "--namespace", namespace, "--kube-version", kube, *files, "-f", "-"]
    arguments += ["--skip-schema-validation"] if unchecked else []

    def run(helm: str) -> subprocess.CompletedProcess[str]:
        command = [helm, *arguments]
        return subprocess.run(command, check=False, input=values, capture_output=True, text=True, timeout=60)

    with ThreadPoolExecutor() as pool:
        done = list(pool.map(run, helms()))
    assert len({bool(each.returncode) for each in done}) == 1, [each.stderr for each in done]
    if done[0].returncode:
        told = [each.stderr.removesuffix("Use --debug flag to render out invalid YAML\n").strip() for each in done]
        raise Refused(*told)
    assert len({_DRAWN.sub("", each.stdout).replace("\n", "") for each in done}) == 1, "Helm 3 and 4 render the same"
    return done[0].stdout


def text(
    values: Mapping[str, Any] | None = None,
    *,
    example: str | None = None,
    kube: str = VERSIONS[-1],
    namespace: str = "ws402",
    release: str = "ws402",
    unchecked: bool = False,
) -> str:
    """What Helm writes; `unchecked`: as for somebody who skips the schema. Raises Refused."""
    if values is None:
        values = {} if example else DEV
    return _template(json.dumps(values), example, kube, namespace, release, unchecked=unchecked)


def render(values: Mapping[str, Any] | None = None, **how: Any) -> list[Document]:
    """All documents, test hooks included; by default those of a trial with the dev chain."""
    return _parse(text(values, **how))


@functools.cache
def _parse(written: str) -> list[Document]:
    """Shared by all tests: they look, and change nothing."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return [each for each in yaml.load_all(written, loader) if each]


def refusal(values: Mapping[str, Any], **how: Any) -> Refusal:
    """Why these values are refused, by each Helm."""
    with pytest.raises(Refused) as refused:
        render(values, **how)
    return Refusal(refused.value.args)


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
