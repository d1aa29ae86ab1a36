"""Every command of ours that a document names exists, with the options that it is given there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from ws402.cli import cli

ROOT = Path(__file__).parents[2]
TEXTS = [
    *(
        ROOT / name
        for name in ("README.md", "examples/README.md", "CHANGELOG.md", "findings/README.md", "tests/THREATS.md")
    ),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "charts" / "ws402").rglob("*.md")),
    *sorted((ROOT / "charts" / "ws402").rglob("*.txt")),
    *sorted((ROOT / "charts" / "ws402").rglob("*.y*ml")),
]
_BEFORE = r"(?:(?:export |exec |nice |sudo )?(?:[A-Z][A-Z0-9_]*=(?:\"[^\"]*\"|\S*) +)*(?:[\w./-]*/)?)"
_INLINE = re.compile(rf"`{_BEFORE}ws402( [^`]+)`")
_LINE = re.compile(rf"^\s*(?:\$ )?{_BEFORE}ws402( .+)$", re.MULTILINE)


def named() -> list[str]:
    """What comes after `ws402`, in running text and in blocks; lines that go on are one."""
    found: dict[str, None] = {}
    for path in TEXTS:
        text = re.sub(r"\\\n\s*", " ", path.read_text())
        for match in _INLINE.finditer(text):
            found[" ".join(match.group(1).split())] = None
        blocks = re.findall(r"```\w+\n(.*?)```", text, re.DOTALL) if path.suffix == ".md" else [text]
        for block in blocks:
            for match in _LINE.finditer(block):
                found[re.sub(r"\{\{.*?\}\}", "x", match.group(1)).split(" #")[0].rstrip("& ").strip()] = None
    return list(found)


def words(command: str) -> list[str]:
    """As a shell would split it; `…` and what is not closed are text."""
    try:
        return shlex.split(command.replace("…", "x"))
    except ValueError:
        return command.split()


@pytest.mark.parametrize("command", named())
def test_a_command_that_is_named_has_a_help_and_the_options_that_are_given(command: str) -> None:
    group: click.Command = cli
    path: list[str] = []
    rest = iter(words(command))
    for word in rest:
        option = word.partition("=")[0]
        if option.startswith("-") and option != "-":
            given_here = group.get_params(click.Context(group))
            known = {each: given for given in given_here for each in (*given.opts, *given.secondary_opts)}
            assert option in known, f"ws402 {' '.join(path)} has no {option}"
            given = known[option]
            if isinstance(given, click.Option) and not given.is_flag and "=" not in word:
                next(rest, None)
        elif isinstance(group, click.Group):
            found = group.get_command(click.Context(group), word.rstrip(","))
            assert found is not None, f"ws402 {' '.join(path)} has no command '{word}'"
            group, path = found, [*path, word.rstrip(",")]
        elif word in {"|", ">", ";", "&&"}:
            break
    shown = CliRunner().invoke(cli, [*path, "--help"])
    assert shown.exit_code == 0, shown.output
    assert shown.output.startswith(f"Usage: cli {' '.join(path)}".rstrip())


def test_commands_are_found_in_text_and_in_blocks() -> None:
    found = named()
    assert "ops signers resume NETWORK" in found
    assert any(command.startswith("gateway --port") for command in found)
    assert any(command.startswith("pay http") and "--leave-after" in command for command in found)
    assert len(found) > 40


def test_the_runbook_asks_the_installation_as_it_stands_on_a_cluster() -> None:
    asked = re.findall(r"ws402 ops (\S+)", (ROOT / "docs" / "runbook.md").read_text())
    assert len(asked) > 30
    assert set(asked) == {"--kube"}
