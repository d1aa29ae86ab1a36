"""The builds that are measured side by side: this checkout, and a revision of it (`--against REV`)."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).parent.parent
HERE = "this"
T = TypeVar("T")


@dataclass(frozen=True)
class Build:
    """A checkout. What is measured runs its code, with this checkout's drivers."""

    name: str
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """The same interpreter and packages, this checkout's code."""
        # What this checkout names for its own process, another may not have.
        mine = {name: value for name, value in os.environ.items() if name != "ECC_BACKEND_CLASS"}
        return mine | {"PYTHONPATH": f"{self.folder / 'app'}:{self.folder}", "PYTHONUNBUFFERED": "1"}


@contextmanager
def builds(against: str | None) -> Iterator[list[Build]]:
    """This checkout, and before it the revision, in a git worktree that is gone afterwards."""
    here = Build(HERE, ROOT)
    if against is None:
        yield [here]
        return
    with tempfile.TemporaryDirectory(prefix="ws402-bench-") as name:
        folder = Path(name) / "tree"
        _git("worktree", "add", "--detach", str(folder), against)
        try:
            yield [Build(against, folder), here]
        finally:
            _git("worktree", "remove", "--force", str(folder))


def _git(*arguments: str) -> None:
    told = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if told.returncode:
        sys.exit(f"git {' '.join(arguments)}: {told.stderr.strip()}")


def turns(names: Sequence[T], turn: int) -> Sequence[T]:
    """The order in which they take their turn: changing, so that none is always first."""
    return names if turn % 2 == 0 else names[::-1]


def ratio(before: Sequence[float], after: Sequence[float]) -> float:
    """After ÷ before: the median of pairs that were measured one after the other, so that what others do on this
    machine meets both.
    """
    return statistics.median(b / a for a, b in zip(before, after, strict=True))


def comparison(title: str, rows: Mapping[str, Mapping[str, Sequence[float]]], goals: Mapping[str, float]) -> str:
    """A table of figures by row and build, the least of the runs; with two builds, and the ratio beside its goal."""
    names = list(next(iter(rows.values())))
    compared = len(names) == 2
    head = [title, *names, *(("ratio", "goal") if compared else ())]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row, figures in rows.items():
        cells = [row, *(f"{min(figures[name]):.1f}" for name in names)]
        if compared:
            goal = goals.get(row)
            cells += [f"{ratio(*(figures[name] for name in names)):.2f}", "–" if goal is None else f"{goal:g}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
