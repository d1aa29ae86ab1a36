"""A quick start: the modules of a program are loaded without what would only slow that down."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

UNUSED: Final = ("pygments", "rich")
"""structlog and httpx load them where they are installed, for tracebacks and a command that no program of ours has."""


@contextmanager
def loading() -> Iterator[None]:
    """Import modules in here: nearly all that they make stays, so a search for garbage would find none, each time."""
    enabled, hidden = gc.isenabled(), [name for name in UNUSED if name not in sys.modules]
    gc.disable()
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment] # what makes `import` raise ModuleNotFoundError
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
        if enabled:
            gc.enable()
