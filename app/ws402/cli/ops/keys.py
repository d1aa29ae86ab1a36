"""API keys that the ledger keeps: made, listed and revoked while gateways run."""

from __future__ import annotations

import json

import click

from ws402.cli.ops.remote import Remote


@click.group("keys")
def group() -> None:
    """API keys of servers and operators. Those of GATEWAY_API_KEY and GATEWAY_ADMIN_KEY are not listed here."""


@group.command("list")
@click.pass_context
def listed(context: click.Context) -> None:
    """All keys, revoked ones too; the ledger has only their hashes."""
    remote = Remote(context)
    answer = remote.get("keys")
    remote.show(answer, ("id", "tenant", "name", "scopes", "created_at", "revoked_at"), answer["keys"])


@group.command()
@click.argument("tenant")
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(["payments", "admin", "read"]),
    multiple=True,
    default=["payments"],
    show_default=True,
    help="What it may do; `read`: look at everything, change nothing. Can be given twice.",
)
@click.pass_context
def add(context: click.Context, tenant: str, name: str, scopes: tuple[str, ...]) -> None:
    """Make a key and print it: it is shown once, and can't be read again."""
    remote = Remote(context)
    answer = remote.change("keys/add", tenant=tenant, name=name, scopes=list(scopes))
    if remote.as_json:
        click.echo(json.dumps(answer, indent=2))
    elif remote.dry_run:
        click.echo(f"would be done: a key of {tenant} for {', '.join(scopes)}")
    else:
        click.echo(answer["key"])
        click.echo(f"This is {answer['id']}; keep it now, it is not shown again.", err=True)


@group.command()
@click.argument("key_id")
@click.pass_context
def revoke(context: click.Context, key_id: str) -> None:
    """End a key's validity at every gateway, within seconds."""
    remote = Remote(context)
    remote.done(remote.change("keys/revoke", id=key_id))
