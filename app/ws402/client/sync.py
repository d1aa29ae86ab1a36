"""The paying client for programs without asyncio: `with ws402.client.sync.connect(url, wallet=…) as session: …`.

Everything runs on one event loop in a thread of its own, started at the first call and ended with the process, so a
wallet may be used for one session after the other, and by several threads. A call waits for its result; what interrupts
the wait, such as Ctrl-C, cancels what was under way, and leaving the block ends the session: what was not used goes
back to the payer.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from ws402.client import connecting
from ws402.client.options import Options
from ws402.client.policy import NATIVE
from ws402.client.session import Session as AsyncSession
from ws402.client.store import Payment, Store
from ws402.client.usage import Refund, Settlement, Usage
from ws402.client.wallet import Wallet
from ws402.errors import ConflictError
from ws402.prices import Price
from ws402.protocol import HttpAccessGranted

__all__ = ["Session", "connect", "run"]

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine of this package, such as `wallet.close()` or `ask_offer(url)`; answers and raises as it does.

    An interruption of the wait cancels it, waits until it has tidied up, and goes on. Raises ConflictError when called
    on the loop's own thread, as in a callback of `Options`, where it would wait for itself.
    """
    return _loop.run(work)


class _Loop:
    """The thread with the event loop; a forked process starts its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._running: asyncio.AbstractEventLoop | None = None
        atexit.register(self.close)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forked)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        if threading.current_thread() is self._thread:
            work.close()
            raise ConflictError(
                "A call that waits was made on the client's own thread.",
                remedy="Make it outside of the callback, or use the methods of ws402.client there.",
            )
        loop = self._started()
        ended = threading.Event()
        tasks: list[asyncio.Task[T]] = []

        def start() -> None:
            tasks.append(loop.create_task(work))
            tasks[0].add_done_callback(lambda _: ended.set())

        def cancel() -> None:
            if tasks:
                tasks[0].cancel()
            else:  # the interruption came before `start` was called
                work.close()
                ended.set()

        try:
            loop.call_soon_threadsafe(start)
            ended.wait()
        except BaseException:
            loop.call_soon_threadsafe(cancel)
            ended.wait()
            if tasks and not tasks[0].cancelled():
                tasks[0].exception()  # was seen: the interruption is what the caller learns
            raise
        return tasks[0].result()

    def close(self) -> None:
        """Cancel what is left, and end the thread."""
        with self._lock:
            loop, thread = self._running, self._thread
            self._running = self._thread = None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._running is None:
                loop = self._running = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._serve, args=(loop,), name="ws402 client", daemon=True)
                self._thread.start()
            return self._running

    @staticmethod
    def _serve(loop: asyncio.AbstractEventLoop) -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.get_loop().run_forever()

    def _forked(self) -> None:
        self._lock = threading.Lock()
        self._running = self._thread = None


_loop: Final = _Loop()


class Session:
    """A paid session, made by `connect`. As `ws402.client.Session`, with calls that wait; amounts are smallest units of
    `asset`.
    """

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str | bytes:
        try:
            return run(self._session.__anext__())
        except StopAsyncIteration:
            raise StopIteration from None

    def receive(self, timeout: float | None = None) -> str | bytes:
        """The next message. Raises TimeoutError after so many seconds, EOFError when the session has ended."""

        async def wait() -> str | bytes:
            async with asyncio.timeout(timeout):
                return await self._session.__anext__()

        try:
            return run(wait())
        except StopAsyncIteration:
            raise EOFError("The session has ended.") from None

    def send(self, message: str | bytes) -> None:
        """Send to the resource. Raises SessionLostError when the session has ended."""
        run(self._session.send(message))

    def top_up(self, more: int | str, *, payment_id: str | None = None) -> int:
        """Pay for that many seconds more, or for what '0.01 ETH' buys; answers what was credited, in smallest units.

        Raises as `ws402.client.Session.top_up`.
        """
        return run(self._session.top_up(more, payment_id=payment_id))

    def end(self) -> Settlement:
        """End the session now; the rest goes back to the payer. Again is harmless."""
        return run(self._session.end())

    def refund(self, seconds: float = 60) -> Refund | None:
        """Wait for the refund of an ended session: until it is on the chain, or `seconds` are over.

        None when nothing is owed, or when the server does not tell (stock servers).
        """
        return run(self._session.refund(seconds))

    @property
    def id(self) -> str:
        """The session's id."""
        return self._session.id

    @property
    def resource_id(self) -> str:
        """What is used."""
        return self._session.resource_id

    @property
    def asset(self) -> str:
        """What it is paid in."""
        return self._session.asset

    @property
    def price(self) -> Price:
        """What is charged, exactly."""
        return self._session.price

    @property
    def price_per_second(self) -> int:
        """What time costs, smallest units a second, rounded up."""
        return self._session.price_per_second

    @property
    def payments(self) -> list[Payment]:
        """All payments of this session, top-ups included, in order."""
        return self._session.payments

    @property
    def paid(self) -> int:
        """What was paid so far."""
        return self._session.paid

    @property
    def usage(self) -> Usage:
        """Use, as the server last said."""
        return self._session.usage

    @property
    def balance(self) -> int:
        """What is left right now, counted on from the server's last figure."""
        return self._session.balance

    @property
    def live(self) -> bool:
        """Whether the session goes on."""
        return self._session.live

    @property
    def resumable(self) -> bool:
        """It broke off, but connecting again with the same store may go on with it."""
        return self._session.resumable

    @property
    def settlement(self) -> Settlement | None:
        """How the session ended; None while it goes on, or when nobody said (`end()` then estimates)."""
        return self._session.settlement

    @property
    def http_access(self) -> HttpAccessGranted | None:
        """Address and token of a resource that is served over HTTP while the session lives."""
        return self._session.http_access


@contextmanager
def connect(
    url: str,
    *,
    wallet: Wallet,
    max_amount: int | str,
    resource: str | None = None,
    duration: int = 300,
    asset: str = NATIVE,
    network: str | None = None,
    payees: Iterable[str] = (),
    trust_first_use: bool = False,
    max_price_per_second: int | str | None = None,
    store: str | Path | None = None,
    payment_id: str | None = None,
    user_id: str | None = None,
    options: Options | None = None,
) -> Iterator[Session]:
    """Pay for `duration` seconds of a resource and open its session; leaving the block ends it.

    Takes and raises what `ws402.client.connect` does; `store` is the path of the file that remembers payments, by
    default none does. Callbacks of `options` are called on the client's thread.
    """
    stack = AsyncExitStack()

    async def enter() -> Session:
        try:
            opened = None if store is None else stack.enter_context(Store(store))
            session = await stack.enter_async_context(
                connecting.connect(
                    url,
                    wallet=wallet,
                    max_amount=max_amount,
                    resource=resource,
                    duration=duration,
                    asset=asset,
                    network=network,
                    payees=payees,
                    trust_first_use=trust_first_use,
                    max_price_per_second=max_price_per_second,
                    store=opened,
                    payment_id=payment_id,
                    user_id=user_id,
                    options=options,
                )
            )
        except BaseException:
            await stack.aclose()
            raise
        return Session(session)

    session = run(enter())
    try:
        yield session
    finally:
        # Without the error of the block: an interruption that is thrown into a task would end the loop.
        run(stack.aclose())
