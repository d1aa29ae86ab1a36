"""What a client must not forget: the payments that it made and the payees that it met. SQLite, in memory or a file.

A payment is written down, signed, before it is first sent. Whoever asks for the same payment id later gets the same
signed bytes: sending them again cannot pay twice. The file holds secrets (references, resume tokens), so only its owner
may read it. Processes of one machine may share it; a record is used by one session at a time.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Final, Self

from ws402.client.errors import PaymentBusyError
from ws402.errors import ConfigurationError
from ws402.prices import Price, by_second
from ws402.protocol import kept_price

LEASE_SECONDS: Final = 60
"""A record whose user has not renewed for this long is free; at once, when its process is gone."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS payments (
  id TEXT PRIMARY KEY, state TEXT NOT NULL, base TEXT NOT NULL, resource_id TEXT NOT NULL, socket_url TEXT NOT NULL,
  sender TEXT NOT NULL, recipient TEXT NOT NULL, network TEXT NOT NULL, chain TEXT NOT NULL,
  asset TEXT NOT NULL, token TEXT,
  amount TEXT NOT NULL, price_per_second TEXT NOT NULL, reference TEXT NOT NULL, claim_token TEXT, signature TEXT,
  expires_at INTEGER NOT NULL, tx TEXT NOT NULL UNIQUE, raw TEXT NOT NULL, nonce INTEGER, valid_until INTEGER,
  created_at INTEGER NOT NULL, top_up_of TEXT,
  session_id TEXT, resume_token TEXT, price TEXT, holder TEXT NOT NULL, held_until REAL NOT NULL);
CREATE INDEX IF NOT EXISTS open_payments ON payments (base, resource_id, sender) WHERE state <> 'done';
CREATE TABLE IF NOT EXISTS payees (
  origin TEXT NOT NULL, network TEXT NOT NULL, payee TEXT NOT NULL, PRIMARY KEY (origin, network));
"""


class PaymentState(StrEnum):
    """Where a payment is."""

    SIGNED = "signed"
    """Written down; it may or may not have been sent."""
    PROVED = "proved"
    """It opened (or topped up) a session, which may be resumed."""
    DONE = "done"
    """Nothing more will come of it: the session ended, the payment failed, or the server refused it for good."""


@dataclass(slots=True, kw_only=True)
class Payment:
    """One payment, with all that is needed to send, prove and follow it. Amounts are smallest units."""

    id: str
    base: str
    resource_id: str
    socket_url: str
    sender: str
    recipient: str
    network: str
    chain: str
    """CAIP-2."""
    asset: str
    """Symbol, for people."""
    token: str | None
    """Its contract; None for the network's own coin."""
    amount: int
    price_per_second: int
    reference: str = field(repr=False)
    claim_token: str | None = field(repr=False)
    signature: str | None = field(repr=False)
    """The payer's, over reference and transaction, where the invoice takes one."""
    expires_at: int
    tx: str
    raw: str = field(repr=False)
    """The signed transaction, as its chain's nodes take it."""
    nonce: int | None
    valid_until: int | None
    """See `SignedPayment`."""
    created_at: int
    top_up_of: str | None = None
    state: PaymentState = PaymentState.SIGNED
    session_id: str | None = None
    resume_token: str | None = field(default=None, repr=False)
    price: str | None = None
    """In full, where `price_per_second`, rounded up, does not say it all."""

    @property
    def terms(self) -> Price | None:
        """What was paid for; None where nobody knows."""
        if self.price is not None:
            return kept_price(self.price)
        return by_second(self.price_per_second) if self.price_per_second else None


_COLUMNS: Final = [each.name for each in fields(Payment)]
_NUMBERS: Final = ("amount", "price_per_second")


