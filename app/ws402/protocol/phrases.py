"""What an HTTP status is called in our answers (RFC 9110, section 15): the same under every Python."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

# Python says these so from 3.13 on, and by their names of RFC 7231 and RFC 4918 before.
_RENAMED: Final = {
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
}


def phrase(status: int) -> str:
    """The name of a status. Raises ValueError for a number that is none."""
    return _RENAMED.get(status) or HTTPStatus(status).phrase
