"""Signing keys: nonces, leases, pauses; and money that the operator moves in or out of their accounts."""

from __future__ import annotations

import click

from ws402.cli.ops.remote import Remote


@click.group("signers")
def group() -> None:
    """The keys that send refunds. They never leave their keeper; these commands see addresses only."""


@group.command("list")
@click.pass_context
def listed(context: click.Context) -> None:
    """Signing keys: next nonce, lease holder, pause."""
    remote = Remote(context)
    answer = remote.get("signers")
    remote.show(answer, ("network", "address", "next_nonce", "lease_holder", "pause_reason"), answer["keys"])


def _switch(context: click.Context, network: str, action: str, reason: str = "") -> None:
    remote = Remote(context)
    remote.done(remote.change("signers/switch", network=network, action=action, reason=reason))


@group.command()
@click.argument("network")
@click.option("--reason", required=True, help="Why.")
@click.pass_context
def pause(context: click.Context, network: str, reason: str) -> None:
    """Stop signing and sending refunds on a network, at once and for all gateways."""
    _switch(context, network, "pause", reason)


@group.command()
@click.argument("network")
@click.pass_context
def resume(context: click.Context, network: str) -> None:
    """Let a network's keys work again."""
    _switch(context, network, "resume")


def _capital(context: click.Context, network: str, asset: str, amount: int, tx: str, action: str) -> None:
    remote = Remote(context)
    remote.done(remote.change("capital", network=network, asset=asset, amount=str(amount), tx=tx, action=action))


@group.command()
@click.argument("network")
@click.argument("asset")
@click.argument("amount", type=click.IntRange(min=1))
@click.argument("tx")
@click.pass_context
def deposit(context: click.Context, network: str, asset: str, amount: int, tx: str) -> None:
    """Book AMOUNT smallest units that transaction TX brought to a refund key that invoices do not name."""
    _capital(context, network, asset, amount, tx, "deposit")


@group.command()
@click.argument("network")
@click.argument("asset")
@click.argument("amount", type=click.IntRange(min=1))
@click.argument("tx")
@click.pass_context
def withdraw(context: click.Context, network: str, asset: str, amount: int, tx: str) -> None:
    """Book AMOUNT smallest units that you took out by transaction TX, its fee included when our account paid it."""
    _capital(context, network, asset, amount, tx, "withdraw")
