"""The audit log: whatever is changed in the ledger's history afterwards, by whoever, shows."""

from __future__ import annotations

import asyncio
import json
import subprocess
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.exc import DBAPIError
from tests.fixtures.evm import ETHER
from tests.fixtures.processes import COMMAND, clean_environment
from tests.fixtures.stack import Stack
from tests.wire.peers.client import StockClient
from tests.wire.peers.wallet import Wallet

from ws402.gateway.books import audit_log as module
from ws402.gateway.books.audit_log import AuditLog, Verdict
from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.entries import move, post
from ws402.gateway.ledger.tables import audit_log, entries

KEY = SecretStr("k" * 32)


async def book(database: Database, first: int, count: int) -> None:
    rows = [move("chain", "unclaimed", "base", "ETH", 10**20 + i, "t", str(i), i) for i in range(first, first + count)]
    async with database.begin() as connection:
        await post(connection, rows)


async def disarm(database: Database) -> None:
    """What somebody who owns the database can do first."""
    async with database.begin() as connection:
        for table in ("entries", "audit_log"):
            if database.dialect == "sqlite":
                for event in ("update", "delete"):
                    await connection.execute(text(f"DROP TRIGGER {table}_no_{event}"))
            else:
                await connection.execute(text(f"DROP TRIGGER {table}_append_only ON {table}"))


async def whole(log: AuditLog) -> Verdict:
    """The verdict over all parts."""
    verdict = await log.verify(most=2)
    while verdict.more and verdict.problem is None:
        verdict = await log.verify(verdict.number, most=2)
    return verdict


@pytest.fixture
async def log(database: Database) -> AuditLog:
    made = AuditLog(database, KEY)
    for first in (0, 3, 6, 9):
        await book(database, first, 3)
        await made.seal()
    await made.note("key_1", "refunds/change", {"refundId": "ref_1", "action": "hold"})
    return made


async def test_an_untouched_history_is_whole(database: Database, log: AuditLog) -> None:
    await book(database, 100, 5)
    verdict = await whole(log)
    assert (verdict.problem, verdict.number, verdict.last_entry, verdict.unsealed) == (None, 5, 12, 5)
    assert await log.seal() == 5
    assert await log.seal() == 0
    last = await log.verify(5)
    assert (last.number, last.entries, last.unsealed) == (6, 5, 0)


async def test_entries_and_records_can_only_be_added(database: Database, log: AuditLog) -> None:
    for statement in (
        update(entries).values(amount=1),
        delete(entries).where(entries.c.id == 1),
        update(audit_log).values(content="{}"),
        delete(audit_log),
    ):
        with pytest.raises(DBAPIError, match="append-only"):
            async with database.begin() as connection:
                await connection.execute(statement)


@pytest.mark.parametrize(
    ("tampering", "problem"),
    [
        (update(entries).where(entries.c.id == 5).values(amount=10**20 + 5), "entries 4 to 6 are not"),
        (update(entries).where(entries.c.id == 5).values(credit="revenue"), "entries 4 to 6 are not"),
        (delete(entries).where(entries.c.id == 7), "entries 7 to 9 are not what record 3 recorded: 2 instead of 3"),
        (delete(audit_log).where(audit_log.c.number == 2), "record 2 is missing"),
        (update(audit_log).where(audit_log.c.number == 5).values(content='{"operator":"x"}'), "record 5 was changed"),
        (update(audit_log).where(audit_log.c.number == 3).values(created_at=1), "record 3 was changed"),
    ],
)
async def test_what_was_changed_shows(database: Database, log: AuditLog, tampering: Any, problem: str) -> None:
    await disarm(database)
    async with database.begin() as connection:
        await connection.execute(tampering)
    told = (await whole(log)).problem
    assert told is not None
    assert problem in told


async def test_a_history_written_anew_needs_the_key_or_shows_by_a_noted_hash(database: Database, log: AuditLog) -> None:
    noted = (await log.verify()).hash
    assert (await log.verify(expect=noted)).expected
    await disarm(database)
    async with database.begin() as connection:
        await connection.execute(update(entries).where(entries.c.id == 1).values(amount=1))
        await connection.execute(delete(audit_log))
    forged = AuditLog(database)  # who has the database has not the key
    await forged.seal()
    assert (await whole(forged)).problem is None
    assert not (await forged.verify(expect=noted)).expected
    told = (await whole(log)).problem
    assert told is not None
    assert "AUDIT_LOG_KEY" in told


async def test_an_entry_slipped_in_below_the_last_record_shows(database: Database, log: AuditLog) -> None:
    await disarm(database)
    async with database.begin() as connection:
        await connection.execute(delete(entries).where(entries.c.id == 2))
        row = move("chain", "unclaimed", "base", "ETH", 5, "forged", "x", 1)
        await connection.execute(insert(entries).values(id=2, **row))
    assert (await whole(log)).problem is not None


async def test_two_gateways_make_one_chain(database: Database) -> None:
    logs = [AuditLog(database, KEY), AuditLog(database, KEY)]
    for first in range(0, 60, 6):
        calls = [book(database, first + turn, 1) for turn in range(6)]
        await asyncio.gather(*calls, *(log.seal() for log in logs))
    await logs[0].seal()
    verdict = await whole(logs[1])
    assert (verdict.problem, verdict.last_entry, verdict.unsealed) == (None, 60, 0)


async def test_long_histories_are_recorded_in_parts(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 10)
    monkeypatch.setattr(module, "CHUNK", 4)
    log = AuditLog(database, KEY)
    await book(database, 0, 35)
    assert await log.seal() == 35
    async with database.begin() as connection:
        assert len((await connection.execute(select(audit_log.c.number))).all()) == 4
    assert (await whole(log)).problem is None


async def test_an_operator_verifies_a_running_gateway(stack: Stack) -> None:
    async with Wallet(stack.rpc_url) as wallet, StockClient(stack.server_url, wallet) as peer:
        stack.rpc.fund(wallet.address, ETHER)
        async with await peer.buy("ticker", 300) as session:
            await session.expect("usage_update")
        await wallet.wait_for_balance(ETHER // 2)
    access = {"GATEWAY_URL": stack.gateway_url, "GATEWAY_ADMIN_KEY": stack.admin_key}

    def ops(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        environment = clean_environment(access | more)
        return subprocess.run(
            [COMMAND, "ops", *arguments], env=environment, capture_output=True, text=True, check=False
        )

    assert ops("signers", "pause", "base-sepolia", "--reason", "test").returncode == 0
    stack.gateway.restart()  # its end records what is left
    found = ops("--json", "audit-log", "verify")
    assert found.returncode == 0, found.stderr
    told = json.loads(found.stdout)
    assert told["problem"] is None
    assert told["operations"] == 1
    assert told["entries"] >= 4
    offline = ops("audit-log", "verify", "--offline", "--expect", told["hash"], DATABASE_URL=stack.database_url)
    assert offline.returncode == 0, offline.stderr
    assert "whole" in offline.stdout
    database = Database(stack.database_url)
    await disarm(database)
    async with database.begin() as connection:
        await connection.execute(update(entries).where(entries.c.id == 2).values(amount=1))
    await database.close()
    broken = ops("audit-log", "verify")
    assert broken.returncode == 3
    assert "BROKEN" in broken.stderr
