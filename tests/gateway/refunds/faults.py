"""Crashes at a chosen step: every call to the chain, and every begin and end of a transaction, is a step."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any


class Crash(BaseException):
    """The process ends here. Nothing may catch it."""


def crash() -> None:
    raise Crash


class Fuse:
    """Blows at step number `at`, counted from 1."""

    def __init__(self, at: int, blow: Callable[[], None] = crash) -> None:
        self.at = at
        self.steps: list[str] = []
        self._blow = blow

    @property
    def blown(self) -> bool:
        return len(self.steps) >= self.at

    def step(self, name: str) -> None:
        """One step further; a crashed process takes none."""
        self.steps.append(name)
        if len(self.steps) >= self.at:
            self._blow()


class FusedChain:
    """A real chain whose every call may be the last thing that happens, before it or after it."""

    def __init__(self, chain: Any, fuse: Fuse) -> None:
        self._chain = chain
        self._fuse = fuse

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._chain, name)
        if not inspect.iscoroutinefunction(found):
            return found

        async def call(*arguments: Any, **named: Any) -> Any:
            self._fuse.step(name)
            answer = await found(*arguments, **named)
            if name == "broadcast":
                self._fuse.step("broadcasted")
            return answer

        return call


class FusedDatabase:
    """A real ledger likewise: before a transaction, before its commit, after it."""

    def __init__(self, database: Any, fuse: Fuse) -> None:
        self._database = database
        self._fuse = fuse

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Any]:
        async with self._database.begin() as connection:
            yield connection
            self._fuse.step("commit")
        self._fuse.step("committed")
