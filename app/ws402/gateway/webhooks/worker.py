"""The worker: one gateway of a ledger delivers its events, each endpoint at its own pace.

An event is sent at least once, always with the same id and the same bytes: a process that ends between a receiver's
answer and its note in the ledger sends it again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Final

from pydantic import SecretStr

from ws402.gateway.ledger.batching import Batcher
from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.event_tables import EventState
from ws402.gateway.webhooks.lease import Lease
from ws402.gateway.webhooks.schedule import next_delay, read_retry_after
from ws402.gateway.webhooks.sending import GONE, Answer, Poster
from ws402.gateway.webhooks.signing import headers
from ws402.gateway.webhooks.store import SLICE, Due, Result, Standing, Store
from ws402.jobs import Job, Jobs
from ws402.observability import metrics
from ws402.observability.instruments import Gauge
from ws402.settings import WebhookSettings
from ws402.settings.webhooks import signing_key

log = logging.getLogger(__name__)

AT_ONCE: Final = 4
"""Attempts at one endpoint at the same time."""

LOOK_SECONDS: Final = 1.0
"""How often what is due is looked for; new events are looked for at once."""

GATHER_SECONDS: Final = 0.05
"""Events of so long are planned together."""

STANDING_SECONDS: Final = 15.0
"""How often pending events are counted for metrics."""

Secrets = Mapping[str, Sequence[SecretStr]]


class Webhooks:
    """Delivers events from `start` to `close`, while this gateway holds the lease."""

    def __init__(
        self, database: Database, endpoints: Sequence[WebhookSettings], secrets: Secrets, *, seconds: float, holder: str
    ) -> None:
        """`seconds`: how long a receiver may take. `holder` names this process in the ledger."""
        self.endpoints = tuple(endpoints)
        self.store = Store(database)
        self.lease = Lease(database, holder)
        self._database = database
        self._recording: Batcher[Result, None] = Batcher("webhooks", self.store.record)
        self._lines = {each.name: _Line(self, each, seconds) for each in endpoints}
        self._planning = Job("webhooks", self.plan, LOOK_SECONDS, delay=0, gather=GATHER_SECONDS)
        self.jobs = Jobs(
            (
                self._planning,
                Job("count webhooks", self.count, STANDING_SECONDS, delay=LOOK_SECONDS),
                *(each.job for each in self._lines.values()),
            )
        )
        self._shown: set[tuple[Gauge, str]] = set()
        self.replace_secrets(secrets)

    def replace_secrets(self, secrets: Secrets) -> None:
        """Sign with these from now on, with each of a webhook's. One without any is sent nothing meanwhile."""
        for name, line in self._lines.items():
            line.keys = [signing_key(each) for each in secrets.get(name, ())]
            if not line.keys:
                log.error("webhook %s has no secret: its events wait", name)

    async def start(self) -> None:
        """Begin."""
        await self.store.settle_endpoints(self.endpoints)
        for each in self.endpoints:
            metrics.WEBHOOKS_DELIVERED.ready(each.name)
            metrics.WEBHOOKS_GIVEN_UP.ready(each.name)
        self.jobs.start()

    async def close(self) -> None:
        """End; what is under way is sent again by another gateway, or by the next process."""
        await self.jobs.close()
        await self._recording.close()
        for line in self._lines.values():
            await line.close()
        self._clear()
        await self.lease.release()

    def told(self) -> None:
        """There are new events."""
        self._planning.wake()

    def wake(self) -> None:
        """An operator changed what is due."""
        for line in self._lines.values():
            line.job.wake()

    async def plan(self) -> None:
        """Take the lease, or renew it, and give new events to their endpoints."""
        if not await self.lease.hold():
            return
        planned = total = await self.store.plan(self.endpoints)
        while planned == SLICE and self.lease.held:
            planned = await self.store.plan(self.endpoints)
            total += planned
        if total:
            self.wake()

    async def turn(self) -> int:
        """Plan, and try everything that is due once, at all endpoints; answers how many attempts were made."""
        await self.plan()
        return sum(await asyncio.gather(*(line.run() for line in self._lines.values())))

    async def count(self) -> None:
        """Show in the metrics how the endpoints stand, in the gateway that delivers."""
        self._clear()
        if not self.lease.held:
            return
        now = self._database.now_ms()
        for name, each in (await self.store.standing(list(self._lines))).items():
            oldest = None if each.disabled_at else each.oldest_at
            self._show(metrics.WEBHOOKS_PENDING, name, each.pending)
            self._show(metrics.WEBHOOK_OLDEST, name, max(0, now - (oldest or now)) / 1000)
            self._show(metrics.WEBHOOK_DISABLED, name, float(each.disabled_at is not None))

    async def standing(self) -> Mapping[str, Standing]:
        """How the endpoints stand."""
        return await self.store.standing(list(self._lines))

    async def record(self, result: Result) -> None:
        """Write what came of an attempt."""
        await self._recording.submit(result)

    def now_ms(self) -> int:
        """By the ledger's clock."""
        return self._database.now_ms()

    def _show(self, gauge: Gauge, name: str, value: float) -> None:
        gauge.set(value, name)
        self._shown.add((gauge, name))

    def _clear(self) -> None:
        for gauge, name in self._shown:
            gauge.clear(name)
        self._shown.clear()


