"""Events and webhooks: what was told to whom, and telling it again."""

from __future__ import annotations

import json
from typing import Any, get_args

import click

from ws402.cli.ops.lists import limited
from ws402.cli.ops.remote import Remote
from ws402.protocol.events import EventType

STATES = ["pending", "delivered", "failed"]


@click.group("events")
def group() -> None:
    """Events that webhooks tell: sessions opened and settled, refunds sent and final, money that opened nothing."""


@group.command("list")
@click.option("--type", "kind", type=click.Choice(get_args(EventType)), help="Of this type only.")
@click.option("--state", type=click.Choice(STATES), help="Only those that are so at an endpoint.")
@click.option("--endpoint", help="Only those of this webhook.")
@click.option("--subject", help="Only those about this session, refund, or network/transaction/index.")
@click.option("--before", help="Only those older than the event of this id.")
@limited
@click.pass_context
def listed(
    context: click.Context,
    kind: str | None,
    state: str | None,
    endpoint: str | None,
    subject: str | None,
    before: str | None,
    limit: int,
) -> None:
    """Events, newest first, and how far each is at its webhooks."""
    remote = Remote(context)
    answer = remote.get(
        "events", type=kind, state=state, endpoint=endpoint, subject=subject, before=before, limit=limit
    )
    rows = [each | {"told": ", ".join(map(_told, each["deliveries"])) or "-"} for each in answer["events"]]
    remote.show(answer, ("id", "type", "subject", "tenant", "createdAt", "told"), rows)


@group.command()
@click.argument("event_id")
@click.pass_context
def show(context: click.Context, event_id: str) -> None:
    """One event: what is sent, and every webhook's last answer."""
    remote = Remote(context)
    answer = remote.get("event", id=event_id)
    if not remote.as_json:
        click.echo(json.dumps(answer["body"], indent=2))
        click.echo()
    columns = ("endpoint", "state", "attempts", "status", "error", "nextAt", "updatedAt")
    remote.show(answer, columns, answer["deliveries"])


@group.command()
@click.pass_context
def endpoints(context: click.Context) -> None:
    """The webhooks of the settings: what waits for each, and which are disabled."""
    remote = Remote(context)
    answer = remote.get("events/endpoints")
    rows = [
        each | {name: ", ".join(each[name]) or "all" for name in ("events", "tenants")} for each in answer["endpoints"]
    ]
    remote.show(answer, ("name", "events", "tenants", "pending", "oldestAt", "disabledAt"), rows)


@group.command()
@click.argument("event_ids", nargs=-1)
@click.option("--failed", is_flag=True, help="All that were given up, at most 500 at once.")
@click.option("--endpoint", help="To this webhook only.")
@click.pass_context
def replay(context: click.Context, event_ids: tuple[str, ...], failed: bool, endpoint: str | None) -> None:
    """Send events again, with the same ids and bytes, to all webhooks that are told of them, or to one."""
    remote = Remote(context)
    remote.done(remote.change("events/replay", ids=list(event_ids), failed=failed, endpoint=endpoint))


@group.command()
@click.argument("endpoint")
@click.pass_context
def enable(context: click.Context, endpoint: str) -> None:
    """Send to a webhook again that answered 410 (Gone) and was disabled."""
    remote = Remote(context)
    remote.done(remote.change("events/enable", endpoint=endpoint))


def _told(delivery: dict[str, Any]) -> str:
    tries = f" ({delivery['attempts']})" if delivery["attempts"] else ""
    return f"{delivery['endpoint']}: {delivery['state']}{tries}"
