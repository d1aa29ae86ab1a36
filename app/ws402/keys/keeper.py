"""Keeps the newest snapshot of a source's secrets in memory, and looks for a newer one in the background."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Final

from ws402.errors import ConfigurationError, UnavailableError
from ws402.jobs import Job
from ws402.keys.snapshot import Counters, SecretsUnavailableError, Snapshot, Source, as_configuration
from ws402.observability import redact

log = logging.getLogger(__name__)

OPENING_TRIES: Final = 3
"""A source that has just come up may fail once more."""

PASSING: Final = ("busy", "slow", "unreachable", "sealed")
"""Reasons that may be gone at the next try."""

OnChange = Callable[[Snapshot, Snapshot], Awaitable[None]]
"""Given the snapshot before and the new one. ConfigurationError: the new one cannot be used."""


class Keeper:
    """The secrets of one process. Nothing is written anywhere; no request waits for the source."""

    def __init__(self, source: Source, *, poll_seconds: float, max_stale_seconds: float) -> None:
        self.source = source
        self.poll_seconds = poll_seconds
        self.snapshot = Snapshot()
        self.error: SecretsUnavailableError | None = None
        """Why the last look failed."""
        self.max_stale_seconds = max_stale_seconds
        self._fresh_at: float | None = None
        self._forgotten: set[tuple[str, int]] = set()
        # One thread: a source is not safe for two, and a slow one holds up no other work.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"secrets-{source.kind}")
        self.job = Job(f"secrets {source.kind}", self._turn, poll_seconds)
        self._on_change: OnChange | None = None

    @property
    def counters(self) -> Counters:
        """What happened so far."""
        return self.source.counters

    @property
    def age(self) -> float:
        """Seconds since the source last said that the snapshot is its newest."""
        return float("inf") if self._fresh_at is None else time.monotonic() - self._fresh_at

    def open(self) -> Snapshot:
        """Read the secrets for the first time; blocks. Raises ConfigurationError."""
        for attempt in range(1, OPENING_TRIES + 1):
            try:
                self.snapshot = self._thread.submit(self.source.load).result()
            except SecretsUnavailableError as error:
                self.counters.failures[error.reason] += 1
                if error.reason not in PASSING or attempt == OPENING_TRIES:
                    self.abandon()
                    raise as_configuration(error) from None
                log.warning("trying again: %s", error)
                time.sleep(random.uniform(0, attempt))  # noqa: S311 - spreads load, guards nothing
            else:
                break
        self._fresh()
        _hide(self.snapshot)
        return self.snapshot

    def start(self, on_change: OnChange) -> None:
        """Look for new versions from now on."""
        self._on_change = on_change
        self.job.start()

    async def stop(self) -> None:
        """Stop looking; the snapshot stays in use."""
        await self.job.close()

    async def close(self) -> None:
        """Stop looking, and forget the secrets."""
        await self.stop()
        with contextlib.suppress(RuntimeError):  # closed before
            await asyncio.get_running_loop().run_in_executor(self._thread, self.source.close)
        self._thread.shutdown(wait=False)
        self.snapshot = Snapshot()

    def abandon(self) -> None:
        """Close what was never started."""
        self._thread.submit(self.source.close).result()
        self._thread.shutdown()

    def check(self) -> None:
        """Readiness: raise SecretsUnavailableError once the snapshot is too old to be relied on."""
        if self.age > self.max_stale_seconds:
            reason = self.error.message if self.error else "No look at its versions has ended."
            limit = f"more than max_stale_seconds = {self.max_stale_seconds:g}"
            raise SecretsUnavailableError(
                f"The secrets are {self.age:.0f} s old, {limit}: {reason}",
                self.error.reason if self.error else "slow",
            )

    def forget(self, network: str, version: int) -> None:
        """Drop an earlier version of a network's key: its refunds are done."""
        self._forgotten.add((network, version))
        self.snapshot = self._without_forgotten(self.snapshot)

    def _without_forgotten(self, snapshot: Snapshot) -> Snapshot:
        keys = {
            network: tuple(each for each in line if (network, each.version) not in self._forgotten)
            for network, line in snapshot.keys.items()
        }
        return replace(snapshot, keys=keys)

    async def look(self) -> None:
        """Look once. Raises SecretsUnavailableError when not everything could be read, or used."""
        held = self.snapshot
        loop = asyncio.get_running_loop()
        found, troubles = await loop.run_in_executor(self._thread, self.source.refresh, held)
        try:
            if found is not held:
                await self._take(held, found)
        except SecretsUnavailableError as error:
            troubles = [*troubles, error]
        self.counters.polls += 1
        if not troubles:
            self._fresh()
            return
        if all(each.reason == "malformed" for each in troubles):
            # The source answers; what somebody wrote there by mistake must not take every gateway down.
            self._fresh_at = time.monotonic()
        for each in troubles[1:]:
            self._count(each)
        raise troubles[0]

    async def _take(self, held: Snapshot, found: Snapshot) -> None:
        changed = sorted(name for name, version in found.versions.items() if held.versions.get(name) != version)
        if self._on_change is not None:
            try:
                await self._on_change(held, found)
            except ConfigurationError as error:
                told = f"New secrets ({', '.join(changed)}) cannot be used: {error.message}"
                raise SecretsUnavailableError(told, "malformed", remedy=error.remedy) from None
            except UnavailableError as error:
                told = f"New secrets ({', '.join(changed)}) wait: {error.message}"
                raise SecretsUnavailableError(told, "busy", remedy=error.remedy) from None
        _hide(found)
        self.snapshot = self._without_forgotten(found)
        self.counters.changes += 1
        log.info("new secrets: %s", ", ".join(f"{name} version {found.versions[name]}" for name in changed))

    async def _turn(self) -> None:
        try:
            await self.look()
        except SecretsUnavailableError as error:
            self._count(error)
            raise

    def _count(self, error: SecretsUnavailableError) -> None:
        self.counters.failures[error.reason] += 1
        if self.error is None or self.error.message != error.message:
            log.error("%s The secrets that are held stay in use.", error)
        self.error = error

    def _fresh(self) -> None:
        if self.error is not None:
            log.info("the source of secrets answers again")
        self.error = None
        self._fresh_at = time.monotonic()


def _hide(snapshot: Snapshot) -> None:
    """No log, trace or error report shows these from now on."""
    redact.register(*snapshot.servers, *snapshot.operators, snapshot.database_url)
    redact.register(*(url for urls in snapshot.rpc.values() for url in urls))
    redact.register(*(secret for secrets in snapshot.webhooks.values() for secret in secrets))
    redact.register(*(version.private_key for versions in snapshot.keys.values() for version in versions))
