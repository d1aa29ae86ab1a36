"""Whatever happens to money, in whatever order, nobody is owed more than he paid: see docs/invariants.md.

`WS402_SCHEDULES=10000` runs that many fresh schedules; without it they are few, and the same every time.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from sqlalchemy import Engine, create_engine, make_url
from tests.gateway.machine.machine import MoneyMachine

from ws402.gateway.ledger.database import Database

SCHEDULES = int(os.environ.get("WS402_SCHEDULES", "0"))
MEMORY = Path("/dev/shm")
HOURS = 24 * 3600

Ledger = Callable[[], AbstractContextManager[tuple[str, Engine | None]]]


def run(ledger: Ledger, *, schedules: int) -> None:
    profile = settings(
        max_examples=SCHEDULES or schedules,
        stateful_step_count=30,
        derandomize=not SCHEDULES,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    logging.disable(logging.CRITICAL)  # what is logged of thousands of reorgs tells nobody anything
    try:
        run_state_machine_as_test(type("Machine", (MoneyMachine,), {"ledger": staticmethod(ledger)}), settings=profile)
    finally:
        logging.disable(logging.NOTSET)


async def _create(url: str) -> None:
    database = Database(url)
    await database.create()
    await database.close()


@pytest.fixture
def folder() -> Iterator[Path]:
    """In memory where there is such a place: here nothing depends on what a disk keeps."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as made:
        yield Path(made)


@pytest.mark.timeout(HOURS if SCHEDULES else 180)
def test_no_order_of_events_owes_what_was_not_received(folder: Path) -> None:
    empty, numbers = folder / "empty.db", count()
    asyncio.run(_create(f"sqlite:///{empty}"))

    @contextmanager
    def ledger() -> Iterator[tuple[str, Engine | None]]:
        path = folder / f"{next(numbers)}.db"
        shutil.copy(empty, path)
        reader = create_engine(f"sqlite:///{path}")
        yield f"sqlite:///{path}", reader
        reader.dispose()
        path.unlink()

    run(ledger, schedules=25)


@pytest.mark.parametrize("database_url", [pytest.param("postgresql", marks=pytest.mark.postgres)], indirect=True)
@pytest.mark.timeout(HOURS if SCHEDULES else 400)
def test_no_order_of_events_on_postgresql_does_so_either(database_url: str) -> None:
    asyncio.run(_create(database_url))
    empty, numbers = make_url(database_url).database, count()
    server = os.environ["DATABASE_URL"]

    def execute(statement: str) -> None:
        async def executed() -> None:
            connection: Any = await asyncpg.connect(server)
            await connection.execute(statement)
            await connection.close()

        asyncio.run(executed())

    @contextmanager
    def ledger() -> Iterator[tuple[str, Engine | None]]:
        name = f"{empty}_{next(numbers)}"
        execute(f"CREATE DATABASE {name} TEMPLATE {empty}")
        yield make_url(database_url).set(database=name).render_as_string(hide_password=False), None
        execute(f"DROP DATABASE {name} WITH (FORCE)")

    run(ledger, schedules=8)
