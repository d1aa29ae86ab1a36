"""The plugin in somebody else's project, in a pytest of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.fixtures.processes import clean_environment

PROJECT = """
import urllib.request

def test_the_gateway_answers(ws402_gateway):
    with urllib.request.urlopen(ws402_gateway.url + "/api/health") as answer:
        assert answer.status == 200

def test_each_test_has_its_own_provider(ws402_provider):
    assert ws402_provider.sessions == {}
    ws402_provider.faults.unavailable("verify")
"""


def test_the_fixtures_are_found_without_any_configuration(tmp_path: Path) -> None:
    (tmp_path / "test_shop.py").write_text(PROJECT)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-W",
        "error",
        "-p",
        "no:asyncio",
        "-p",
        "no:cacheprovider",
        "test_shop.py",
    ]
    environment = clean_environment({})  # whatever the run of these tests is told
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout
    assert "2 passed" in ended.stdout
