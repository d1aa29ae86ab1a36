"""The Pythons that we support are the same everywhere: in the package's data, the documents, the lists of packages, CI
and the images."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
VERSIONS = ["3.11", "3.12", "3.13", "3.14"]
OLDEST, NEWEST = VERSIONS[0], VERSIONS[-1]


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_this_is_one_of_them() -> None:
    assert f"{sys.version_info.major}.{sys.version_info.minor}" in VERSIONS


def test_the_package_says_so(project: dict[str, Any]) -> None:
    assert project["project"]["requires-python"] == f">={OLDEST}"
    named = [each.rpartition(" ")[2] for each in project["project"]["classifiers"] if ":: Python :: 3." in each]
    assert named == VERSIONS


def test_our_tools_judge_by_the_oldest(project: dict[str, Any]) -> None:
    assert project["tool"]["mypy"]["python_version"] == OLDEST
    assert project["tool"]["ruff"]["target-version"] == "py" + OLDEST.replace(".", "")


def test_the_documents_say_so() -> None:
    assert f"Python {OLDEST} to {NEWEST}" in (ROOT / "README.md").read_text()
    assert f"Python {OLDEST} to {NEWEST}" in (ROOT / "docs/development.md").read_text()


def test_the_lists_are_resolved_for_all_of_them_and_locked_by_hashes() -> None:
    commands = re.findall(r"(?m)^\t.*uv pip compile.*$", (ROOT / "Makefile").read_text())
    lists = {f"requirements/{path.name}" for path in (ROOT / "requirements").glob("*.txt")}
    lists |= {str(path.relative_to(ROOT)) for path in (ROOT / "tests").glob("*/requirements.txt")}
    assert {command.rpartition(" ")[2] for command in commands} == lists
    for command in commands:
        assert f"--universal --python-version {OLDEST} " in command
        assert "--generate-hashes" in command
    for name in lists:
        entries = re.split(r"(?m)^(?=[a-z])", (ROOT / name).read_text())[1:]
        assert entries
        assert all("==" in each.partition("\n")[0] and "--hash=sha256:" in each for each in entries)


@pytest.mark.parametrize("name", ["Dockerfile.gateway", "Dockerfile.server"])
def test_images_stand_on_the_newest(name: str) -> None:
    text = (ROOT / name).read_text()
    assert re.search(rf"(?m)^ARG PYTHON_IMAGE=docker\.io/library/python:{re.escape(NEWEST)}\.\d+-slim-", text)
    assert f"Python {OLDEST} or newer" in text


def test_ci_runs_the_newest_beside_its_own_and_builds_images_on_it() -> None:
    script = (ROOT / ".ci/run").read_text()
    assert f"\nnewest={NEWEST}\n" in script
    assert f"PYTHON_IMAGE=docker.io/library/python:{NEWEST}-slim-" in script


def test_ci_ends_nothing_by_its_name() -> None:
    assert not re.search(r"\b(pkill|killall)\b", (ROOT / ".ci/run").read_text())
