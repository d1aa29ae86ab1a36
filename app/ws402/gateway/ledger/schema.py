"""Bringing a ledger's schema up to what this version needs."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection

from ws402.errors import ConfigurationError

MIGRATIONS: Final = Path(__file__).parent / "migrations"


def config(connection: Connection | None = None) -> Config:
    """Alembic's configuration; `ws402` needs no alembic.ini."""
    made = Config()
    made.set_main_option("script_location", str(MIGRATIONS))
    made.attributes["connection"] = connection
    return made


def upgrade(connection: Connection) -> None:
    """Run the missing revisions in the caller's transaction: all or none.

    Raises ConfigurationError when the ledger was made by a newer version.
    """
    current = MigrationContext.configure(connection).get_current_revision()
    script = ScriptDirectory.from_config(config())
    if current == script.get_current_head():
        return
    if current is not None:
        try:
            script.get_revision(current)
        except CommandError as error:
            raise ConfigurationError(
                f"The ledger's schema ({current}) is newer than this version knows.",
                remedy="Run the newer version again; a ledger cannot go back.",
            ) from error
    command.upgrade(config(connection), "head")
