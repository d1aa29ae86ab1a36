"""Bringing a ledger's schema up to what this version needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection, inspect, text
from sqlalchemy.ext.asyncio import AsyncConnection

from ws402.errors import ConfigurationError

if TYPE_CHECKING:
    from alembic.config import Config

UNFINISHED: Final = "unfinished copy"
"""The revision of a ledger that is still being copied: no gateway starts on it."""

MIGRATIONS: Final = Path(__file__).parent / "migrations"


def newest() -> str:
    """The newest revision that this version knows; the files' names begin with their revision."""
    return max(path.name for path in (MIGRATIONS / "versions").glob("*.py")).partition("_")[0]


def config(connection: Connection | None = None) -> Config:
    """Alembic's configuration; `ws402` needs no alembic.ini."""
    from alembic.config import Config  # noqa: PLC0415 - only where there is something to do

    made = Config()
    made.set_main_option("script_location", str(MIGRATIONS))
    made.attributes["connection"] = connection
    return made


def upgrade(connection: Connection) -> None:
    """Run the missing revisions in the caller's transaction: all or none.

    Raises ConfigurationError when the ledger was made by a newer version.
    """
    revision = current(connection)
    _require_finished(revision)
    if revision == newest():
        return  # without alembic, which a gateway that starts again does not need
    from alembic import command  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    if revision is not None:
        try:
            ScriptDirectory.from_config(config()).get_revision(revision)
        except CommandError as error:
            raise ConfigurationError(
                f"The ledger's schema ({revision}) is newer than this version knows.",
                remedy="Run the newer version again; a ledger cannot go back.",
            ) from error
    command.upgrade(config(connection), "head")


def require_newest(connection: Connection) -> None:
    """Raise ConfigurationError unless the schema is the one that this version makes."""
    revision = current(connection)
    _require_finished(revision)
    if revision != newest():
        raise ConfigurationError(
            f"The ledger's schema is {revision or 'not there'}; this version's is {newest()}.",
            remedy="Check it with the version that works on it; a gateway that starts brings an older one up to date.",
        )


def current(connection: Connection) -> str | None:
    """The schema's revision; None where there is no ledger."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found


async def set_revision(connection: AsyncConnection, revision: str) -> None:
    """Call the schema so from now on."""
    await connection.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})


def _require_finished(revision: str | None) -> None:
    if revision == UNFINISHED:
        raise ConfigurationError(
            "This is an unfinished copy of a ledger.",
            remedy="Run the same `ws402 ledger copy` again: it goes on, and makes it a ledger when all of it is there.",
        )
