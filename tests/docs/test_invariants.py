"""The page of invariants: each has its number, something that enforces it, and tests that are there."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest
from sqlalchemy import Connection, inspect, text

from ws402.gateway.ledger.database import Database

TESTS = Path(__file__).parents[1]
TEXT = (TESTS.parent / "docs" / "invariants.md").read_text()
INVARIANTS = re.findall(
    r"^### I(\d+): .+?\n.*?^- Enforced by: (.+?)^- Proved by: (.+?)(?=^#|\Z)", TEXT, re.MULTILINE | re.DOTALL
)
DIALECTS = {"(SQLite)": "sqlite", "(PostgreSQL)": "postgresql"}
MONEY = ("invoices", "transfers", "payments", "sessions", "checkpoints", "refunds", "deliveries", "attempts", "entries")
KINDS = {"ck_invoices_expires_later", "ck_payments_binding", "ck_deliveries_kind", "ck_attempts_kind"}
"""CHECKs of single columns about which nothing more is to be said."""


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def of_dialect(cell: str, dialect: str) -> set[str]:
    """The constraints and triggers that this database has: lists that end in another's name are left out."""
    found: set[str] = set()
    for part in re.split(r"(?<=\)),", cell):
        of = next((kind for marked, kind in DIALECTS.items() if marked in part), dialect)
        found |= {each for each in names(part) if "/" not in each and of == dialect}
    return found


ENFORCERS = sorted({each for _, cell, _ in INVARIANTS for each in names(cell) if "/" in each})
PROOFS = sorted({each for *_, cell in INVARIANTS for each in names(cell)})


def test_numbers_are_consecutive_and_every_section_is_whole() -> None:
    numbers = [int(number) for number, *_ in INVARIANTS]
    assert numbers == list(range(1, TEXT.count("\n### ") + 1))
    assert [number for number, enforced, proved in INVARIANTS if not (names(enforced) and names(proved))] == []


@pytest.mark.parametrize("named", PROOFS)
def test_what_proves_it_is_a_test(named: str) -> None:
    file, _, name = named.partition("::")
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    found = {each.name for each in ast.walk(ast.parse((TESTS / file).read_text())) if isinstance(each, kinds)}
    assert name.startswith("test_")
    assert name in found


@pytest.mark.parametrize("named", ENFORCERS)
def test_what_enforces_it_is_there(named: str) -> None:
    file, _, path = named.partition("::")
    found: object = importlib.import_module(f"ws402.{file.removesuffix('.py').replace('/', '.')}")
    for name in path.split("."):
        fields = getattr(found, "__struct_fields__", ())
        found = name in fields or getattr(found, name)


def _schema(connection: Connection) -> tuple[set[str], set[str]]:
    """Names of all constraints and triggers, and of those that must be explained."""
    found = inspect(connection)
    everything: set[str] = set()
    to_explain: set[str] = set()
    for table in found.get_table_names():
        rules = {str(each["name"]) for each in found.get_check_constraints(table)}
        rules |= {str(each["name"]) for each in found.get_unique_constraints(table)}
        keys = {str(each["name"]) for each in found.get_foreign_keys(table)}
        everything |= rules | keys | {str(found.get_pk_constraint(table)["name"])}
        to_explain |= rules if table in MONEY else set()
    query = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
    if connection.dialect.name == "postgresql":
        query = "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal"
    triggers = set(connection.execute(text(query)).scalars())
    return everything | triggers, to_explain | triggers


async def test_the_constraints_and_triggers_are_those_of_the_ledger(database: Database) -> None:
    async with database.begin() as connection:
        there, to_explain = await connection.run_sync(_schema)
    named = set().union(*(of_dialect(cell, database.dialect) for _, cell, _ in INVARIANTS))
    assert named - there == set()
    assert to_explain - KINDS - named == set(), "say which invariant it keeps"


def test_what_the_state_machine_checks_is_on_the_page() -> None:
    machine = "".join(path.read_text() for path in sorted((TESTS / "gateway" / "machine").glob("*.py")))
    checked = set(re.findall(r"\bI(\d+):", machine))
    proved = {number for number, _, cell in INVARIANTS if "gateway/test_money_machine.py" in cell}
    assert checked == proved
