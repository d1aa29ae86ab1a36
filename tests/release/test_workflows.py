"""CI's workflows run our make targets and nothing else, with few rights; and what they release agrees."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.fixtures.processes import clean_environment

from ws402 import __version__

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
WORKFLOWS: dict[str, dict[str, Any]] = {path.stem: yaml.safe_load(path.read_text()) for path in FILES}
JOBS = [
    pytest.param(job, id=f"{name}: {each}") for name, file in WORKFLOWS.items() for each, job in file["jobs"].items()
]
TARGETS = set(re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text()))


def test_the_workflows_are_what_the_schema_asks_for() -> None:
    check = Path(sys.executable).with_name("check-jsonschema")
    command = [str(check), "--builtin-schema", "vendor.github-workflows", *map(str, FILES)]
    done = subprocess.run(command, env=clean_environment({}), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("job", JOBS)
def test_every_step_is_a_make_target_or_a_known_action(job: dict[str, Any]) -> None:
    assert job["timeout-minutes"] <= 60
    for step in job["steps"]:
        if "run" in step:
            command = step["run"].split()
            assert command[0] == "make"
            assert command[1] in TARGETS
            assert "${{" not in step["run"], "a name that a stranger chose would be run by the shell"
        else:
            owner, _, version = step["uses"].partition("@")
            assert owner.partition("/")[0] in {"actions", "docker", "sigstore", "pypa"}
            assert re.fullmatch(r"v\d+|release/v\d+", version)
            assert owner != "actions/checkout" or step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_may_only_read_unless_a_job_says_so(name: str) -> None:
    assert WORKFLOWS[name]["permissions"] == {"contents": "read"}
    text = (ROOT / ".github" / "workflows" / f"{name}.yml").read_text()
    assert "pull_request_target" not in text
    assert "secrets." not in text
    assert name == "release" or "write" not in text


def test_nothing_is_published_without_a_tag() -> None:
    publishing = {"push-images", "push-chart", "sign", "publish-files", "publish-npm"}
    seen = set()
    for job in WORKFLOWS["release"]["jobs"].values():
        for step in job["steps"]:
            publishes = {*step.get("run", "").split()} & publishing
            if publishes or "pypi" in step.get("uses", ""):
                seen |= publishes
                assert "github.ref_type == 'tag'" in (step.get("if", ""), job.get("if", ""))
    assert seen == publishing


def test_the_chart_asks_for_the_version_that_the_package_has() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    chart = yaml.safe_load((ROOT / "charts" / "ws402" / "Chart.yaml").read_text())
    assert project["project"]["version"] == chart["appVersion"] == __version__


def test_the_javascript_package_has_the_version_and_is_locked_by_hash() -> None:
    package = json.loads((ROOT / "sdk" / "js" / "package.json").read_text())
    lock = json.loads((ROOT / "sdk" / "js" / "package-lock.json").read_text())
    assert package["version"] == lock["version"] == __version__
    assert "dependencies" not in package
    installed = {name: each for name, each in lock["packages"].items() if name}
    assert len(installed) > 5
    assert [name for name, each in installed.items() if not each.get("integrity", "").startswith("sha512-")] == []
    shown = make("--dry-run", "publish-npm").stdout
    assert f"npm publish dist/npm/ws402-client-{__version__}.tgz --access public --provenance" in shown


def chart_version() -> str:
    version: str = yaml.safe_load((ROOT / "charts" / "ws402" / "Chart.yaml").read_text())["version"]
    return version


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "--no-print-directory", *arguments]
    environment = clean_environment({"PATH": os.environ["PATH"]})
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_a_tag_that_is_not_the_version_is_refused() -> None:
    assert make("check-tag", f"TAG=v{__version__}").returncode == 0
    refused = make("check-tag", "TAG=v9.9.9")
    assert refused.returncode != 0
    assert f"is not v{__version__}" in refused.stderr


@pytest.mark.parametrize("target", ["push-images", "push-chart", "sign"])
def test_what_publishes_asks_where(target: str) -> None:
    refused = make(target, "REGISTRY=", "--old-file=chart-package")
    assert refused.returncode != 0
    assert "set REGISTRY" in refused.stderr


def test_what_would_be_pushed_has_both_architectures_provenance_and_a_lower_case_name() -> None:
    shown = make("--dry-run", "push-images", "push-chart", "sign", "REGISTRY=ghcr.io/Someone").stdout
    for part in ("linux/amd64,linux/arm64", "--provenance=mode=max", "--sbom=true", "REGISTRY=ghcr.io/someone "):
        assert part in shown
    assert f"helm push dist/ws402-{chart_version()}.tgz oci://ghcr.io/someone/charts" in shown
    assert "cosign sign --yes --recursive ghcr.io/someone/ws402-$each:" in shown
