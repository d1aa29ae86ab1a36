"""Files that change under a running process: mounted Secrets and ConfigMaps, projected tokens, renewed certificates."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Generic, TypeVar

from ws402.errors import ConfigurationError

LOOK_SECONDS: Final = 1.0
"""How often files are looked at, at most; one look is a stat of each."""

log = logging.getLogger(__name__)

T = TypeVar("T")


class Watched(Generic[T]):
    """What `make` makes of some files, made anew when one of them changes.

    While the new files are broken, the value of the old ones stays, which is logged once for each change. Nothing runs
    by itself: whoever takes `value` looks. A file counts as changed by its inode, time and size, through links: that is
    how Kubernetes swaps a volume's content (https://kubernetes.io/docs/concepts/storage/volumes/#configmap).
    `make` raises ConfigurationError, OSError or ValueError; the constructor passes the first one on.
    """

    def __init__(self, what: str, paths: Sequence[Path], make: Callable[[], T]) -> None:
        self._what = what
        self._paths = tuple(paths)
        self._make = make
        self._stamp = self._look()
        self._next = time.monotonic() + LOOK_SECONDS
        self.error: str | None = None
        """Why the files as they are now are not in use."""
        self._value = self._made()

    def __repr__(self) -> str:
        return f"Watched({self._what})"

    @property
    def value(self) -> T:
        """The latest good value."""
        if self._paths and time.monotonic() >= self._next:
            self.refresh()
        return self._value

    def refresh(self) -> bool:
        """Look now. Whether there is another value than before."""
        self._next = time.monotonic() + LOOK_SECONDS
        # Before the files are read: what changes while they are is seen the next time.
        stamp = self._look()
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            self._value = self._made()
        except ConfigurationError as error:
            self.error = error.message
            log.error("%s: %s The one before stays in use.", self._what, error.message)  # noqa: TRY400 - no traceback
            return False
        self.error = None
        log.info("%s: read anew", self._what)
        return True

    def _made(self) -> T:
        try:
            return self._make()
        except OSError as error:
            named = f"{error.filename} cannot be read: " if error.filename else ""
            raise ConfigurationError(
                f"{self._what}: {named}{error.strerror or error}.", remedy="Check the path and its rights."
            ) from error
        except ValueError as error:
            raise ConfigurationError(f"{self._what}: {error}.") from error

    def _look(self) -> list[tuple[int, int, int] | None]:
        return [_stamp(path) for path in self._paths]


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def read_token(path: Path) -> str:
    """A bearer token from a file. Raises OSError, or ValueError for content that no header can carry."""
    text = path.read_text("ascii", errors="replace").strip()
    if not text:
        msg = f"{path} is empty"
        raise ValueError(msg)
    if not all("!" <= letter <= "~" for letter in text):
        msg = f"{path} holds no token"
        raise ValueError(msg)
    return text
