"""The command `ws402`: one module a subcommand, loaded when called, so that a WS402 server needs no chain library."""

from __future__ import annotations

import importlib
import sys
from typing import Final

import click

from ws402 import __version__
from ws402.errors import ConfigurationError, WS402Error

COMMANDS: Final = {
    "gateway": "Run the payment gateway.",
    "server": "Run a WS402 server.",
    "pay": "Pay for a resource and stream it, with a live meter.",
    "demo": "Pay, stream and get a refund on an embedded chain.",
    "devchain": "Serve an embedded chain over JSON-RPC.",
    "ops": "Look at and mend a running gateway's money.",
}
"""Each is `ws402.cli.<name>:command`."""


class LazyGroup(click.Group):
    """Imports a subcommand's module when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """All names, without importing anything."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import one."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"ws402.cli.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the subcommands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup)
@click.version_option(__version__)
def cli() -> None:
    """Pay-as-you-go WebSocket and HTTP resources."""


def main() -> None:
    """Run the command; an error that we foresaw ends in one clear line. Exit status 2: configuration, 1: the rest."""
    try:
        cli(standalone_mode=True)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "ws402":
            raise
        click.echo(
            f"ws402: This needs the package '{error.name}'. "
            "Install it with: pip install 'ws402[gateway,client,devchain]'",
            err=True,
        )
        sys.exit(2)
    except WS402Error as error:
        click.echo(f"ws402: {error}", err=True)
        sys.exit(2 if isinstance(error, ConfigurationError) else 1)
