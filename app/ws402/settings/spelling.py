"""What somebody may have meant by a name that is no setting's."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError

SHORTEST: Final = 6
"""A shorter variable of the environment is too likely somebody else's."""

OTHERS: Final = ("WS402_CONFIG", "WS402_SECRETS_DIR", "WS402_STATE")
"""Variables that are no field of the settings."""


def did_you_mean(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """' Did you mean …?', or nothing."""
    close = difflib.get_close_matches(name, list(known), 1, cutoff)
    return f" Did you mean '{close[0]}'?" if close else ""


def complaints(error: ValidationError, kind: Any) -> list[tuple[str, str]]:
    """Where and what each error is, with what was meant by an unknown name; no value is quoted.

    `kind`: the settings, or a type that has them in it.
    """
    found = []
    for each in error.errors(include_input=False, include_url=False):
        place, what = each["loc"], each["msg"].removeprefix("Value error, ")
        if each["type"] == "extra_forbidden":
            model = _model_at(kind, place[:-1])
            what = "is no setting." + did_you_mean(str(place[-1]), model.model_fields if model else ())
        found.append((".".join(str(part) for part in place), what))
    return found


def misspelt(environment: Mapping[str, str], kinds: Sequence[type[BaseModel]]) -> list[str]:
    """A line for each variable that is no setting and looks like one, set to anything."""
    known = {name.upper() for kind in kinds for name in kind.model_fields} | set(OTHERS)
    return [
        f"{name} is set, but is no setting.{meant}"
        for name, value in sorted(environment.items())
        if value and len(name) >= SHORTEST and name not in known and (meant := did_you_mean(name, known, cutoff=0.9))
    ]


def _model_at(kind: Any, place: Iterable[int | str]) -> type[BaseModel] | None:
    """The table of settings at a place below `kind`."""
    for part in place:
        model = _model(kind)
        if isinstance(part, str) and model is not None and part in model.model_fields:
            kind = model.model_fields[part].annotation
    return _model(kind)


def _model(kind: Any) -> type[BaseModel] | None:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind
    return next((found for each in get_args(kind) if (found := _model(each)) is not None), None)
