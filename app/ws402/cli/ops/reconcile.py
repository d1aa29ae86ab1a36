"""`ws402 ops reconcile`: after a restore, what was sent since the copy was made; then keys may sign again."""

from __future__ import annotations

import json
import time
from typing import Any, Final

import click

from ws402.cli.ops.remote import Remote
from ws402.errors import WS402Error

PAUSE_SECONDS: Final = 0.2
"""Between two questions while the gateway reads the chain; each takes seconds by itself."""


@click.command("reconcile")
@click.argument("network")
@click.option("--yes", is_flag=True, help="Do not ask before the ledger is changed.")
@click.pass_context
def command(context: click.Context, network: str, yes: bool) -> None:
    """Find on the chain what the keys of NETWORK sent that the ledger does not know, book it, and let them sign again.

    What was found is shown first; nothing is changed before you agree.
    """
    remote = Remote(context)
    answer = _looked(remote, network)
    if answer["state"] == "found":
        _show(remote, answer)
        if remote.dry_run:
            return
        if not yes:
            click.confirm("Book this, and let the keys sign again?", abort=True, err=True)
        answer = remote.change("reconcile", network=network)
        if answer["state"] != "done":
            raise WS402Error(
                answer["reason"] or "The chain went on meanwhile.", remedy="Nothing was changed; try again."
            )
    if remote.as_json:
        click.echo(json.dumps(answer, indent=2))
    elif answer["through"]:
        click.echo(f"done: {network} is reconciled up to block {answer['through']}; its keys may sign again")
    else:
        click.echo(f"nothing to do: the ledger knows all that the keys of {network} sent")


def _looked(remote: Remote, network: str) -> dict[str, Any]:
    """What a dry run finds, once the gateway has read the chain. Raises WS402Error when it must wait."""
    while True:
        answer: dict[str, Any] = remote.change("reconcile", network=network, dry_run=True)
        if answer["state"] == "looking":
            click.echo(f"reading {network}: block {answer['block']} of {answer['through']}", err=True)
            time.sleep(PAUSE_SECONDS)
            continue
        if answer["state"] == "waiting":
            raise WS402Error(answer["reason"], remedy="Nothing was changed; run this again then.")
        return answer


def _show(remote: Remote, answer: dict[str, Any]) -> None:
    rows = [{**each, "network": answer["network"], "pays": _what(each)} for each in answer["sends"]]
    if remote.as_json:
        if remote.dry_run:
            click.echo(json.dumps(answer, indent=2))
        return
    remote.show(answer, ("block", "tx", "recipient", "asset", "amount", "pays"), rows)
    for tx in answer["dearer"]:
        click.echo(f"another form of a transaction that the ledger knows: {tx}")
    for refund in answer["held"]:
        click.echo(f"to be held, for its payer was sent something that matches no refund: {refund}")


def _what(send: dict[str, Any]) -> str:
    """What a transaction was for, as far as it can be told."""
    if send.get("collects"):  # a gateway from before tells none
        return f"nobody: it collected {send['collects']} of payers' signed transfers"
    return ", ".join(send["refunds"]) or "nothing known"
