"""Transfers that payers signed for x402 and MPP: list and show them. Nothing has to be mended here by hand."""

from __future__ import annotations

import json

import click

from ws402.cli.ops.lists import limited, watched
from ws402.cli.ops.remote import Remote
from ws402.gateway.ledger.states import AuthorizationState


@click.group("authorizations")
def group() -> None:
    """Transfers that x402 and MPP clients signed, which the gateway brings to the chain."""


@group.command("list")
@click.option("--state", type=click.Choice([state.value for state in AuthorizationState]), help="In this state only.")
@limited
@watched
@click.pass_context
def listed(context: click.Context, state: str | None, limit: int) -> None:
    """Signed transfers, newest first."""
    remote = Remote(context)
    answer = remote.get("authorizations", state=state, limit=limit)
    columns = ("id", "state", "network", "asset", "amount", "payer", "createdAt", "sessionId", "tx")
    remote.show(answer, columns, answer["authorizations"])


@group.command()
@click.argument("authorization_id")
@click.pass_context
def show(context: click.Context, authorization_id: str) -> None:
    """One signed transfer: when it ends, its session, every transaction that was signed for it."""
    click.echo(json.dumps(Remote(context).get("authorization", id=authorization_id), indent=2))
