"""`ws402 ledger copy`: a ledger goes to another database and back, whole, once, and with one that signs at a time."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Integer, func, select, text, update
from tests.fixtures.database import postgres_url
from tests.fixtures.evm import ETHER, Evm
from tests.fixtures.processes import COMMAND
from tests.gateway.refunds.world import NETWORK, TENANT, world

from ws402.cli import cli
from ws402.errors import ConfigurationError
from ws402.gateway.books.audit_log import AuditLog
from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.tables import idempotency_keys, metadata, networks, signers
from ws402.protocol import GenerateRequest

SMALL = ETHER // 1000


@contextmanager
def address(kind: str, folder: Path) -> Iterator[str]:
    if kind == "sqlite":
        folder.mkdir()
        yield f"sqlite:///{folder}/ledger.db"
        return
    with postgres_url() as url:
        yield url


@pytest.fixture(
    params=[
        "sqlite-sqlite",
        pytest.param("sqlite-postgresql", marks=pytest.mark.postgres),
        pytest.param("postgresql-sqlite", marks=pytest.mark.postgres),
    ]
)
def both(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Two empty addresses: to copy from, and to."""
    with ExitStack() as stack:
        urls = [
            stack.enter_context(address(kind, tmp_path / str(n))) for n, kind in enumerate(request.param.split("-"))
        ]
        yield urls[0], urls[1]


@pytest.fixture
def server() -> Iterator[str]:
    with postgres_url() as url:
        yield url


