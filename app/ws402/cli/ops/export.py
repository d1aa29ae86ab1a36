"""`ws402 ops export`: the ledger's double entries, for accountants; in the end checked to the unit."""

from __future__ import annotations

import csv
import datetime as dt
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any, Final

import click

from ws402.cli.ops import beancount
from ws402.cli.ops.remote import Remote

_DAY_MS: Final = 86_400_000
_SLACK_MS: Final = 3_600_000
"""Entries come in the order of their ids, and by far less than this not in that of their times."""
COLUMNS: Final = (
    *("entry", "day", "time", "network", "asset", "resource", "tenant", "debit", "credit"),
    *("amount", "coins", "kind", "subject", "tx"),
)
Balances = dict[tuple[str, str, str], int]
"""(account, network, asset) to debits minus credits, in smallest units."""
Entry = dict[str, Any]


@click.command("export")
@click.option("--from", "first", type=click.DateTime(["%Y-%m-%d"]), help="First day; the ledger's first by default.")
@click.option("--to", "last", type=click.DateTime(["%Y-%m-%d"]), help="Last day; yesterday by default.")
@click.option("--format", "form", type=click.Choice(["csv", "jsonl", "beancount"]), default="csv", show_default=True)
@click.pass_context
def command(context: click.Context, first: dt.datetime | None, last: dt.datetime | None, form: str) -> None:
    """Write the ledger's double entries of these days (UTC), with resource, tenant and transaction, to standard output.

    Amounts are in smallest units, and in whole coins with all their decimals. In the end the sums are compared with the
    ledger's own balances; exit status 3 when they differ, which a day that is not over can cause.
    """
    today = dt.datetime.now(dt.UTC).date()
    until = last.date() if last else today - dt.timedelta(days=1)
    since = first.date() if first else dt.date(1970, 1, 1)
    if since > until:
        raise click.UsageError(f"--from {since} is after --to {until}.")
    remote = Remote(context)
    told = remote.get("balances", before=_ms(until) + _DAY_MS)
    assets = {(each["network"], each["asset"]): each["decimals"] for each in told["balances"]}
    book = _Book(remote, told["last"], since, until, assets)
    _WRITERS[form](book, first is None)
    _compare(book.totals, told["balances"])


class _Book:
    """The entries up to the last day, page by page; those before the first day only change what was held then."""

    def __init__(
        self, remote: Remote, last: int, since: dt.date, until: dt.date, decimals: dict[beancount.Asset, int | None]
    ) -> None:
        self._remote = remote
        self._last = last
        self.since = since
        self.until = until
        self.decimals = decimals
        self.totals: Balances = {}
        self.before: dict[tuple[str, beancount.Asset], int] = {}
        """What the accounts that a Beancount file has held when the first day began."""

    def entries(self) -> Iterator[Entry]:
        """Those of the days that are asked for."""
        begin, end = _ms(self.since), _ms(self.until) + _DAY_MS
        after = 0
        while True:
            page = self._remote.get("entries", after=after, last=self._last)
            for row in page["entries"]:
                after = row["id"]
                if row["createdAt"] < end:
                    entry = self._entry(row)
                    self._add(entry)
                    if row["createdAt"] >= begin:
                        yield entry
                    else:
                        self._carry(entry)
                elif row["createdAt"] > end + _SLACK_MS:
                    return
            if not page["more"]:
                return

    def _entry(self, row: dict[str, Any]) -> Entry:
        at = dt.datetime.fromtimestamp(row["createdAt"] / 1000, dt.UTC)
        amount, decimals = int(row["amount"]), self.decimals.get((row["network"], row["asset"]))
        return {
            "entry": row["id"],
            "day": at.strftime("%Y-%m-%d"),
            "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            **{name: row[name] for name in ("network", "asset", "tenant", "debit", "credit", "kind", "subject", "tx")},
            "resource": row["resourceId"],
            "amount": str(amount),
            "coins": None if decimals is None else beancount.padded(amount, decimals),
        }

    def _add(self, entry: Entry) -> None:
        for side, sign in (("debit", 1), ("credit", -1)):
            key = (entry[side], entry["network"], entry["asset"])
            self.totals[key] = self.totals.get(key, 0) + sign * int(entry["amount"])

    def _carry(self, entry: Entry) -> None:
        for side, sign in (("debit", 1), ("credit", -1)):
            name = beancount.account(entry[side], entry["network"], entry["tenant"], entry["resource"])
            key = (name, (entry["network"], entry["asset"]))
            self.before[key] = self.before.get(key, 0) + sign * int(entry["amount"])


def _csv(book: _Book, _: bool) -> None:
    writer = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for entry in book.entries():
        writer.writerow({name: cell(entry[name]) for name in COLUMNS})


def cell(value: Any) -> Any:
    """A resource's name comes from whoever sells it: no spreadsheet is to take it for a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in {"=", "+", "-", "@", "\t", "\r"} else value


def _jsonl(book: _Book, _: bool) -> None:
    for entry in book.entries():
        click.echo(json.dumps({name: entry[name] for name in COLUMNS}))


def _beancount(book: _Book, whole: bool) -> None:
    entries = sorted(book.entries(), key=lambda each: (each["day"], each["entry"]))
    first = book.since if not whole or not entries else dt.date.fromisoformat(entries[0]["day"])
    writer = beancount.Writer(book.decimals, first, book.until)
    accounts = {name for name, _ in book.before} | {
        beancount.account(each[side], each["network"], each["tenant"], each["resource"])
        for each in entries
        for side in ("debit", "credit")
    }
    for line in writer.head(accounts, book.before):
        click.echo(line)
    for entry in entries:
        for line in writer.entry(entry):
            click.echo(line)
    for line in writer.tail():
        click.echo(line)


_WRITERS: Final[dict[str, Callable[[_Book, bool], None]]] = {"csv": _csv, "jsonl": _jsonl, "beancount": _beancount}


def _compare(totals: Balances, told: list[dict[str, Any]]) -> None:
    """The entries that were written make what the ledger says that it holds, to the unit."""
    held = {
        (each["account"], each["network"], each["asset"]): int(each["amount"])
        * (1 if each["account"] in {"chain", "gas"} else -1)
        for each in told
    }
    if wrong := sorted(key for key in held.keys() | totals.keys() if held.get(key, 0) != totals.get(key, 0)):
        click.echo(f"NOT WHOLE: {', '.join('/'.join(each) for each in wrong)} differ from the ledger.", err=True)
        sys.exit(3)


def _ms(day: dt.date) -> int:
    return int(dt.datetime.combine(day, dt.time(), dt.UTC).timestamp()) * 1000
