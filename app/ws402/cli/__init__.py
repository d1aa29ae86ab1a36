"""The command `ws402`: one module a subcommand, loaded when called, so that a WS402 server needs no chain library."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import Final

import click

from ws402 import __version__
from ws402.errors import ConfigurationError, WS402Error
from ws402.loading import loading

COMMANDS: Final = {
    "init": "Write a settings file to begin with, with keys of its own.",
    "gateway": "Run the payment gateway.",
    "server": "Run a WS402 server.",
    "pay": "Pay for a resource and stream it, with a live meter.",
    "demo": "Pay, stream and get a refund on an embedded chain.",
    "vault": "Prepare a Vault for a gateway, and rotate its keys.",
    "devchain": "Serve an embedded chain over JSON-RPC.",
    "ledger": "Copy a gateway's ledger, put a copy back, and check it.",
    "ops": "Look at and mend a running gateway's money.",
}
"""Each is `ws402.cli.<name>:command`."""


class LazyGroup(click.Group):
    """Imports a subcommand's module when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """All names, without importing anything; the image of a server has no more than its own command."""
        return [name for name in COMMANDS if importlib.util.find_spec(f"ws402.cli.{name}") is not None]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one."""
        if cmd_name not in self.list_commands(ctx):
            return None
        with loading():
            module = importlib.import_module(f"ws402.cli.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the subcommands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name]) for name in self.list_commands(ctx)])


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
