"""The reloader of development under Tilt, with a command that tells what it is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

RELOAD = Path(__file__).parents[2] / "k8s" / "dev" / "reload.py"
PROGRAM = """
import signal, sys, time
def main():
    signal.signal(signal.SIGTERM, lambda *_: (print("drained", flush=True), sys.exit(0)))
    print("version {version}", sys.argv[1:], flush=True)
    {then}
"""


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    package = tmp_path / "origin"
    (package / "cli").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "cli" / "__init__.py").write_text(PROGRAM.format(version=1, then="time.sleep(60)"))
    return package


@pytest.fixture
def reloader(origin: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    environment = {
        **os.environ, "RELOAD_FROM": str(origin), "RELOAD_COPY": str(tmp_path / "copy/ws402"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip
    with subprocess.Popen(
        [sys.executable, str(RELOAD), "server", "--port", "1"],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as process:  # fmt: skip
        yield process
        process.kill()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_changed_code_replaces_the_running_process_which_is_asked_to_end(
    reloader: subprocess.Popen[str], tmp_path: Path
) -> None:
    assert line(reloader) == "version 1 ['server', '--port', '1']"
    changed = tmp_path / "copy/ws402/cli/__init__.py"
    changed.write_text(PROGRAM.format(version=2, then="time.sleep(60)"))
    assert line(reloader) == "drained"
    assert line(reloader).startswith("version 2")
    reloader.send_signal(signal.SIGTERM)
    assert line(reloader) == "drained"
    assert reloader.wait(10) == 0


def test_a_program_that_fails_waits_for_its_repair(reloader: subprocess.Popen[str], tmp_path: Path) -> None:
    assert line(reloader).startswith("version 1")
    changed = tmp_path / "copy/ws402/cli/__init__.py"
    changed.write_text(PROGRAM.format(version=2, then="sys.exit(7)"))
    assert line(reloader) == "drained"
    assert line(reloader).startswith("version 2")
    assert line(reloader) == "ws402 ended with status 7; waiting for a change"
    time.sleep(0.05)  # so that the time of change differs
    changed.write_text(PROGRAM.format(version=3, then="time.sleep(60)"))
    assert line(reloader).startswith("version 3")
