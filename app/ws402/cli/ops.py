"""`ws402 ops`: look at a running gateway's money, and mend it. Exit status 3 when the audit finds a difference."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Any

import click
import httpx

from ws402.errors import ConfigurationError, UnavailableError, WS402Error
from ws402.settings import MIN_API_KEY_LENGTH


class Desk:
    """The gateway's admin API with an operator's key."""

    def __init__(self, url: str, key: str) -> None:
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}"}

    def get(self, path: str) -> Any:
        """Ask. Raises WS402Error with the gateway's own words."""
        return self._call("GET", path, None)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """Command. Raises WS402Error with the gateway's own words."""
        return self._call("POST", path, body)

    def _call(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        try:
            answer = httpx.request(method, self._url + path, json=body, headers=self._headers, timeout=60)
            content = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise UnavailableError(
                f"No gateway answers at {self._url}: {error}.",
                remedy="Check GATEWAY_URL; in a cluster, forward its port first.",
            ) from error
        if answer.is_success:
            return content
        raise WS402Error(content.get("message", answer.reason_phrase), remedy=content.get("remedy"))


@click.group("ops")
@click.option("--url", envvar="GATEWAY_URL", default="http://127.0.0.1:4029", show_default=True, help="The gateway.")
@click.option("--json", "as_json", is_flag=True, help="Print the gateway's answer as it is.")
@click.pass_context
def command(context: click.Context, url: str, as_json: bool) -> None:
    """Look at a running gateway's money, and mend it. The operator's key is read from GATEWAY_ADMIN_KEY."""
    context.obj = (url, as_json)


def _desk(context: click.Context) -> Desk:

    key = os.environ.get("GATEWAY_ADMIN_KEY", "").split(",")[0].strip()
    if len(key) < MIN_API_KEY_LENGTH:
        raise ConfigurationError(
            "GATEWAY_ADMIN_KEY is not set, or too short.", remedy="Set it to one of the gateway's admin keys."
        )
    return Desk(context.obj[0], key)


def _show(context: click.Context, answer: Any, heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    if context.obj[1]:
        click.echo(json.dumps(answer, indent=2))
        return
    cells = [[str(each) for each in row] for row in [heads, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(heads))]
    for row in cells:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@command.command()
@click.pass_context
def audit(context: click.Context) -> None:
    """Compare the books with themselves and with the chains; exit status 3 when anything differs."""
    answer = _desk(context).get("/api/admin/audit")
    heads = ("network", "asset", "block", "booked", "on chain", "difference", "escrow", "owed")
    names = ("network", "asset", "block", "booked", "onChain", "difference", "escrowDifference", "owedDifference")
    _show(context, answer, heads, [[entry[name] for name in names] for entry in answer["entries"]])
    if not answer["clean"]:
        click.echo("The books differ from the chain, or from themselves.", err=True)
        sys.exit(3)


@command.command()
@click.pass_context
def pending(context: click.Context) -> None:
    """Open invoices and unfinished refunds."""
    answer = _desk(context).get("/api/admin/pending")
    rows = [
        [
            each["id"],
            each["state"],
            each["network"],
            each["asset"],
            each["amount"],
            each["recipient"],
            each["reason"] or "",
        ]
        for each in answer["refunds"]
    ]
    _show(context, answer, ("refund", "state", "network", "asset", "amount", "recipient", "reason"), rows)
    if not context.obj[1]:
        click.echo(f"{len(answer['invoices'])} open invoices")


@command.command()
@click.pass_context
def unclaimed(context: click.Context) -> None:
    """Money that arrived and pays for no session."""
    answer = _desk(context).get("/api/admin/unclaimed")
    names = ("network", "tx", "asset", "amount", "sender")
    _show(context, answer, names, [[each[name] for name in names] for each in answer["transfers"]])


@command.command("refund-unclaimed")
@click.argument("network")
@click.argument("tx")
@click.pass_context
def refund_unclaimed(context: click.Context, network: str, tx: str) -> None:
    """Send the money of a transaction that pays for no session back to its sender."""
    answer = _desk(context).post("/api/admin/unclaimed/refund", {"network": network, "tx": tx})
    _show(context, answer, ("done",), [[each] for each in answer["done"]])


@command.command()
@click.pass_context
def keys(context: click.Context) -> None:
    """Signing keys: next nonce, lease holder, pause."""
    answer = _desk(context).get("/api/admin/signers")
    rows = [
        [each["network"], each["address"], each["next_nonce"], each["lease_holder"] or "", each["pause_reason"] or ""]
        for each in answer["keys"]
    ]
    _show(context, answer, ("network", "address", "next nonce", "lease", "paused because"), rows)


def _refund(context: click.Context, refund_id: str, action: str, reason: str) -> None:
    body = {"refundId": refund_id, "action": action, "reason": reason}
    answer = _desk(context).post("/api/admin/refunds", body)
    _show(context, answer, ("done",), [[each] for each in answer["done"]])


@command.command()
@click.argument("refund_id")
@click.option("--reason", required=True, help="Why, for whoever reads the ledger later.")
@click.pass_context
def hold(context: click.Context, refund_id: str, reason: str) -> None:
    """Keep a refund that is not signed yet from being sent."""
    _refund(context, refund_id, "hold", reason)


@command.command()
@click.argument("refund_id")
@click.pass_context
def release(context: click.Context, refund_id: str) -> None:
    """Send a held refund, or one that is kept as credit."""
    _refund(context, refund_id, "release", "")


@command.command()
@click.argument("refund_id")
@click.option("--reason", required=True, help="How it was settled with the payer.")
@click.pass_context
def resolve(context: click.Context, refund_id: str, reason: str) -> None:
    """Close a held refund that was settled outside of the ledger."""
    _refund(context, refund_id, "resolve", reason)


def _key(context: click.Context, network: str, action: str, reason: str) -> None:
    body = {"network": network, "action": action, "reason": reason}
    answer = _desk(context).post("/api/admin/signers/switch", body)
    _show(context, answer, ("done",), [[each] for each in answer["done"]])


@command.command()
@click.argument("network")
@click.option("--reason", required=True, help="Why.")
@click.pass_context
def pause(context: click.Context, network: str, reason: str) -> None:
    """Stop signing and sending refunds on a network, at once and for all gateways."""
    _key(context, network, "pause", reason)


@command.command()
@click.argument("network")
@click.pass_context
def resume(context: click.Context, network: str) -> None:
    """Let a network's keys work again."""
    _key(context, network, "resume", "")
