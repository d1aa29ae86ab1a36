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
    remote = Remote(context)
    answer = remote.get("unclaimed")
    remote.show(answer, ("network", "asset", "amount", "sender", "blockTime", "tx"), answer["transfers"])


@group.command()
@click.argument("network")
@click.argument("tx")
@click.pass_context
def refund(context: click.Context, network: str, tx: str) -> None:
    """Send the money of a transaction that pays for no session back to its sender."""
    remote = Remote(context)
    remote.done(remote.change("unclaimed/refund", network=network, tx=tx))