class Store:
    """Payments and payees. `path`: a file that is made when missing; None keeps them in memory, for this object only.

    To be closed by `close`, or by leaving its block. Raises ConfigurationError when the file cannot be used.
    """

    def __init__(self, path: Path | str | None = None) -> None:
        self._holder = f"{os.getpid()}:{secrets.token_hex(8)}"
        target = ":memory:"
        database: sqlite3.Connection | None = None
        try:
            if path is not None:
                target = str(path)
                Path(path).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                Path(path).touch(mode=0o600)
            self._db = database = sqlite3.connect(target, isolation_level=None, timeout=10)
            self._db.row_factory = sqlite3.Row
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(_SCHEMA)
            self._upgrade()
        except (OSError, sqlite3.Error) as error:
            if database is not None:
                database.close()
            raise ConfigurationError(
                f"The payment store {target} cannot be used: {error}.", remedy="Name a file that you can write."
            ) from error

    def _upgrade(self) -> None:
        """A file of an earlier version has no prices in full; another process may be about to add them, too."""
        with self._exclusive():
            names = {row["name"] for row in self._db.execute("PRAGMA table_info(payments)")}
            if "price" not in names:
                self._db.execute("ALTER TABLE payments ADD COLUMN price TEXT")

    def close(self) -> None:
        """Close the file; again is harmless."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- payees --------------------------------------------------------------------------------------------------

    def payee(self, origin: str, network: str) -> str | None:
        """Who was paid at this server before."""
        row = self._db.execute(
            "SELECT payee FROM payees WHERE origin = ? AND network = ?", (origin, network)
        ).fetchone()
        return row[0] if row else None

    def remember_payee(self, origin: str, network: str, payee: str) -> None:
        """Who is to be paid at this server from now on: the first, or the one that it has named."""
        self._db.execute("INSERT OR REPLACE INTO payees VALUES (?, ?, ?)", (origin, network, payee))

    # --- payments ------------------------------------------------------------------------------------------------

    def find(self, payment_id: str) -> Payment | None:
        """A payment by its id, without taking it."""
        row = self._db.execute("SELECT * FROM payments WHERE id = ?", (payment_id,)).fetchone()
        return _payment(row) if row else None

    def take(self, payment_id: str) -> Payment | None:
        """A payment by its id, for this session alone until `release`. Raises PaymentBusyError."""
        with self._exclusive():
            row = self._db.execute("SELECT * FROM payments WHERE id = ?", (payment_id,)).fetchone()
            if row is None:
                return None
            if not self._free(row):
                raise PaymentBusyError(
                    f"Another session uses the payment '{payment_id}'.", remedy="Wait for its end, or use another id."
                )
            self._hold(payment_id)
            return _payment(row)

    def take_open(self, base: str, resource_id: str, sender: str, chain: str) -> Payment | None:
        """A payment to this server that nobody uses and that may still give a session: what a crash left behind."""
        query = (
            "SELECT * FROM payments WHERE base = ? AND resource_id = ? AND sender = ? AND chain = ?"
            " AND state <> 'done' AND top_up_of IS NULL ORDER BY created_at"
        )
        with self._exclusive():
            for row in self._db.execute(query, (base, resource_id, sender, chain)).fetchall():
                if self._free(row):
                    self._hold(row["id"])
                    return _payment(row)
        return None

    def add(self, payment: Payment, *, replaces: Payment | None = None) -> Payment:
        """Write a signed payment down. If its id is there already, that payment is the answer and to be used instead.

        `replaces`: a payment of the same id that can never get into a block. Raises PaymentBusyError.
        """
        with self._exclusive():
            row = self._db.execute("SELECT * FROM payments WHERE id = ?", (payment.id,)).fetchone()
            if row is not None and (replaces is None or row["tx"] != replaces.tx):
                if not self._free(row):
                    raise PaymentBusyError(f"Another session uses the payment '{payment.id}'.")
                self._hold(payment.id)
                return _payment(row)
            values = {name: getattr(payment, name) for name in _COLUMNS}
            values |= {name: str(values[name]) for name in _NUMBERS} | {"holder": self._holder, "held_until": _lease()}
            names = ", ".join(values)
            marks = ", ".join(f":{name}" for name in values)
            self._db.execute(f"INSERT OR REPLACE INTO payments ({names}) VALUES ({marks})", values)  # noqa: S608 - our names
            return payment

    def update(
        self, payment: Payment, state: PaymentState, *, session_id: str | None = None, resume_token: str | None = None
    ) -> None:
        """Record how far a payment came; unset values keep what was there."""
        payment.state = state
        payment.session_id = session_id or payment.session_id
        payment.resume_token = resume_token or payment.resume_token
        self._db.execute(
            "UPDATE payments SET state = ?, session_id = ?, resume_token = ?, held_until = ? WHERE id = ?",
            (state, payment.session_id, payment.resume_token, _lease(), payment.id),
        )

    def forget(self, payment: Payment) -> None:
        """Drop a payment that was never made and never will be; its id is free again."""
        self._db.execute("DELETE FROM payments WHERE id = ? AND tx = ?", (payment.id, payment.tx))

    def renew(self, payment: Payment) -> None:
        """Keep it for this session a while longer."""
        self._hold(payment.id)

    def release(self, payment: Payment) -> None:
        """Let another session use it."""
        self._db.execute("UPDATE payments SET held_until = 0 WHERE id = ? AND holder = ?", (payment.id, self._holder))

    def top_ups(self, session_id: str, state: PaymentState) -> list[Payment]:
        """Payments for a session: those that it was not told of yet (`SIGNED`), or those that it has credited."""
        query = "SELECT * FROM payments WHERE top_up_of = ? AND state = ? ORDER BY created_at"
        return [_payment(row) for row in self._db.execute(query, (session_id, state)).fetchall()]

    def unfinished(self) -> list[Payment]:
        """Payments of which something may still come, oldest first."""
        rows = self._db.execute("SELECT * FROM payments WHERE state <> 'done' ORDER BY created_at").fetchall()
        return [_payment(row) for row in rows]

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def _free(self, row: sqlite3.Row) -> bool:
        pid = int(row["holder"].partition(":")[0])
        return row["held_until"] < time.time() or (pid != os.getpid() and not _runs(pid))

    def _hold(self, payment_id: str) -> None:
        self._db.execute(
            "UPDATE payments SET holder = ?, held_until = ? WHERE id = ?", (self._holder, _lease(), payment_id)
        )


def _payment(row: sqlite3.Row) -> Payment:
    values = {name: row[name] for name in _COLUMNS}
    values |= {name: int(values[name]) for name in _NUMBERS}
    return Payment(**values | {"state": PaymentState(values["state"])})


def _lease() -> float:
    return time.time() + LEASE_SECONDS


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
