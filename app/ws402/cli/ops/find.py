"""`ws402 ops find`: one payer's case, told whole."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from ws402.cli.ops.remote import Remote, written
from ws402.gateway.api.admin_messages import sought
from ws402.money import to_decimal


@click.command("find")
@click.argument("what")
@click.pass_context
def command(context: click.Context, what: str) -> None:
    """Tell the whole case of WHAT, and what happens next; exit status 3 when nothing is found.

    WHAT is a transaction (a payment's or a refund's), a payer's address, a payment's reference, or an id of a session,
    invoice, payment, refund or delivery. A secret reference is not sent: its hash is.
    """
    remote = Remote(context)
    public, tag = sought(what)
    answer = remote.get("find", what=public, tag=tag)
    if remote.as_json:
        click.echo(json.dumps(answer, indent=2))
    else:
        for number, case in enumerate(answer["cases"]):
            click.echo("\n" if number else "", nl=False)
            _tell(case, raw=remote.raw)
        if answer["more"]:
            click.echo("\nThere are more: these are the newest.")
        if not answer["cases"]:
            click.echo(_nothing(answer["chain"]))
    if not answer["cases"]:
        sys.exit(3)


def _nothing(chain: dict[str, Any] | None) -> str:
    if chain is None:
        return "The ledger and the chains know nothing of it."
    return f"The ledger does not know it. On {chain['network']} it is {chain['state']}. {chain['why']}"


def _tell(case: dict[str, Any], *, raw: bool) -> None:
    def coins(amount: Any) -> str:
        value = int(amount)
        whole = str(value) if raw or case["decimals"] is None else to_decimal(value, case["decimals"])
        return f"{whole} {case['asset']}"

    lines: list[tuple[str, str]] = []
    if (life := case["session"]) is not None:
        lines.append(("session", f"{life['id']}: {life['state']}, {life['resourceId']} of tenant {life['tenant']}"))
    for each in case["invoices"]:
        lines.append(("invoice", f"{each['id']}: {coins(each['amount'])} to {each['recipient']}"))
        lines.append(("", f"for {each['resourceId']}, to be paid until {written(each['expiresAt'])}"))
    for each in case["transfers"]:
        lines.append(("transfer", f"{coins(each['amount'])} from {each['sender']}, {written(each['blockTime'])}"))
        lines.append(("", f"{each['tx']} in block {each['block']} of {case['network']}"))
    if life is not None:
        lines.append(("used", f"{coins(life['consumed'])} of {coins(life['paid'])}, {_seconds(life)}"))
        if life["endedAt"] is not None:
            lines.append(("ended", f"{written(life['endedAt'])}: {life['endReason']}"))
    for each in case["refunds"]:
        lines.append(("refund", f"{each['id']}: {coins(each['amount'])} to {each['recipient']}, {each['state']}"))
        if each["sentTx"] is not None:
            lines.append(("", each["sentTx"]))
    lines += [("next", each) for each in case["next"]]
    for name, text in lines:
        click.echo(f"{name:<9} {text}")


def _seconds(life: dict[str, Any]) -> str:
    return f"{(life['elapsedMs'] or 0) / 1000:g} s, from {written(life['openedAt'])}"
