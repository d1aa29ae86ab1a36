"""What is: status, sessions, payments, invoices, credits, the audit. Nothing is changed."""

from __future__ import annotations

import sys
import time
from typing import Any, Final

import click

from ws402.cli.ops.lists import searched, tell_next, watched
from ws402.cli.ops.remote import Remote
from ws402.gateway.ledger.states import SessionState
from ws402.money import to_decimal


@click.command()
@watched
@click.pass_context
def status(context: click.Context) -> None:
    """Readiness, networks and refund keys, sessions and refunds by state; exit status 3 when not ready."""
    remote = Remote(context)
    answer = remote.get("status")
    decimals = {} if remote.raw else answer.get("decimals", {})
    rows = [_network(each, decimals.get(each["network"], {})) for each in answer["networks"]]
    remote.show(answer, ("network", "head", "final", "refundKey", "lease", "unfinished", "trouble"), rows)
    if not remote.as_json:
        oldest = answer["oldestRefundAt"]
        age = f", the oldest of {(time.time() * 1000 - oldest) / 1000:.0f} s" if oldest else ""
        click.echo(f"sessions: {_states(answer['sessions'])}")
        click.echo(f"refunds: {_states(answer['refunds'])}{age}")
        click.echo(f"open invoices: {answer['openInvoices']}; unclaimed transfers: {answer['unclaimed']}")
        click.echo("ready" if answer["ready"] else f"NOT READY: {answer['reason']}")
    if not answer["ready"]:
        sys.exit(3)


def _network(each: dict[str, Any], decimals: dict[str, int]) -> dict[str, Any]:
    engine = each["refunds"] or {}
    trouble = [each["error"], engine.get("error"), engine.get("paused") and f"paused: {engine['paused']}"]
    if short := engine.get("short"):
        lacking = {name: to_decimal(n, decimals[name]) if name in decimals else n for name, n in short.items()}
        trouble.append("short of " + ", ".join(f"{amount} {asset}" for asset, amount in lacking.items()))
    return {
        "network": each["network"],
        "head": each["head"],
        "final": each["final"],
        "refundKey": engine.get("address"),
        "lease": "here" if engine.get("holds_lease") else "elsewhere",
        "unfinished": sum(engine.get("states", {}).values()),
        "trouble": "; ".join(part for part in trouble if part) or None,
    }


def _states(counts: dict[str, int]) -> str:
    return ", ".join(f"{total} {state}" for state, total in sorted(counts.items())) or "none"


@click.command()
@click.option("--state", type=click.Choice([state.value for state in SessionState]), help="In this state only.")
@searched()
@watched
@click.pass_context
def sessions(context: click.Context, state: str | None, search: dict[str, Any]) -> None:
    """Sessions, newest first: paid, consumed, refunded; who paid, and which server has them."""
    remote = Remote(context)
    answer = remote.get("sessions", state=state, **search)
    columns = ("id", "state", "network", "paid", "consumed", "refunded", "resourceId", "openedAt", "payer", "serverId")
    remote.show(answer, columns, answer["sessions"])
    tell_next(context, answer)


@click.command()
@searched()
@watched
@click.pass_context
def payments(context: click.Context, search: dict[str, Any]) -> None:
    """Transfers that were credited to an invoice, newest first."""
    remote = Remote(context)
    answer = remote.get("payments", **search)
    columns = ("id", "network", "amount", "payer", "binding", "resourceId", "sessionId", "createdAt", "tx")
    remote.show(answer, columns, answer["payments"])
    tell_next(context, answer)


@click.command()
@searched("payer", "tx")
@watched
@click.pass_context
def invoices(context: click.Context, search: dict[str, Any]) -> None:
    """Invoices that can still be paid, newest first."""
    remote = Remote(context)
    answer = remote.get("invoices", **search)
    columns = ("id", "tenant", "network", "amount", "resourceId", "createdAt", "expiresAt")
    remote.show(answer, columns, answer["invoices"])
    tell_next(context, answer)


@click.command()
@watched
@click.pass_context
def money(context: click.Context) -> None:
    """By asset: what was taken, used, refunded, spent on fees today (UTC); what is unclaimed, held and owed now."""
    remote = Remote(context)
    answer = remote.get("money")
    columns = ("network", "taken", "used", "refunded", "fees", "unclaimed", "held", "owed", "funds")
    remote.show(answer, columns, answer["money"])
    if answer["through"] < answer["newest"]:
        click.echo(f"Counted up to entry {answer['through']} of {answer['newest']}: ask again.", err=True)


@click.command()
@watched
@click.pass_context
def audit(context: click.Context) -> None:
    """Compare the books with themselves and with the chains; exit status 3 when anything differs."""
    remote = Remote(context)
    answer = remote.get("audit")
    columns = ("network", "asset", "block", "booked", "onChain", "difference", "escrowDifference", "owedDifference")
    remote.show(answer, columns, answer["entries"])
    if not answer["clean"]:
        click.echo("The books differ from the chain, or from themselves.", err=True)
        sys.exit(3)


COMMANDS: Final = (status, money, sessions, payments, invoices, audit)
