"""`ws402 ops audit-log`: is the ledger's history what was written, row by row?"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any

import click
import msgspec

from ws402.cli.ops.lists import limited, tell_next, watched
from ws402.cli.ops.remote import Remote


@click.group("audit-log")
def group() -> None:
    """The chain of hashes over every entry of the ledger and every operator's command."""


@group.command()
@click.option("--expect", help="A hash that was logged or noted before: it must be in the chain.")
@click.option("--offline", is_flag=True, help="Read DATABASE_URL (and AUDIT_LOG_KEY) here, and trust no gateway.")
@click.pass_context
def verify(context: click.Context, expect: str | None, offline: bool) -> None:
    """Compute the chain anew; exit status 3 when a row was changed, added or taken away since it was recorded."""
    if offline:
        result = asyncio.run(_offline(expect))
    else:
        remote = Remote(context)
        result = _all(lambda after: remote.get("audit-log", after=after, expect=expect))
    if expect is not None and not result["expected"] and result["problem"] is None:
        result["problem"] = f"no record has the hash {expect}"
    if context.obj.as_json:
        click.echo(json.dumps(result, indent=2))
    elif result["problem"] is None:
        click.echo(
            f"whole: {result['number']} records over {result['entries']} entries and {result['operations']} commands; "
            f"{result['unsealed']} newer entries are in none yet"
        )
        click.echo(f"head: {result['hash']}")
    else:
        click.echo(f"BROKEN after record {result['number']}: {result['problem']}", err=True)
    if result["problem"] is not None:
        sys.exit(3)


@group.command("list")
@click.option("--all", "every", is_flag=True, help="The records over entries, too.")
@click.option("--before", type=click.IntRange(min=1), help="Go on from where the page before ended.")
@limited
@watched
@click.pass_context
def listed(context: click.Context, every: bool, before: int | None, limit: int) -> None:
    """What operators did, newest first: when, who (by the name of their key), and what."""
    remote = Remote(context)
    kind = None if every else "operator"
    answer = remote.get("audit-log/records", kind=kind, before=before, limit=limit)
    rows = [{**each, "did": _did(each)} for each in answer["records"]]
    remote.show(answer, ("number", "createdAt", "operator", "did"), rows)
    tell_next(context, answer)


def _did(record: dict[str, Any]) -> str:
    if record["kind"] == "entries":
        return f"{record['count']} entries up to {record['last']}"
    said = {name: value for name, value in record["arguments"].items() if name != "dryRun"}
    return " ".join([record["command"], *(f"{name}={value}" for name, value in said.items() if value not in ("", []))])


def _all(ask: Callable[[int], dict[str, Any]]) -> dict[str, Any]:
    """Every part, added up."""
    total = {"entries": 0, "operations": 0}
    after, expected = 0, False
    while True:
        part = ask(after)
        expected = expected or bool(part["expected"])
        for name in total:
            total[name] += part[name]
        if part["problem"] is not None or not part["more"]:
            return {**part, **total, "expected": expected}
        after = part["number"]


async def _offline(expect: str | None) -> dict[str, Any]:
    from ws402.gateway.books.audit_log import AuditLog  # noqa: PLC0415 - needs the extra `gateway`
    from ws402.gateway.ledger.database import Database  # noqa: PLC0415
    from ws402.settings import GatewaySettings, load  # noqa: PLC0415

    settings = load(GatewaySettings)
    database = Database(settings.database_url.get_secret_value())
    log = AuditLog(database, settings.audit_log_key)
    parts: list[dict[str, Any]] = []
    try:
        after, more = 0, True
        while more:
            verdict = await log.verify(after, expect=expect)
            parts.append(msgspec.to_builtins(verdict))
            after, more = verdict.number, verdict.more and verdict.problem is None
    finally:
        await database.close()
    waiting = iter(parts)
    return _all(lambda _: next(waiting))