@pytest.fixture
def file(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/ledger.db"


@pytest.fixture
def other(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/other.db"


async def copy(source: str, target: str, *options: str) -> Result:
    arguments = ["ledger", "copy", *options]
    environment = {"DATABASE_URL": source, "TARGET_DATABASE_URL": target}
    return await asyncio.to_thread(CliRunner().invoke, cli, arguments, env=environment)


async def content(url: str) -> dict[str, list[Any]]:
    """All rows but what a copy has anew."""
    database = Database(url)
    try:
        found: dict[str, list[Any]] = {}
        async with database.read() as connection:
            for table in metadata.sorted_tables:
                columns = [each for each in table.columns if not each.name.startswith(("lease_", "restored_"))]
                found[table.name] = sorted(map(repr, (await connection.execute(select(*columns))).all()))
        return found
    finally:
        await database.close()


async def count(url: str, condition: Any) -> int:
    database = Database(url)
    try:
        async with database.read() as connection:
            return int((await connection.execute(select(func.count()).where(condition))).scalar_one())
    finally:
        await database.close()


async def change(url: str, statement: Any) -> None:
    database = Database(url)
    try:
        async with database.begin() as connection:
            await connection.execute(statement)
    finally:
        await database.close()


async def fill(evm: Evm, url: str) -> Any:
    """A ledger in which something of everything has happened; its key."""
    database = Database(url)
    await database.create()
    try:
        async with world(evm, database) as w:
            one, two = await w.payers(2)
            await w.owe(one, SMALL)
            await w.finish()
            await w.owe(two, 2 * SMALL)  # is still to be paid
            request = GenerateRequest(amount=2**255, resource_id="é", estimated_duration=60, network=NETWORK)
            await w.service.of(TENANT).generate(request)
            await AuditLog(database, None).seal()
        answers = [
            {"tenant": TENANT, "key": f"k{n}", "request_hash": "h", "response": b"\0\xff", "created_at": n}
            for n in range(12_000)
        ]
        async with database.begin() as connection:
            await connection.execute(idempotency_keys.insert(), answers)
        return w.key
    finally:
        await database.close()


async def works(evm: Evm, url: str, key: Any) -> None:
    """A gateway on it pays what was still owed, and goes on."""
    database = Database(url)
    await database.create()
    try:
        async with world(evm, database, key=key, holder="after") as w:
            (payer,) = await w.payers(1)
            await w.owe(payer, SMALL)
            await w.finish()
            assert w.received(payer) == SMALL
            assert len(await w.refunds("final")) == 3
            await w.audit()
    finally:
        await database.close()


async def test_a_ledger_is_moved_whole_and_only_the_new_one_signs(devchain_evm: Evm, both: tuple[str, str]) -> None:
    source, target = both
    key = await fill(devchain_evm, source)
    before = await content(source)
    planned = await copy(source, target, "--move", "--dry-run")
    assert planned.exit_code == 0, planned.exception
    assert "idempotency_keys: 12000" in planned.output
    assert await count(source, networks.c.restored_at.is_not(None)) == 0
    moved = await copy(source, target, "--move")
    assert moved.exit_code == 0, moved.exception
    assert f"networks: {NETWORK}" in moved.output
    assert await content(target) == await content(source) == before
    assert await count(target, networks.c.restored_at.is_not(None)) == 0
    assert await count(source, networks.c.restored_at.is_not(None)) == 1
    await works(devchain_evm, target, key)
    again = await copy(source, target, "--move")
    assert (again.exit_code, "not reconciled" in str(again.exception) or "already" in str(again.exception)) == (1, True)


async def test_a_copy_to_look_at_signs_nothing(devchain_evm: Evm, file: str, other: str) -> None:
    await fill(devchain_evm, file)
    copied = await copy(file, other)
    assert copied.exit_code == 0, copied.exception
    assert "sends no refund" in copied.output
    assert await content(other) == await content(file)
    assert await count(other, networks.c.restored_at.is_not(None)) == 1
    assert await count(file, networks.c.restored_at.is_not(None)) == 0
    full = await copy(file, other)
    assert "There is a ledger" in str(full.exception)


async def test_a_copy_that_is_killed_is_no_ledger_and_goes_on(
    devchain_evm: Evm, file: str, other: str, tmp_path: Path
) -> None:
    await fill(devchain_evm, file)
    environment = {"DATABASE_URL": file, "TARGET_DATABASE_URL": other, "PATH": "/usr/bin:/bin"}
    running = subprocess.Popen([COMMAND, "ledger", "copy", "--move"], env=environment, cwd=tmp_path)
    path = Path(other.removeprefix("sqlite:///"))
    while not path.exists():
        assert running.poll() is None
        time.sleep(0.01)
    time.sleep(0.2)
    running.kill()
    running.wait()
    database = Database(other)
    try:
        if await count_tables(other):
            with pytest.raises(ConfigurationError, match="unfinished copy"):
                await database.create()
    finally:
        await database.close()
    finished = await copy(file, other, "--move")
    assert finished.exit_code == 0 or "There is a ledger" in str(finished.exception), finished.exception
    assert await content(other) == await content(file)


async def count_tables(url: str) -> int:
    """1 when there is an unfinished ledger."""
    database = Database(url)
    try:
        async with database.begin() as connection:
            if not (await connection.execute(text("SELECT 1 FROM sqlite_master WHERE name = 'ledger_copy'"))).first():
                return 0
            return 1
    finally:
        await database.close()


async def unfinish(source: str, target: str, *facts: str) -> None:
    """As if the run that made this copy had been ended right before its last commit."""
    await change(target, text("UPDATE alembic_version SET version_num = 'unfinished copy'"))
    await change(target, text("CREATE TABLE ledger_copy (name TEXT PRIMARY KEY, copied BIGINT, last TEXT)"))
    rows = {"": Database(source).name} | dict.fromkeys(facts, "")
    for table in metadata.sorted_tables:
        # After every key that there is.
        keys = [2**62 if isinstance(each.type, Integer) else "~" for each in table.primary_key.columns]
        rows[table.name] = json.dumps(keys)
    for name, last in rows.items():
        await change(target, text("INSERT INTO ledger_copy VALUES (:name, 1, :last)").bindparams(name=name, last=last))


async def test_one_that_was_ended_between_the_two_commits_is_finished(devchain_evm: Evm, file: str, other: str) -> None:
    """The source was put away already, and the copy is not the ledger yet."""
    key = await fill(devchain_evm, file)
    assert (await copy(file, other, "--move")).exit_code == 0
    await unfinish(file, other, "handed over")
    again = await copy(file, other, "--move")
    assert again.exit_code == 0, again.exception
    assert await count(other, networks.c.restored_at.is_not(None)) == 0
    await works(devchain_evm, other, key)


async def test_what_differs_is_told_and_nothing_is_made_of_it(devchain_evm: Evm, file: str, other: str) -> None:
    await fill(devchain_evm, file)
    assert (await copy(file, other)).exit_code == 0
    await unfinish(file, other)
    await change(file, update(signers).values(next_nonce=77))  # the source went on meanwhile
    told = await copy(file, other)
    assert told.exit_code == 1
    assert "signers has 1 rows at the source and 1 in the copy, which are not the same" in str(told.exception)
    await change(file, update(networks).values(restored_at=1, restored_block=1))
    refused = await copy(file, other, "--move")
    assert "not reconciled" in str(refused.exception)


async def test_a_ledger_that_a_gateway_works_on_is_not_copied(devchain_evm: Evm, file: str, other: str) -> None:
    database = Database(file)
    await database.create()
    async with world(devchain_evm, database):
        told = await copy(file, other)
    await database.close()
    assert told.exit_code == 1
    assert "open" in str(told.exception)
    assert not Path(other.removeprefix("sqlite:///")).exists()


@pytest.mark.postgres
async def test_a_gateway_that_holds_a_key_in_postgresql_is_noticed(devchain_evm: Evm, server: str, other: str) -> None:
    database = Database(server)
    await database.create()
    async with world(devchain_evm, database) as w:
        await w.step()
        told = await copy(server, other)
    await database.close()
    assert told.exit_code == 1
    assert "holds the key" in str(told.exception)
