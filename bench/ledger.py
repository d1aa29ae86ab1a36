"""The ledgers of a bench: fresh databases, and transfers in them as the watcher records them.

No chain has to mine those. Plain SQL, so that it fits every revision's ledger.
"""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from hashlib import sha256
from typing import Any

import asyncpg
from eth_utils.address import to_checksum_address
from sqlalchemy import make_url

COLUMNS = (
    "network", "tx", "idx", "block", "block_hash", "block_time", "sender", "recipient", "asset", "amount", "tags",
    "state", "seen_at",
)  # fmt: skip
MOVE = ("debit", "credit", "network", "asset", "amount", "kind", "subject", "created_at")


def pay(url: str, proofs: Sequence[dict[str, str]], head: dict[str, Any], recipient: str, amount: int) -> None:
    """Record transfers in the block `head` that pay the invoices of these proofs."""
    now = time.time_ns() // 1_000_000
    paid: Any = amount if url.startswith("postgresql") else str(amount)
    fixed = ("base-sepolia", "ETH")
    transfers, moves = [], []
    for proof in proofs:
        tx, sender = proof["txHash"], to_checksum_address(proof["senderAddress"])
        tag = sha256(proof["reference"].encode()).hexdigest()
        place = (fixed[0], tx, -1, int(head["number"], 16), head["hash"], now)
        transfers.append((*place, sender, recipient, fixed[1], paid, tag, "seen", now))
        moves.append(("chain", "unclaimed", *fixed, paid, "transfer", f"{fixed[0]}/{tx}/-1@{now}", now))
    for table, columns, rows in (("transfers", COLUMNS, transfers), ("entries", MOVE, moves)):
        if url.startswith("postgresql"):
            asyncio.run(_copy(url, table, columns, rows))
            continue
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), timeout=30)) as connection, connection:
            connection.create_function("decimal_cmp", 2, lambda a, b: (int(a) > int(b)) - (int(a) < int(b)))
            holes = ", ".join("?" * len(columns))
            connection.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({holes})", rows)


async def _copy(url: str, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.copy_records_to_table(table, columns=columns, records=rows)
        await connection.execute(f"ANALYZE {table}")
    finally:
        await connection.close()


@contextmanager
def fresh_database(server: str) -> Iterator[str]:
    """A database of its own on a PostgreSQL server, dropped afterwards."""

    async def run(statement: str) -> None:
        connection = await asyncpg.connect(server)
        await connection.execute(statement)
        await connection.close()

    name = f"ws402_bench_{secrets.token_hex(6)}"
    asyncio.run(run(f"CREATE DATABASE {name}"))
    try:
        yield make_url(server).set(database=name).render_as_string(hide_password=False)
    finally:
        asyncio.run(run(f"DROP DATABASE {name} WITH (FORCE)"))
