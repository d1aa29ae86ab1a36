"""Payers who wait for their payment to be noticed: one question a second to the gateway for all of them."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from ws402.errors import WS402Error
from ws402.jobs import Job
from ws402.protocol import InvoiceSecret, PaymentStatus, PaymentStatusRequest
from ws402.provider.base import PaymentProvider

LOOK_SECONDS: Final = 1.0
"""How often is asked."""

HOLD_SECONDS: Final = 20.0
"""How long somebody who waits is kept: less than what proxies take for a stalled connection."""

MOST_WAITING: Final = 4096
"""Who comes when so many wait is answered at once, and comes again later."""

PER_CALL: Final = 500
"""Invoices in one call to the gateway."""

WAITING: Final = PaymentStatus(state="waiting")

logger = logging.getLogger(__name__)

Secret = tuple[str, str | None]
"""An invoice's reference, and its claim token where it has one."""


class Arrivals:
    """Those of one server. Whoever knows an invoice's secret may wait for its payment, in as many tabs as they like."""

    def __init__(self, provider: PaymentProvider, *, hold_seconds: float = HOLD_SECONDS) -> None:
        self._provider = provider
        self._hold_seconds = hold_seconds
        self._waiting: dict[Secret, set[asyncio.Future[PaymentStatus]]] = {}
        self._closed = False
        self.job = Job("look for payments", self.look, LOOK_SECONDS, gather=LOOK_SECONDS / 4)

    @property
    def waiting(self) -> int:
        """How many wait now."""
        return sum(map(len, self._waiting.values()))

    async def wait(self, secret: InvoiceSecret) -> PaymentStatus:
        """What has arrived, as soon as something has; `waiting` after `hold_seconds`, or when there is no room."""
        if self._closed or self.waiting >= MOST_WAITING:
            return WAITING
        key = (secret.reference, secret.claim_token)
        future: asyncio.Future[PaymentStatus] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, set()).add(future)
        self.job.wake()
        try:
            return await asyncio.wait_for(future, self._hold_seconds)
        except TimeoutError:
            return WAITING
        finally:
            left = self._waiting.get(key)
            if left is not None:
                left.discard(future)
                if not left:
                    del self._waiting[key]

    async def now(self, secret: InvoiceSecret) -> PaymentStatus:
        """What has arrived so far. Raises UnavailableError."""
        answer = await self._provider.payment_status(PaymentStatusRequest(invoices=[secret]))
        return answer.payments[0]

    async def look(self) -> None:
        """Ask for all who wait."""
        secrets = list(self._waiting)
        for begin in range(0, len(secrets), PER_CALL):
            keys = secrets[begin : begin + PER_CALL]
            invoices = [InvoiceSecret(reference=reference, claim_token=token) for reference, token in keys]
            try:
                answer = await self._provider.payment_status(PaymentStatusRequest(invoices=invoices))
            except WS402Error as error:
                logger.debug("payments cannot be looked for: %s", error)  # calls that matter tell it aloud
                return
            for key, status in zip(keys, answer.payments, strict=True):
                if status.state != "waiting":
                    self._tell(key, status)

    def release(self) -> None:
        """Let all go: the server is about to end, and another one can be asked."""
        self._closed = True
        for key in list(self._waiting):
            self._tell(key, WAITING)

    def _tell(self, key: Secret, status: PaymentStatus) -> None:
        for future in self._waiting.get(key, ()):
            if not future.done():
                future.set_result(status)
