"""`ws402 ledger`: copy a ledger while a gateway works on it, put a copy back, check one, and move one elsewhere.

Exit status 0: done; 1: refused, or a file or database that does not answer; 2: wrong use or settings; 3: `check` found
something wrong.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import click

from ws402.errors import ConfigurationError
from ws402.settings import GatewaySettings, load

STARTS_PAUSED = (
    "A gateway on it opens sessions, and sends no refund before `ws402 ops reconcile NETWORK` has found on the chain "
    "what was sent since the copy was made."
)

MOVED = (
    "Start gateways on the copy. The source is marked as an old copy: a gateway on it sends no refund before "
    "`ws402 ops reconcile NETWORK`."
)


@click.group("ledger")
def command() -> None:
    """Copy the ledger of DATABASE_URL, put a copy back, and check it. No gateway is asked."""


@command.command()
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--keep", type=click.IntRange(min=1), help="For a folder: keep this many copies, and delete older ones.")
def backup(target: Path, keep: int | None) -> None:
    """Copy the ledger to the file TARGET, or into the folder TARGET under a name that tells the time.

    Gateways go on meanwhile. The copy is of one moment, and was checked before it gets its name.
    """
    from ws402.gateway.ledger import copies  # noqa: PLC0415 - needs the extra `gateway`

    url = _sqlite_url(load(GatewaySettings))
    folder = target if target.is_dir() else None
    if keep is not None and folder is None:
        raise ConfigurationError("--keep is for a folder.", remedy=f"Make the folder {target} first, or leave it out.")
    if folder is not None:
        target = folder / f"ledger-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.db"
    made = copies.back_up(url, target, _progress())
    click.echo(f"copied: {made} ({made.stat().st_size} bytes)")
    if folder is not None and keep is not None:
        for old in sorted(folder.glob("ledger-????????T??????Z.db"))[:-keep]:
            old.unlink()
            click.echo(f"deleted: {old}")


@command.command()
@click.argument("copy", type=click.Path(path_type=Path))
@click.option("--replace", is_flag=True, help="Put it in the place of a ledger that is there, which is kept beside it.")
def restore(copy: Path, replace: bool) -> None:
    """Make the file COPY the ledger, checked and marked as restored. Refused while a gateway has the ledger open."""
    from ws402.gateway.ledger import copies  # noqa: PLC0415

    settings = load(GatewaySettings)
    url = _sqlite_url(settings)
    part = copies.prepare(copy, url, replace=replace, progress=_progress())
    try:
        names = asyncio.run(_mark(settings, f"sqlite:///{part}", str(copy)))
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    ledger = copies.exchange(part, url)
    click.echo(f"restored: {ledger} (networks: {', '.join(names) or 'none'})")
    click.echo(STARTS_PAUSED)


@command.command()
def restored() -> None:
    """Say that the ledger was put back from a copy by other means: a volume's snapshot, or pg_restore.

    Do so before a gateway starts on it.
    """
    settings = load(GatewaySettings)
    names = asyncio.run(_mark(settings, settings.database_url.get_secret_value(), "other means"))
    click.echo(f"marked as restored: {', '.join(names) or 'no network yet'}")
    click.echo(STARTS_PAUSED)


@command.command()
def check() -> None:
    """Check the ledger: its file (SQLite), its sums, and the chain of its audit log. Changes nothing, asks no chain."""
    settings = load(GatewaySettings)
    wrong = asyncio.run(_check(settings))
    for each in wrong:
        click.echo(f"WRONG: {each}", err=True)
    if wrong:
        sys.exit(3)
    click.echo("whole: nothing is wrong")


@command.command()
@click.option("--from", "source", help="The ledger to copy; DATABASE_URL's by default.")
@click.option("--to", "target", envvar="TARGET_DATABASE_URL", show_envvar=True, required=True, help="Where to.")
@click.option("--move", is_flag=True, help="The copy is the ledger from now on, and the source signs no more.")
@click.option("--dry-run", is_flag=True, help="Say what would be copied, and change nothing.")
def copy(source: str | None, target: str, move: bool, dry_run: bool) -> None:
    """Copy a ledger row by row into another database, SQLite or PostgreSQL, and compare the two.

    No gateway may work on it meanwhile. A copy that was interrupted goes on when the same command is run again. Other
    users of a machine can read a command's options: write an address with a password into the environment.
    """
    settings = load(GatewaySettings)
    ended = asyncio.run(
        _copy(settings, source or settings.database_url.get_secret_value(), target, move=move, dry_run=dry_run)
    )
    click.echo(ended)


def _sqlite_url(settings: GatewaySettings) -> str:
    from ws402.gateway.ledger import copies  # noqa: PLC0415

    url = settings.database_url.get_secret_value()
    if means := copies.server_side(url):
        raise ConfigurationError("DATABASE_URL is not of an SQLite ledger.", remedy=means)
    return url


def _progress() -> Callable[[int, int], None]:
    told = -1

    def tell(done: int, total: int) -> None:
        nonlocal told
        tenth = 10 * done // max(total, 1)
        if tenth > told:
            told = tenth
            click.echo(f"{10 * tenth} % of {total} pages", err=True)

    return tell


async def _mark(settings: GatewaySettings, url: str, source: str) -> list[str]:
    """Bring the ledger up to date, so that it can be marked, and mark it; its audit log says from where it came."""
    from ws402.gateway.books.audit_log import AuditLog  # noqa: PLC0415
    from ws402.gateway.ledger.database import Database  # noqa: PLC0415
    from ws402.gateway.ledger.restored import mark  # noqa: PLC0415

    database = Database(url)
    try:
        await database.check_exists()
        await database.create()
        names = await mark(database)
        await AuditLog(database, settings.audit_log_key).note("ws402 ledger", "restored", {"source": source})
        return names
    finally:
        await database.close()


async def _copy(settings: GatewaySettings, source_url: str, target_url: str, *, move: bool, dry_run: bool) -> str:
    from ws402.gateway.books.self_check import check_books  # noqa: PLC0415
    from ws402.gateway.ledger.database import Database  # noqa: PLC0415
    from ws402.gateway.ledger.relocation import Relocation  # noqa: PLC0415

    source, target = Database(source_url), Database(target_url)
    try:
        relocation = Relocation(source, target)
        await source.check_exists()
        if dry_run:
            rows = await relocation.plan(move=move)
            for name, count in rows.items():
                click.echo(f"{name}: {count}")
            return f"{sum(rows.values())} rows would be copied to {target.name}; nothing was changed"

        def tell(name: str, copied: int, total: int) -> None:
            click.echo(f"{name}: {copied} of {total}", err=True)

        names = await relocation.run(
            move=move, checks=lambda database: check_books(database, settings.audit_log_key), progress=tell
        )
        told = f"copied and compared: {target.name} (networks: {', '.join(names) or 'none'})\n"
        return told + (MOVED if move else STARTS_PAUSED)
    finally:
        await source.close()
        await target.close()


async def _check(settings: GatewaySettings) -> list[str]:
    from ws402.gateway.books.self_check import self_check  # noqa: PLC0415
    from ws402.gateway.ledger.database import Database  # noqa: PLC0415

    database = Database(settings.database_url.get_secret_value())
    try:
        return [each async for each in self_check(database, settings.audit_log_key)]
    finally:
        await database.close()
