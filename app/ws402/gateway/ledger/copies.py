"""Copies of an SQLite ledger: made while a gateway works on it, and put back where none does.

A copy is one file, whole or not there at all: it is written beside its name, checked, and then renamed. PostgreSQL has
its own means; `server_side` says which.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from ws402.errors import ConfigurationError, ConflictError, WS402Error
from ws402.gateway.ledger.database import file_of
from ws402.gateway.ledger.sqlite import add_functions

Progress = Callable[[int, int], None]
"""Called with the pages that were copied, and all pages."""

PAGES: Final = 1024
"""Copied between two calls of `Progress`."""

WAL_FILES: Final = ("-wal", "-shm")

BUSY: Final = "Stop the gateway first (in a cluster, scale it to 0)."


class BrokenCopyError(WS402Error):
    """A file is no ledger, or a damaged one."""

    code = "broken_copy"


def server_side(url: str) -> str | None:
    """For a ledger on PostgreSQL: why these commands do not copy it, and what does. None for SQLite."""
    if url.startswith("sqlite"):
        return None
    return (
        'Use its own tools: pg_dump --format=custom --file=ledger.dump --dbname="$DATABASE_URL"; then, into an empty '
        'database, pg_restore --no-owner --exit-on-error --dbname="$DATABASE_URL" ledger.dump, and before a gateway '
        "starts on it: ws402 ledger restored."
    )


def back_up(url: str, target: Path, progress: Progress | None = None) -> Path:
    """Copy the ledger of `url` to the file `target` while gateways work on it; answers the file.

    By SQLite's online backup, of one moment: writers are not kept waiting, and what they write meanwhile is not in it.
    Raises ConfigurationError, ConflictError (the file exists), WS402Error.
    """
    source = _existing(file_of(url))
    if target.exists():
        raise ConflictError(f"{target} exists already.", remedy="Name another file; a backup is never overwritten.")
    _check_folder(target)
    with _readable(source), closing(sqlite3.connect(source, isolation_level=None)) as ledger:
        # An open read: without one, every commit of the gateway makes the backup begin again, on a busy ledger for
        # ever (SQLite, "Online Backup API", sqlite3_backup_step).
        ledger.execute("BEGIN")
        ledger.execute("SELECT count(*) FROM sqlite_master").fetchone()
        _check_room(target.parent, _number(ledger, "page_count") * _number(ledger, "page_size"))
        _fill(ledger, _part(target), progress)
    _part(target).replace(target)
    _sync(target.parent)
    return target


def prepare(copy: Path, url: str, *, replace: bool = False, progress: Progress | None = None) -> Path:
    """Write a copy beside where the ledger of `url` belongs, checked; answers that file, for `exchange`.

    `replace`: a ledger may be there; `exchange` keeps it. Never one that a process has open. Raises ConfigurationError,
    ConflictError, BrokenCopyError, WS402Error.
    """
    target = file_of(url)
    if copy.resolve() == target.resolve():
        raise ConflictError(
            f"{copy} is where the ledger belongs already.", remedy="Mark it by `ws402 ledger restored`, and start."
        )
    _check_folder(target)
    aside = target.with_name(f"{target.name}.before-restore")
    if target.exists() and target.stat().st_size:
        if in_use(target):
            raise ConflictError(f"A process has the ledger {target} open; nothing was changed.", remedy=BUSY)
        if not replace:
            raise ConflictError(
                f"There is a ledger at {target}; nothing was changed.",
                remedy="Is it lost? Then say --replace: it is kept beside the restored one.",
            )
        if aside.exists():
            raise ConflictError(f"{aside} exists already.", remedy="Move it away first: it may be the better ledger.")
    _check_room(target.parent, _existing(copy).stat().st_size)
    part = _part(target)
    with _readable(copy), closing(_reader(copy)) as source:
        _fill(source, part, progress)
    return part


def exchange(part: Path, url: str) -> Path:
    """Give a prepared file the ledger's name; what had it is kept as `….before-restore`. Answers the ledger's file.

    Raises ConflictError.
    """
    target = file_of(url)
    if target.exists() and in_use(target):
        part.unlink()
        raise ConflictError(f"A process has opened the ledger {target} meanwhile; nothing was changed.", remedy=BUSY)
    aside = target.with_name(f"{target.name}.before-restore")
    for suffix in ("", *WAL_FILES):
        before = target.with_name(target.name + suffix)
        if before.exists():
            before.replace(aside.with_name(aside.name + suffix))
    part.replace(target)
    _sync(target.parent)
    return target


def in_use(ledger: Path) -> bool:
    """Whether another process has an SQLite ledger open."""
    with _readable(ledger), closing(sqlite3.connect(ledger, isolation_level=None, timeout=0)) as connection:
        # In WAL mode every open connection keeps a shared lock on the file, which this one would have to exclude.
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
                return True
            raise
        connection.execute("ROLLBACK")
    return False


def damage(path: Path) -> str | None:
    """What SQLite itself finds wrong with a file, or None. Raises BrokenCopyError for a file that is no ledger."""
    with _readable(path), closing(_reader(path)) as connection:
        found = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if found != "ok":
            return str(found)
        loose = connection.execute("PRAGMA foreign_key_check").fetchone()
        if loose is not None:
            return f"row {loose[1]} of {loose[0]} refers to a row of {loose[2]} that is not there"
        named = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone()
        if named is None:
            raise BrokenCopyError(f"{path} is no ledger.", remedy="Name a file that `ws402 ledger backup` made.")
    return None


def _fill(source: sqlite3.Connection, part: Path, progress: Progress | None) -> None:
    """Copy everything into the file `part` and check it; nothing is left of it when this raises."""
    part.unlink(missing_ok=True)
    try:
        part.touch(mode=0o600)
        with closing(sqlite3.connect(part, isolation_level=None)) as copy:
            tell = None if progress is None else lambda _, left, total: progress(total - left, total)
            source.backup(copy, pages=PAGES, progress=tell)
            # One file, whatever mode the ledger is in; a gateway sets its own again.
            copy.execute("PRAGMA journal_mode=DELETE")
        _require_whole(part)
        _sync(part)
    except sqlite3.OperationalError as error:
        part.unlink(missing_ok=True)
        raise WS402Error(
            f"{part} could not be written: {error}.", remedy="Look at the room on its volume, and try again."
        ) from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _require_whole(part: Path) -> None:
    if wrong := damage(part):
        raise BrokenCopyError(f"What was copied is damaged: {wrong}.", remedy="Take an older copy; keep this one.")


def _reader(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
    add_functions(connection)  # integrity_check evaluates constraints, which call them
    return connection


def _part(target: Path) -> Path:
    return target.with_name(f"{target.name}.part")


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise BrokenCopyError(
            f"{path} cannot be read as a ledger: {error}.", remedy="Take another copy; keep this one as it is."
        ) from error


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise ConfigurationError(f"There is no file {path}.", remedy="Check the path, and DATABASE_URL.")
    return path


def _check_folder(target: Path) -> None:
    if not os.access(target.parent, os.W_OK):
        raise ConfigurationError(
            f"Nothing can be written to {target.parent}.", remedy="Name a folder that exists and may be written to."
        )


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise WS402Error(
            f"{folder} has {free} bytes free, and the copy needs {needed}.", remedy="Make room, or name another volume."
        )


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
