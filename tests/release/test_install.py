"""`make venv` tells a newcomer what it waits for, and why it failed."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PIP = """#!/bin/sh
case "$*" in
*requirements*)
  echo "Collecting first==1.0 (from -r requirements/dev.txt (line 1))"
  echo "  Downloading first-1.0.whl (1 kB)"
  echo "Collecting second==2.0"
  [ "$ANSWER" = 0 ] || { echo "ERROR: no such version of second" >&2; exit "$ANSWER"; }
  echo "Installing collected packages: first, second" ;;
esac
"""
"""Says what pip says; the packages themselves would take minutes."""


@pytest.mark.parametrize("answer", [0, 1])
def test_each_package_is_named_while_one_waits_and_a_failure_is_shown(answer: int, tmp_path: Path) -> None:
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(PIP)
    python.chmod(0o755)
    ended = subprocess.run(
        ["make", "--no-print-directory", "venv", f"VENV={tmp_path / 'venv'}"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "ANSWER": str(answer)},
        capture_output=True,
        text=True,
        check=False,
    )
    first, *lines = ended.stdout.splitlines()
    assert re.match(r"installing about \d{2,} locked packages", first)
    assert lines[:2] == ["  first==1.0", "  second==2.0"]
    if answer == 0:
        assert ended.returncode == 0
        assert lines[2].startswith("unpacking")
        assert (tmp_path / "venv" / ".installed").exists()
    else:
        assert ended.returncode != 0
        assert "ERROR: no such version of second" in ended.stderr
        assert not (tmp_path / "venv" / ".installed").exists()
