"""The runbook names commands that exist, and sections that alerts lead to."""

import re
from pathlib import Path

import click
import pytest
from tests.observability.rules.test_rules import ALERTS

from ws402.cli.ops import command

RUNBOOK = (Path(__file__).parents[3] / "docs" / "runbook.md").read_text()
NAMED = sorted({match.rstrip() for match in re.findall(r"ws402 ops ((?:--[a-z-]+ )*(?:[a-z-]+ ?)+)", RUNBOOK)})


def test_the_runbook_names_commands() -> None:
    assert len(NAMED) > 10


@pytest.mark.parametrize("named", NAMED)
def test_a_command_of_the_runbook_exists(named: str) -> None:
    found: click.Command = command
    for word in named.split():
        if word.startswith("--"):
            assert word in {option for each in found.params for option in each.opts}
        elif isinstance(found, click.Group):
            assert word in found.commands, f"ws402 ops has no '{named}'"
            found = found.commands[word]


def test_every_section_belongs_to_an_alert() -> None:
    assert sorted(re.findall(r"^### (\w+)$", RUNBOOK, re.MULTILINE)) == sorted(rule["alert"] for rule in ALERTS)