class _Line:
    """The events for one endpoint, on their way."""

    def __init__(self, owner: Webhooks, settings: WebhookSettings, seconds: float) -> None:
        self.name = settings.name
        self.keys: list[bytes] = []
        self.job = Job(f"webhook {self.name}", self.run, LOOK_SECONDS)
        self._owner = owner
        self._poster = Poster(settings.url, seconds, most=AT_ONCE)

    async def close(self) -> None:
        """Close its connections."""
        await self._poster.close()

    async def run(self) -> int:
        """Try everything that is due, `AT_ONCE` at the same time; answers how many attempts were made.

        What is due is asked for anew after each few: one that hangs keeps others waiting for its time-out, no longer.
        """
        tried, began = 0, self._owner.now_ms()  # what fails is due later than that, and so is tried once
        while await self._open():
            found = await self._owner.store.due(self.name, AT_ONCE, began)
            if not found:
                break
            tried += len(found)
            async with asyncio.TaskGroup() as group:
                for each in found:
                    group.create_task(self._try(each))
        return tried

    async def _open(self) -> bool:
        """Whether anything may be sent to it."""
        if not (self.keys and self._owner.lease.held):
            return False
        return not await self._owner.store.disabled(self.name)

    async def _try(self, due: Due) -> None:
        body, now = due.body.encode(), self._owner.now_ms()
        answer = await self._poster.post(headers(self.keys, due.event_id, now // 1000, body), body)
        if answer.status == GONE and await self._owner.store.disable(self.name, now):
            log.error(
                "webhook %s answered 410 (Gone) and is disabled; its events wait. "
                "Enable it again with: ws402 ops events enable %s",
                *(self.name, self.name),
            )
        await self._owner.record(self._result(due, answer))

    def _result(self, due: Due, answer: Answer) -> Result:
        now = self._owner.now_ms()
        if answer.taken:
            metrics.WEBHOOKS_DELIVERED.inc(self.name)
            return Result(due, EventState.DELIVERED, now, answer.status, None)
        metrics.WEBHOOKS_FAILED.inc(self.name, answer.reason)
        delay = next_delay(due.attempts + 1, read_retry_after(answer.retry_after, now))
        if delay is not None:
            log.info("webhook %s: event %s is tried again in %d s: %s", self.name, due.event_id, delay, answer.error)
            return Result(due, EventState.PENDING, now, answer.status, answer.error, now + int(delay * 1000))
        metrics.WEBHOOKS_GIVEN_UP.inc(self.name)
        log.error(
            "webhook %s: event %s is given up after %d attempts: %s. Send it again with: ws402 ops events replay",
            *(self.name, due.event_id, due.attempts + 1, answer.error),
        )
        return Result(due, EventState.FAILED, now, answer.status, answer.error)
