"""How deeply JSON is nested, told before it is decoded.

A decoder's own guard is Python's recursion limit, and that is not ours to count on: libraries of the chains raise it
for the whole process, far above what the stack holds.
"""

from __future__ import annotations

import re
from typing import Final

MAX_DEPTH: Final = 64
"""Levels of arrays and objects. Nothing of the wire has more than a few."""

_TOKEN: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[\]{}]', re.DOTALL)
"""A string, which may hold brackets, or a bracket."""


def too_deep(body: bytes | str, limit: int = MAX_DEPTH) -> bool:
    """Whether JSON has more than `limit` levels. Text that is no JSON may be called either."""
    if isinstance(body, str):
        if body.count("[") + body.count("{") <= limit:
            return False
        body = body.encode(errors="surrogatepass")
    if body.count(b"[") + body.count(b"{") <= limit:
        return False
    depth = 0
    for found in _TOKEN.finditer(body):
        token = found[0]
        if token in b"[{":
            depth += 1
            if depth > limit:
                return True
        elif token in b"]}":
            depth -= 1
    return False
