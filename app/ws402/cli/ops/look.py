"""What is: status, sessions, payments, invoices, credits, the audit. Nothing is changed."""

from __future__ import annotations

import sys
import time
from typing import Any, Final

import click

from ws402.cli.ops.remote import Remote
from ws402.gateway.ledger.states import SessionState

limited = click.option("--limit", type=click.IntRange(1, 500), default=100, show_default=True, help="Most rows.")
of_network = click.option("--network", help="Of this network only.")


@click.command()
@click.pass_context
def status(context: click.Context) -> None:
    """Readiness, networks and refund keys, sessions and refunds by state; exit status 3 when not ready."""
    remote = Remote(context)
    answer = remote.get("status")
    rows = [_network(each) for each in answer["networks"]]
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


def _network(each: dict[str, Any]) -> dict[str, Any]:
    engine = each["refunds"] or {}
    trouble = [each["error"], engine.get("error"), engine.get("paused") and f"paused: {engine['paused']}"]
    if short := engine.get("short"):
        trouble.append("short of " + ", ".join(f"{amount} {asset}" for asset, amount in short.items()))
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
@limited
@click.pass_context
def sessions(context: click.Context, state: str | None, limit: int) -> None:
    """Sessions: paid, consumed, refunded; which server has them."""
    remote = Remote(context)
    answer = remote.get("sessions", state=state, limit=limit)
    columns = ("id", "state", "network", "asset", "paid", "consumed", "refunded", "resourceId", "openedAt", "serverId")
    remote.show(answer, columns, answer["sessions"])


@click.command()
@of_network
@limited
@click.pass_context
def payments(context: click.Context, network: str | None, limit: int) -> None:
    """Transfers that were credited to an invoice."""
    remote = Remote(context)
    answer = remote.get("payments", network=network, limit=limit)
    columns = ("id", "network", "asset", "amount", "payer", "binding", "sessionId", "createdAt", "tx")
    remote.show(answer, columns, answer["payments"])


@click.command()
@of_network
@limited
@click.pass_context
def invoices(context: click.Context, network: str | None, limit: int) -> None:
    """Invoices that can still be paid."""
    remote = Remote(context)
    answer = remote.get("invoices", network=network, limit=limit)
    columns = ("id", "tenant", "network", "asset", "amount", "resourceId", "createdAt", "expiresAt")
    remote.show(answer, columns, answer["invoices"])


@click.command()
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


COMMANDS: Final = (status, sessions, payments, invoices, audit)
