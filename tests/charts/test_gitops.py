"""For tools that render without a cluster: the same text each time, and examples that fit the chart."""

from __future__ import annotations

import re
import subprocess
from typing import Any

import pytest
import yaml
from tests.charts.chart import CHART, DEV, EXAMPLES, VERSIONS, helms, kinds, refusal, render

GITOPS = CHART / "examples" / "gitops"
ELSEWHERE = {"secrets": {"source": "existingSecret", "existingSecret": "a"}}
TLS = {"tls": {"mode": "existingSecret", "existingSecret": "a", "caConfigMap": "b"}}


def test_nothing_is_drawn() -> None:
    command = ["template", "ws402", str(CHART), "--kube-version", VERSIONS[-1], "-f", str(GITOPS / "values.yaml")]
    for helm in helms():
        runs = [subprocess.run([helm, *command], check=True, capture_output=True, text=True).stdout for _ in range(2)]
        assert runs[0] == runs[1]
        assert "kind: Certificate" in runs[0]


def test_only_what_may_not_be_used_there_draws_or_looks_up() -> None:
    """So that the refusals below are all that is needed."""
    asking = re.compile(r"\b(lookup|randAlphaNum|gen[A-Z][A-Za-z]+|now|uuidv4)\b")
    comment = re.compile(r"{{-? */\*.*?\*/ *-?}}", re.DOTALL)
    files = [path for path in (CHART / "templates").rglob("*") if path.is_file()]
    found = {path.name for path in files if asking.search(comment.sub("", path.read_text()))}
    assert found == {"_found.tpl", "dev-secret.yaml", "generated.yaml"}


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({}, "tls.mode to certManager or existingSecret"),
        (TLS, "Set secrets.source to existingSecret"),
        ({**TLS, **ELSEWHERE}, "Set gateway.egress.apiServer"),
    ],
)
def test_what_would_be_drawn_or_looked_up_is_refused(values: dict[str, Any], says: str) -> None:
    assert says in refusal({**DEV, "gitops": True, **values})


def test_a_namespace_is_still_made_where_it_is_wanted() -> None:
    assert not kinds(render(example="gitops"), "Namespace")
    assert kinds(render({"gateway": {"namespace": {"create": True}}}, example="gitops"), "Namespace")


def test_the_examples_for_argo_cd_and_flux_name_this_chart() -> None:
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["version"]
    application = yaml.safe_load((GITOPS / "argocd.yaml").read_text())
    chart, values = application["spec"]["sources"]
    assert (chart["chart"], chart["targetRevision"]) == ("ws402", version)
    assert chart["helm"]["valueFiles"][0].partition("/")[0] == f"${values['ref']}"
    repository, release = yaml.safe_load_all((GITOPS / "flux.yaml").read_text())
    assert repository["spec"]["ref"] == {"tag": version}
    assert repository["spec"]["url"].endswith("/ws402")
    assert release["spec"]["chartRef"] == {"kind": repository["kind"], "name": repository["metadata"]["name"]}


def test_values_that_are_installed_by_chart_testing_render() -> None:
    files = sorted((CHART / "ci").glob("*-values.yaml"))
    assert len(files) >= 3
    for path in files:
        assert kinds(render(yaml.safe_load(path.read_text())), "Deployment"), path.name


def test_the_chart_says_where_it_comes_from() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["home"].startswith("https://")
    assert chart["sources"]
    assert chart["maintainers"]
    assert chart["icon"].startswith("data:image/svg+xml;base64,")
    changes = yaml.safe_load(chart["annotations"]["artifacthub.io/changes"])
    assert {each["kind"] for each in changes} <= {"added", "changed", "deprecated", "removed", "fixed", "security"}
    assert "gitops" in EXAMPLES
