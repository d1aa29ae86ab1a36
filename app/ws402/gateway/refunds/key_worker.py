"""Work with one key, for as long as this process holds the key's lease."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod

from sqlalchemy.exc import DBAPIError

from ws402.errors import WS402Error
from ws402.gateway.refunds.key_context import KeyContext
from ws402.gateway.refunds.lease import LeaseLostError, StaleError
from ws402.gateway.refunds.mend import Mender
from ws402.gateway.refunds.reconcile import Reconciler
from ws402.gateway.refunds.send import Sender
from ws402.jobs import Job

log = logging.getLogger(__name__)


class KeyWorker(ABC):
    """What sends transactions with a key: it follows them, keeps them moving, and lets go of the key in the end."""

    def __init__(self, context: KeyContext, name: str, interval: float, *, gather: float = 0) -> None:
        """`interval`, `gather`: see `Job`, in seconds."""
        self.context = context
        self.job = Job(name, self.turn, interval, delay=0, gather=gather)
        self._sender = Sender(context)
        self._reconciler = Reconciler(context, self._sender)
        self._mender = Mender(context, self._sender)
        self._keeper: asyncio.Task[None] | None = None

    @abstractmethod
    async def step(self) -> None:
        """Do all that can be done now; the caller holds the lease. Every step may be the last: the next run goes on.

        Raises LeaseLostError, StaleError, ChainUnavailableError, DatabaseUnavailableError.
        """

    async def turn(self) -> None:
        """What can be done now, if this process may sign."""
        await self._turn()

    async def _turn(self) -> bool:
        """False: it has to begin anew."""
        try:
            if await self.context.lease.hold():
                self._keep()
                await self.step()
        except StaleError as error:
            log.info("%s: %s", self.context.network, error)
            self.job.wake()
            return False
        except LeaseLostError as error:
            log.warning("%s: %s", self.context.network, error)
        except Exception as error:
            told = isinstance(error, WS402Error | OSError)
            self.context.condition.error = str(error) if told else type(error).__name__
            raise
        self.context.condition.error = None
        return True

    async def close(self) -> None:
        """Stop, and let go of the key."""
        await self.job.close()
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        try:
            await self.context.lease.release()
        except (WS402Error, DBAPIError, OSError) as error:
            log.warning("the lease of %s runs out by itself: %s", self.context.network, error)

    def _keep(self) -> None:
        if self._keeper is None or self._keeper.done():
            self._keeper = asyncio.create_task(self.context.lease.keep(), name=f"lease of {self.job.name}")
