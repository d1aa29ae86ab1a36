"""The reference is made from docstrings: each exported name has one, and so has whatever is public in it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pdoc
import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "docs" / "reference.py"
OURS = "ws402."


def names() -> tuple[str, ...]:
    scope: dict[str, object] = {"__name__": "reference"}
    exec(compile(SCRIPT.read_text(), SCRIPT, "exec"), scope)
    scope["load"]()  # type: ignore[operator]
    modules = scope["MODULES"]
    assert isinstance(modules, tuple)
    return modules


MODULES = names()


def public(namespace: pdoc.doc.Namespace[object]) -> Iterator[pdoc.doc.Doc[object]]:
    """Classes and functions of a module, and methods of classes, only their own. The linter asks for properties' texts;
    fields may be told by the text of their class.
    """
    members = namespace.own_members if isinstance(namespace, pdoc.doc.Class) else namespace.members.values()
    for each in members:
        if each.name.startswith("_") or not each.taken_from[0].startswith(OURS):
            continue
        if not isinstance(each, pdoc.doc.Variable):
            yield each
        if isinstance(each, pdoc.doc.Class):
            yield from public(each)


@pytest.mark.parametrize("module", MODULES)
def test_whatever_is_public_says_what_it_is(module: str) -> None:
    shown = list(public(pdoc.doc.Module.from_name(module)))
    assert shown
    assert [each.fullname for each in shown if not each.docstring.strip()] == []


def test_the_pages_are_made(tmp_path: Path) -> None:
    made = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path)], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert made.returncode == 0, made.stderr
    page = (tmp_path / "ws402" / "client.html").read_text()
    assert "max_amount" in page
    assert "Pay for that many seconds more" in page
    assert "PaidServer" in (tmp_path / "ws402" / "testing.html").read_text()
