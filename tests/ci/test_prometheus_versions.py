"""The rules are tried under both releases of Prometheus: one that is missing is told, and fails in CI."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.fixtures.processes import clean_environment
from tests.fixtures.prometheus import MAJORS, programs

ROOT = Path(__file__).parents[2]
RULES = "tests/observability/rules/test_rules.py::test_promtool_accepts_every_file"
VERSIONS = {"two": "2.42.0+ds", "older": "2.40.0", "three": "3.16.0"}


def promtool(folder: Path, version: str) -> Path:
    """A stand-in that only tells its version, and accepts everything."""
    folder.mkdir()
    path = folder / "promtool"
    path.write_text(f"#!/bin/sh\necho promtool, version {version}\n")
    path.chmod(0o755)
    return folder


def test_a_release_that_was_not_tried_fails(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", RULES]
    environment = clean_environment({"WS402_FORBID_SKIPS": "1"}) | {"PATH": str(promtool(tmp_path / "bin", "2.42.0"))}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed, 1 passed" in done.stdout
    assert "this test was skipped: Skipped: promtool 3 is not in PATH" in done.stdout


def test_both_are_found_behind_each_other_in_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = {name: promtool(tmp_path / name, version) for name, version in VERSIONS.items()}
    monkeypatch.setenv("PATH", ":".join(map(str, folders.values())))
    found = programs.__wrapped__("promtool")
    assert found == {"2": str(folders["two"] / "promtool"), "3": str(folders["three"] / "promtool")}
    assert set(found) == set(MAJORS)


def test_ci_brings_both() -> None:
    script = (ROOT / ".ci/run").read_text()
    assert re.search(r"(?m)^  services=\(.*\bprometheus\b.*\)$", script)
    assert 'PATH=$PATH:$("$kit/services" path3)' in script
