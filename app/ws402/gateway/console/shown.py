"""What a page shows: amounts as coins, times, links, and tables of them. Jinja escapes all of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ws402.money import to_decimal

Decimals = Mapping[str, Mapping[str, int]]
SHORT: Final = 16
"""Longer ids and addresses are shortened in lists; a link leads to the whole."""


class Cell(msgspec.Struct, frozen=True):
    """`kind`: 'number', 'code', 'state', 'time', 'word', or nothing. `whole`: what a shortened text stands for."""

    text: str
    kind: str = ""
    href: str | None = None
    whole: str | None = None


class Table(msgspec.Struct, frozen=True):
    """`more`: where the next page is. `partial`: there may be more although nothing was found yet."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    more: str | None = None
    empty: str = "None."


def coins(amount: Any, network: str, asset: str, decimals: Decimals) -> str:
    """In whole coins, with the symbol; in smallest units for an asset that is not configured any more."""
    known = decimals.get(network, {}).get(asset)
    return f"{amount} smallest units of {asset}" if known is None else f"{to_decimal(int(amount), known)} {asset}"


def number(text: str) -> Cell:
    """An amount."""
    return Cell(text, "number")


def when(at: int | None) -> Cell:
    """A time (ms since the epoch), UTC."""
    return Cell("–" if at is None else moment(at), "time")


def moment(at: int) -> str:
    """The same as text."""
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def code(text: str | None, href: str | None = None) -> Cell:
    """An id, address or transaction, shortened."""
    if text is None:
        return Cell("–")
    short = text if len(text) <= SHORT + 3 else f"{text[:10]}…{text[-6:]}"
    return Cell(short, "code", href, None if short == text else text)


def plain(text: Any) -> Cell:
    """Anything else."""
    return Cell("–" if text is None or text == "" else str(text))


def state(text: str) -> Cell:
    """A state, which CSS may colour."""
    return Cell(text.replace("_", " "), "state")


def case_of(what: str | None) -> str | None:
    """Where one case is told."""
    return None if what is None else link("/case", what=what)


def link(path: str, **query: str | int | None) -> str:
    """A path with the fields that are set."""
    said = {name: value for name, value in query.items() if value is not None}
    return f"{path}?{urlencode(said)}" if said else path


def pairs(items: Iterable[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Names and values of a description list, without those that are not known."""
    return [(name, value) for name, value in items if value is not None]


TEMPLATES: Final = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)
TEMPLATES.globals.update(moment=moment)
