"""Money that arrived and pays for no session."""

from __future__ import annotations

import click

from ws402.cli.ops.remote import Remote


@click.group("unclaimed")
def group() -> None:
    """Transfers that are tied to no invoice: late, short, or sent by mistake."""


@group.command("list")
@click.pass_context
def listed(context: click.Context) -> None:
    """Unclaimed transfers, newest first."""
    desk = Remote(context)
    answer = desk.get("unclaimed")
    desk.show(answer, ("network", "asset", "amount", "sender", "blockTime", "tx"), answer["transfers"])


@group.command()
@click.argument("network")
@click.argument("tx")
@click.pass_context
def refund(context: click.Context, network: str, tx: str) -> None:
    """Send the money of a transaction that pays for no session back to its sender."""
    desk = Remote(context)
    desk.done(desk.change("unclaimed/refund", network=network, tx=tx))
