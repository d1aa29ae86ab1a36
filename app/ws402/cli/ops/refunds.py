"""Refunds: list and show them; hold, release, retry, resolve them; and what is kept as credit."""

from __future__ import annotations

import json
from typing import Any

import click

from ws402.cli.ops.lists import searched, tell_next, watched
from ws402.cli.ops.remote import Remote
from ws402.gateway.ledger.states import RefundState

STATES = [state.value for state in RefundState]


@click.group("refunds")
def group() -> None:
    """Debts to payers and their delivery. No command sends one to another account than its payer's."""


@group.command("list")
@click.option("--state", type=click.Choice(STATES), help="In this state only.")
@searched()
@watched
@click.pass_context
def listed(context: click.Context, state: str | None, search: dict[str, Any]) -> None:
    """Refunds, newest first."""
    remote = Remote(context)
    answer = remote.get("refunds", state=state, **search)
    columns = ("id", "state", "network", "amount", "recipient", "resourceId", "createdAt", "reason", "tx")
    remote.show(answer, columns, answer["refunds"])
    tell_next(context, answer)


@group.command()
@click.argument("refund_id")
@click.pass_context
def show(context: click.Context, refund_id: str) -> None:
    """One refund: its delivery, every signed transaction, its ledger entries."""
    click.echo(json.dumps(Remote(context).get("refund", id=refund_id), indent=2))


def _change(context: click.Context, refund_id: str, action: str, reason: str = "") -> None:
    remote = Remote(context)
    remote.done(remote.change("refunds/change", refundId=refund_id, action=action, reason=reason))


@group.command()
@click.argument("refund_id")
@click.option("--reason", required=True, help="Why, for whoever reads the ledger later.")
@click.pass_context
def hold(context: click.Context, refund_id: str, reason: str) -> None:
    """Keep a refund that is not signed yet from being sent."""
    _change(context, refund_id, "hold", reason)


@group.command()
@click.argument("refund_id")
@click.pass_context
def release(context: click.Context, refund_id: str) -> None:
    """Send a held refund, or one that is kept as credit."""
    _change(context, refund_id, "release")


@group.command()
@click.argument("refund_id")
@click.pass_context
def retry(context: click.Context, refund_id: str) -> None:
    """Try a held refund again; one that is under way is looked at now."""
    _change(context, refund_id, "retry")


@group.command()
@click.argument("refund_id")
@click.option("--reason", required=True, help="How it was settled with the payer.")
@click.pass_context
def resolve(context: click.Context, refund_id: str, reason: str) -> None:
    """Close a held refund that was settled outside of the ledger."""
    _change(context, refund_id, "resolve", reason)


@group.command("release-all")
@click.argument("network")
@click.argument("asset")
@click.option("--state", type=click.Choice(["held", "credit"]), required=True, help="Which of them.")
@click.pass_context
def release_all(context: click.Context, network: str, asset: str, state: str) -> None:
    """Send all held refunds of an asset, such as after a token's pause, or all that is kept as credit."""
    remote = Remote(context)
    remote.done(remote.change("refunds/release", network=network, asset=asset, state=state))


@click.command("credits")
@click.pass_context
def credit(context: click.Context) -> None:
    """What is owed but too small to send, by asset; send it with: ws402 ops refunds release-all … --state credit."""
    remote = Remote(context)
    answer = remote.get("credits")
    remote.show(answer, ("network", "asset", "refunds", "payers", "total", "oldestAt"), answer["credits"])
