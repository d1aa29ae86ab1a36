"""`ws402 ops`: look at a running gateway's money, and mend it.

Exit status 0: done; 1: the gateway refused, or does not answer; 2: wrong use or settings; 3: the audit finds a
difference, or the gateway is not ready.
"""

from __future__ import annotations

import click

from ws402.cli.ops import audit_log, keys, look, refunds, signers, unclaimed


@click.group("ops")
@click.option("--url", envvar="GATEWAY_URL", default="http://127.0.0.1:4029", show_default=True, help="The gateway.")
@click.option("--json", "as_json", is_flag=True, help="Print the gateway's answer as it is.")
@click.option("--dry-run", is_flag=True, help="Make every check of a change, and change nothing.")
@click.pass_context
def command(context: click.Context, url: str, as_json: bool, dry_run: bool) -> None:
    """Look at a running gateway's money, and mend it. The operator's key is read from GATEWAY_ADMIN_KEY."""
    context.obj = (url, as_json, dry_run)


for each in (
    *look.COMMANDS,
    refunds.group,
    refunds.credit,
    signers.group,
    unclaimed.group,
    keys.group,
    audit_log.group,
):
    command.add_command(each)
