"""Checking a ledger by itself: no chain is asked, and nothing is changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from pydantic import SecretStr

from ws402.gateway.books.audit_log import AuditLog
from ws402.gateway.books.balance_check import inner_differences
from ws402.gateway.ledger import copies
from ws402.gateway.ledger.database import Database


async def self_check(database: Database, audit_log_key: SecretStr | None) -> AsyncIterator[str]:
    """What is wrong: with the file (SQLite), the sums of the accounts, the chain of the audit log. Nothing, if whole.

    Raises ConfigurationError when there is no ledger, or one of another version than this.
    """
    await database.check_exists()
    if database.file is not None and (damage := await asyncio.to_thread(copies.damage, database.file)):
        yield f"the file is damaged: {damage}"
        return  # what it says is worth nothing
    await database.check_revision()
    async for each in check_books(database, audit_log_key):
        yield each


async def check_books(database: Database, audit_log_key: SecretStr | None) -> AsyncIterator[str]:
    """What is wrong with the sums of the accounts, and with the chain of the audit log."""
    async with database.read() as connection:
        for name, difference in await inner_differences(connection):
            yield f"{name}: {difference}"
    log = AuditLog(database, audit_log_key)
    after, more = 0, True
    while more:
        verdict = await log.verify(after)
        if verdict.problem is not None:
            yield f"the audit log: {verdict.problem}"
            return
        after, more = verdict.number, verdict.more
