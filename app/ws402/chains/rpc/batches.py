"""How many calls one JSON-RPC request to an endpoint may hold, which only its refusals tell."""

from __future__ import annotations

import time
from typing import Final

import httpx

BATCH: Final = 50
"""Calls in one request, until an endpoint refuses as many."""

FORGET_SECONDS: Final = 3600.0
"""After this long a learnt limit is tried out anew: plans change, and a refusal may have had another reason."""

_REFUSALS: Final = ("batch", "too large", "too big", "too many calls", "response size", "payload")
"""Words by which endpoints and what stands before them refuse a request for its size."""

_NO_REFUSALS: Final = frozenset({401, 404, 405, 407, 408, 429})
"""HTTP statuses from 400 to 499 that say nothing about the size."""


class BatchRefusedError(Exception):
    """The endpoint does not take this many calls at once; it may take fewer."""


class BatchLimit:
    """The limit of one endpoint."""

    def __init__(self) -> None:
        self._learnt = BATCH
        self._until = 0.0

    @property
    def calls(self) -> int:
        """How many calls to put into one request."""
        return self._learnt if time.monotonic() < self._until else BATCH

    def learn(self, calls: int) -> None:
        """This many were answered, and more were refused."""
        self._learnt = max(1, calls)
        self._until = time.monotonic() + FORGET_SECONDS


def refused_by_status(status: int, body: bytes) -> bool:
    """Whether an answer without JSON refuses a batch for its size."""
    if httpx.codes.is_client_error(status) and status not in _NO_REFUSALS:
        return True
    return status >= 400 and refused_by_words(body[:4096].decode("utf-8", "replace"))


def refused_by_words(text: str) -> bool:
    """Whether these words refuse a batch for its size."""
    told = text.lower()
    return any(each in told for each in _REFUSALS)
