"""Whatever happens to money, in whatever order, nobody is owed more than he paid: see docs/invariants.md.

`WS402_SCHEDULES=10000` runs that many fresh schedules; without it they are few, and the same every time.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from sqlalchemy import Engine, create_engine
from tests.gateway.machine.machine import MoneyMachine

from ws402.gateway.ledger.database import Database

SCHEDULES = int(os.environ.get("WS402_SCHEDULES", "0"))
PROFILE = settings(
    max_examples=SCHEDULES or 30,
    stateful_step_count=30,
    derandomize=not SCHEDULES,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    print_blob=False,
)
MEMORY = Path("/dev/shm")


async def _create(url: str) -> None:
    database = Database(url)
    await database.create()
    await database.close()


@pytest.fixture
def folder() -> Iterator[Path]:
    """In memory where there is such a place: here nothing depends on what a disk keeps."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as made:
        yield Path(made)


def test_no_order_of_events_owes_what_was_not_received(folder: Path) -> None:
    empty, numbers = folder / "empty.db", count()
    asyncio.run(_create(f"sqlite:///{empty}"))

    @contextmanager
    def ledger() -> Iterator[tuple[str, Engine]]:
        path = folder / f"{next(numbers)}.db"
        shutil.copy(empty, path)
        reader = create_engine(f"sqlite:///{path}")
        yield f"sqlite:///{path}", reader
        reader.dispose()
        path.unlink()

    machine = type("Machine", (MoneyMachine,), {"ledger": staticmethod(ledger)})
    run_state_machine_as_test(machine, settings=PROFILE)
