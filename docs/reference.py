"""Makes the reference of what Python programs use, from its docstrings: `python docs/reference.py dist/reference`."""

# ruff: noqa: INP001 - a script, not a package

from __future__ import annotations

import argparse
import importlib
import warnings
from pathlib import Path
from typing import Final

import pdoc

MODULES: Final = (
    "ws402.client",
    "ws402.client.sync",
    "ws402.errors",
    "ws402.server",
    "ws402.server.resources",
    "ws402.testing",
)
"""What programs may stand on: what their `__all__` name, or what is public in them (docs/development.md, Releases)."""


def load() -> None:
    """Import them, and what they import when it is asked for, which pdoc does not do."""
    for name in MODULES:
        module = importlib.import_module(name)
        for exported in getattr(module, "__all__", ()):
            setattr(module, exported, getattr(module, exported))


def write(folder: Path) -> None:
    """A page for each module, with search; whatever pdoc complains of is an error."""
    load()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Of inherited fields, whose types are imported where the base is.
        warnings.filterwarnings("ignore", "Error parsing type annotation")
        pdoc.render.configure(docformat="markdown", show_source=False)
        pdoc.pdoc(*MODULES, output_directory=folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    write(parser.parse_args().folder)
