"""The page's modules that need no browser, under Node's own test runner."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

TESTS = Path(__file__).with_name("node")
OLDEST = (20, 19)
"""From here on Node sees by itself that the page's files are modules."""


def node() -> str:
    found = shutil.which("node")
    if found is None:
        pytest.skip("Node is not installed: the page's modules are tested only in the browser suite")
    version = subprocess.run(
        [found, "--version"], capture_output=True, text=True, check=True, timeout=30
    ).stdout.strip()
    numbers = tuple(int(each) for each in version.removeprefix("v").split(".")[:2])
    if numbers < OLDEST:
        pytest.skip(f"Node {version} is too old for the page's modules: 20.19 or newer is needed")
    return found


def test_the_pages_modules_under_node() -> None:
    files = sorted(str(each) for each in TESTS.glob("*.test.mjs"))
    ran = subprocess.run([node(), "--test", *files], capture_output=True, text=True, check=False, timeout=150)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "# fail 0" in ran.stdout
    assert "# tests 0" not in ran.stdout
