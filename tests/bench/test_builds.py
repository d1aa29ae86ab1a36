"""Ratios of builds, their tables, and the worktree of the revision that is compared with."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from bench.builds import HERE, ROOT, builds, comparison, ratio, turns


def test_a_ratio_is_the_median_of_pairs() -> None:
    assert ratio([100, 200, 400], [50, 100, 400]) == 0.5


def test_runs_without_a_partner_make_no_ratio() -> None:
    with pytest.raises(ValueError, match="zip"):
        ratio([100, 200], [50])


def test_turns_change() -> None:
    assert [list(turns([1, 2, 3], turn)) for turn in (0, 1, 2)] == [[1, 2, 3], [3, 2, 1], [1, 2, 3]]


def test_a_table_of_two_builds_has_the_ratio_beside_its_goal() -> None:
    rows = {"verify": {"old": [210.0, 200.0], HERE: [105.0, 100.0]}, "settle": {"old": [10.0, 10.0], HERE: [9.0, 8.0]}}
    assert comparison("SQLite (µs)", rows, {"verify": 0.4}).splitlines() == [
        "| SQLite (µs) | old | this | ratio | goal |",
        "|---|---|---|---|---|",
        "| verify | 200.0 | 100.0 | 0.50 | 0.4 |",
        "| settle | 10.0 | 8.0 | 0.85 | – |",
    ]


def test_a_table_of_one_build_has_its_figures() -> None:
    assert comparison("µs", {"verify": {HERE: [3.0, 2.0]}}, {"verify": 0.4}).splitlines() == [
        "| µs | this |",
        "|---|---|",
        "| verify | 2.0 |",
    ]


def test_a_revision_stands_in_a_worktree_until_the_end() -> None:
    def worktrees() -> str:
        return subprocess.run(["git", "worktree", "list"], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    if subprocess.run(["git", "rev-parse"], cwd=ROOT, capture_output=True, check=False).returncode:
        with pytest.raises(SystemExit, match="worktree add"), builds("HEAD"):
            pass
        return
    with builds("HEAD") as (there, here):
        assert here.folder == ROOT
        assert (there.folder / "app" / "ws402" / "__init__.py").read_bytes() == (
            Path(ROOT) / "app" / "ws402" / "__init__.py"
        ).read_bytes()
        assert there.environment["PYTHONPATH"].startswith(f"{there.folder}/app:")
        assert str(there.folder) in worktrees()
    assert str(there.folder) not in worktrees()
    assert not there.folder.exists()


def test_a_revision_that_is_none_is_refused() -> None:
    with pytest.raises(SystemExit, match="no-such-revision"), builds("no-such-revision"):
        pass
