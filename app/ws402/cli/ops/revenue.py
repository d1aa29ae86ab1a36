"""`ws402 ops revenue`: what was earned, by day, network, asset, resource and tenant."""

from __future__ import annotations

import csv
import datetime as dt
import json
import sys
from typing import Any, Final

import click

from ws402.cli.ops.export import cell
from ws402.cli.ops.remote import Remote

BY: Final = ("day", "network", "asset", "resource", "tenant")
_DAY_MS: Final = 86_400_000


@click.command("revenue")
@click.option("--from", "first", type=click.DateTime(["%Y-%m-%d"]), help="First day; 30 days ago by default.")
@click.option("--to", "last", type=click.DateTime(["%Y-%m-%d"]), help="Last day; today by default.")
@click.option(
    "--by",
    default="day,resource",
    show_default=True,
    help="What is told apart besides the asset of a network: some of day, resource, tenant, separated by commas.",
)
@click.option("--format", "form", type=click.Choice(["table", "csv"]), default="table", show_default=True)
@click.pass_context
def command(context: click.Context, first: dt.datetime | None, last: dt.datetime | None, by: str, form: str) -> None:
    """What sessions consumed in these days (UTC), less what reorganisations took back, from the ledger's entries."""
    remote = Remote(context)
    today = dt.datetime.now(dt.UTC).date()
    until = last.date() if last else today
    since = first.date() if first else until - dt.timedelta(days=30)
    if since > until:
        raise click.UsageError(f"--from {since} is after --to {until}.")
    chosen = [each.strip() for each in by.split(",") if each.strip()]
    if wrong := sorted(set(chosen) - {"day", "resource", "tenant"}):
        raise click.UsageError(f"--by cannot be {', '.join(wrong)}: give some of day, resource, tenant.")
    told = remote.get("balances", before=_ms(until) + _DAY_MS)
    decimals: dict[str, dict[str, int]] = {}
    for each in told["balances"]:
        if each["decimals"] is not None:
            decimals.setdefault(each["network"], {})[each["asset"]] = each["decimals"]
    columns: list[str] = [each for each in BY if each in chosen or each in {"network", "asset"}]
    sums = _sums(remote, told["last"], _ms(since), _ms(until) + _DAY_MS, columns)
    rows = [{**dict(zip(columns, key, strict=True)), "revenue": value} for key, value in sorted(sums.items())]
    answer = {"revenue": rows, "decimals": decimals}
    if form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow([*columns, "revenue"])
        writer.writerows([[*map(cell, key), value] for key, value in sorted(sums.items())])
    elif remote.as_json:
        click.echo(json.dumps(answer, indent=2))
    else:
        remote.show(answer, (*(each for each in columns if each != "asset" or remote.raw), "revenue"), rows)


def _sums(remote: Remote, last: int, begin: int, end: int, columns: list[str]) -> dict[tuple[str, ...], int]:
    """Smallest units by these columns; a resource or tenant that is not known is '-'."""
    sums: dict[tuple[str, ...], int] = {}
    after = 0
    while True:
        page = remote.get("entries", after=after, last=last, since=begin, limit=2000)
        for row in page["entries"]:
            after = row["id"]
            sign = (row["credit"] == "revenue") - (row["debit"] == "revenue")
            if sign and begin <= row["createdAt"] < end:
                key = tuple(_values(row)[each] for each in columns)
                sums[key] = sums.get(key, 0) + sign * int(row["amount"])
        if not page["more"]:
            return sums


def _values(row: dict[str, Any]) -> dict[str, str]:
    day = dt.datetime.fromtimestamp(row["createdAt"] / 1000, dt.UTC).strftime("%Y-%m-%d")
    return {
        "day": day,
        "network": row["network"],
        "asset": row["asset"],
        "resource": row["resourceId"] or "-",
        "tenant": row["tenant"] or "-",
    }


def _ms(day: dt.date) -> int:
    return int(dt.datetime.combine(day, dt.time(), dt.UTC).timestamp()) * 1000
