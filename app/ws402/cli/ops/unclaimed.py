"""Money that arrived and pays for no session."""

from __future__ import annotations

from typing import Any

import click

from ws402.cli.ops.lists import searched, tell_next, watched
from ws402.cli.ops.remote import Remote


@click.group("unclaimed")
def group() -> None:
    """Transfers that are tied to no invoice: late, short, or sent by mistake."""


@group.command("list")
@searched("resource")
@watched
@click.pass_context
def listed(context: click.Context, search: dict[str, Any]) -> None:
    """Unclaimed transfers, newest first; `refund at`: when each goes back by itself, if ever."""
    remote = Remote(context)
    answer = remote.get("unclaimed", **search)
    remote.show(answer, ("network", "amount", "sender", "blockTime", "refundAt", "tx"), answer["transfers"])
    tell_next(context, answer)


@group.command()
@click.argument("network")
@click.argument("tx")
@click.pass_context
def refund(context: click.Context, network: str, tx: str) -> None:
    """Send the money of a transaction that pays for no session back to its sender."""
    remote = Remote(context)
    remote.done(remote.change("unclaimed/refund", network=network, tx=tx))
