"""`ws402 ops find`: one payer's case, told whole."""

from __future__ import annotations

import json
import re
import sys
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final

import click

from ws402.cli.ops.remote import Remote
from ws402.money import to_decimal

_PUBLIC: Final = re.compile(r"0[xX][0-9a-fA-F]+|(?:inv|pay|ses|ref|del)_\w+|[1-9A-HJ-NP-Za-km-z]{33,88}")
"""Transactions, addresses, ids, and Solana's references, which everybody can read on chain. A secret reference has 32
characters of base64."""


@click.command("find")
@click.argument("what")
@click.pass_context
def command(context: click.Context, what: str) -> None:
    """Tell the whole case of WHAT, and what happens next; exit status 3 when nothing is found.

    WHAT is a transaction (a payment's or a refund's), a payer's address, a payment's reference, or an id of a session,
    invoice, payment, refund or delivery. A secret reference is not sent: its hash is.
    """
    remote = Remote(context)
    said = what.strip()
    public = _PUBLIC.fullmatch(said) is not None
    answer = remote.get("find", what=said if public else None, tag=sha256(said.encode()).hexdigest())
    if remote.as_json:
        click.echo(json.dumps(answer, indent=2))
    else:
        for number, case in enumerate(answer["cases"]):
            click.echo("\n" if number else "", nl=False)
            _tell(case)
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


def _tell(case: dict[str, Any]) -> None:
    def coins(amount: Any) -> str:
        value = int(amount)
        written = to_decimal(value, case["decimals"]) if case["decimals"] is not None else str(value)
        return f"{written} {case['asset']}"

    lines: list[tuple[str, str]] = []
    if (life := case["session"]) is not None:
        lines.append(("session", f"{life['id']}: {life['state']}, {life['resourceId']} of tenant {life['tenant']}"))
    for each in case["invoices"]:
        lines.append(("invoice", f"{each['id']}: {coins(each['amount'])} to {each['recipient']}"))
        lines.append(("", f"for {each['resourceId']}, to be paid until {_time(each['expiresAt'])}"))
    for each in case["transfers"]:
        lines.append(("transfer", f"{coins(each['amount'])} from {each['sender']}, {_time(each['blockTime'])}"))
        lines.append(("", f"{each['tx']} in block {each['block']} of {case['network']}"))
    if life is not None:
        lines.append(("used", f"{coins(life['consumed'])} of {coins(life['paid'])}, {_seconds(life)}"))
        if life["endedAt"] is not None:
            lines.append(("ended", f"{_time(life['endedAt'])}: {life['endReason']}"))
    for each in case["refunds"]:
        lines.append(("refund", f"{each['id']}: {coins(each['amount'])} to {each['recipient']}, {each['state']}"))
        if each["sentTx"] is not None:
            lines.append(("", each["sentTx"]))
    lines += [("next", each) for each in case["next"]]
    for name, text in lines:
        click.echo(f"{name:<9} {text}")


def _seconds(life: dict[str, Any]) -> str:
    return f"{(life['elapsedMs'] or 0) / 1000:g} s, from {_time(life['openedAt'])}"


def _time(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
