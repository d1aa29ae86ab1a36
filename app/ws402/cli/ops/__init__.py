"""`ws402 ops`: look at a running gateway's money, and mend it.

Exit status 0: done; 1: the gateway refused, or does not answer; 2: wrong use or settings; 3: the audit finds a
difference, or the gateway is not ready.
"""

from __future__ import annotations

import click
from click.core import ParameterSource

from ws402.cli.ops import (
    audit_log,
    authorizations,
    events,
    export,
    find,
    keys,
    look,
    reconcile,
    refunds,
    revenue,
    signers,
    unclaimed,
)
from ws402.cli.ops.kube import Installation
from ws402.cli.ops.remote import Target
from ws402.errors import ConfigurationError


@click.group("ops")
@click.option("--url", envvar="GATEWAY_URL", default="http://127.0.0.1:4029", show_default=True, help="The gateway.")
@click.option("--kube", is_flag=True, help="The gateway of a Helm release: kubectl forwards its port meanwhile.")
@click.option(
    "--namespace",
    "-n",
    envvar="WS402_KUBE_NAMESPACE",
    default="ws402",
    show_default=True,
    help="With --kube: the release's namespace.",
)
@click.option(
    "--release", envvar="WS402_KUBE_RELEASE", default="ws402", show_default=True, help="With --kube: the release."
)
@click.option(
    "--gateway-namespace",
    envvar="WS402_KUBE_GATEWAY_NAMESPACE",
    help="With --kube: where the gateway is; NAMESPACE-private by default.",
)
@click.option("--context", "kube_context", help="With --kube: kubectl's context; its current one by default.")
@click.option("--json", "as_json", is_flag=True, help="Print the gateway's answer as it is.")
@click.option("--raw", is_flag=True, help="Amounts in smallest units, not in whole coins.")
@click.option("--dry-run", is_flag=True, help="Make every check of a change, and change nothing.")
@click.pass_context
def command(
    context: click.Context,
    url: str,
    kube: bool,
    namespace: str,
    release: str,
    gateway_namespace: str | None,
    kube_context: str | None,
    as_json: bool,
    raw: bool,
    dry_run: bool,
) -> None:
    """Look at a running gateway's money, and mend it.

    The operator's key is read from GATEWAY_ADMIN_KEY. With --kube the key, the authority of the gateway's certificate
    and its port are found in the cluster, where your rights there allow it; WS402_KUBE_NAMESPACE, WS402_KUBE_RELEASE
    and WS402_KUBE_GATEWAY_NAMESPACE say once for all which installation it is.

    Amounts are whole coins, times UTC. --json has smallest units, and times in milliseconds since the epoch.
    """
    given = {name for name in context.params if context.get_parameter_source(name) is ParameterSource.COMMANDLINE}
    if kube and "url" in given:
        raise ConfigurationError("--url and --kube name two gateways.", remedy="Give one of them.")
    if not kube and (needs := given & {"namespace", "release", "gateway_namespace", "kube_context"}):
        option = min(needs).removeprefix("kube_").replace("_", "-")
        raise ConfigurationError(f"--{option} is only for a gateway in a cluster.", remedy="Give --kube too.")
    installation = Installation(release, namespace, gateway_namespace or f"{namespace}-private", kube_context)
    context.obj = Target(url, as_json, raw, dry_run, installation if kube else None)


for each in (
    *look.COMMANDS,
    find.command,
    export.command,
    revenue.command,
    refunds.group,
    refunds.credit,
    signers.group,
    unclaimed.group,
    authorizations.group,
    keys.group,
    audit_log.group,
    events.group,
    reconcile.command,
):
    command.add_command(each)
