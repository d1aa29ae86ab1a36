"""Whole paid sessions against one's own resource, without a chain: a real server, a real client, pretended money."""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, Self

from ws402.client import NATIVE, Inclusion, Offer, Options, Session, SignedPayment, ask_offer, connect, sync
from ws402.errors import ConfigurationError, InvalidRequestError
from ws402.provider.mock.provider import MockPaymentProvider
from ws402.provider.mock.records import PAYER, MockSession
from ws402.server import WS402Server, create_server
from ws402.settings import ResourceSettings, ServerSettings

NO_CAP: Final = 2**200
"""More than any offer of pretended money asks for."""


def sold(function: Callable[..., Any], *, price: str = "0.36 USDC per hour", **settings: Any) -> ResourceSettings:
    """The settings of a resource that is this function: `sold(stream, price="0.5 USDC per 1M tokens", …)`.

    Raises ConfigurationError for a function that is inside of another one, which a server could not import.
    """
    if "." in function.__qualname__:
        raise ConfigurationError(
            f"'{function.__qualname__}' cannot be sold.", remedy="Define it at the top of its module."
        )
    target = f"{function.__module__}:{function.__qualname__}"
    return ResourceSettings(
        **{"id": function.__name__.strip("_"), "kind": "python", "target": target, "price": price} | settings
    )


class PretendedWallet:
    """A wallet of the mock's chain (see `ws402.client.Wallet`): every payment is in a block at once."""

    def __init__(self, provider: MockPaymentProvider, address: str = PAYER) -> None:
        self.address = address
        self.lock = asyncio.Lock()
        self._provider = provider

    async def chain(self) -> str:
        """That of the mock's network."""
        return f"eip155:{self._provider.service.book.chain_id}"

    async def sign(self, offer: Offer) -> SignedPayment:  # noqa: ARG002
        """A transaction's hash that nobody else has."""
        return SignedPayment(tx="0x" + secrets.token_hex(32), raw="")

    async def send(self, payment: SignedPayment) -> None:
        """Nothing to do: whatever is proved counts as paid, unless the provider's `faults` say otherwise."""

    async def inclusion(self, payment: SignedPayment, seconds: float) -> Inclusion:  # noqa: ARG002
        """At once."""
        return Inclusion.INCLUDED

    async def sign_message(self, text: str) -> str | None:  # noqa: ARG002
        """It has no key."""
        return None

    async def decimals(self, token: str | None) -> int:
        """As the mock's book has them. Raises InvalidRequestError for another token."""
        for each in self._provider.service.book.assets.values():
            if (each.contract or "").lower() == (token or "").lower():
                return each.decimals
        raise InvalidRequestError(f"The mock knows no token {token}.")

    async def received(self, tx: str, recipient: str, amount: int, token: str | None) -> bool:  # noqa: ARG002
        """Whether the mock has refunded it so."""
        return any(
            (each.tx, each.recipient.lower()) == (tx, recipient.lower()) and each.amount >= amount
            for each in self._provider.refunds
        )

    async def close(self) -> None:
        """Nothing is open."""


class PaidServer:
    """A WS402 server on a free port of this machine, in a thread of its own, with the mock gateway: `with` runs it.

    `pay` opens a whole session as a payer's program does; `provider` is the gateway's inside (`faults`, `audit()`).
    `settings` are the server's, such as `max_session_duration=60`. Raises ConfigurationError for a resource that
    cannot be sold.
    """

    def __init__(self, *resources: ResourceSettings, **settings: Any) -> None:
        self.provider = MockPaymentProvider()
        self._settings = {"port": 0, "update_interval": 200, "drain_seconds": 0, "checkpoint_seconds": 1} | settings
        self._resources = list(resources)
        self._server: WS402Server | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Its address."""
        assert self._server is not None, "it is not started"  # noqa: S101 - a mistake in a test
        return f"http://127.0.0.1:{self._server.port}"

    @property
    def sessions(self) -> list[MockSession]:
        """All sessions, as the gateway has them: `state`, `paid`, `consumed`, `refunded`, `units`, `elapsed_ms`."""
        return list(self.provider.sessions.values())

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Serve, until `close`."""
        settings = ServerSettings(**{**self._settings, "resources": self._resources})
        self._server = create_server(settings, self.provider)
        started: Future[None] = Future()
        self._thread = threading.Thread(target=self._serve, args=(started,), name="ws402 paid server", daemon=True)
        self._thread.start()
        started.result(30)

    def close(self) -> None:
        """Settle what is live, and end."""
        if self._thread is None or self._server is None or self._loop is None:
            return
        asyncio.run_coroutine_threadsafe(self._server.stop(), self._loop).result(30)
        self._thread.join(30)
        self._thread = None

    @contextmanager
    def pay(
        self, resource: str | None = None, *, seconds: int = 60, max_amount: int | str = NO_CAP, **more: Any
    ) -> Iterator[sync.Session]:
        """Pay for a session of the only resource, or this one, and open it; leaving the block ends it.

        Takes and raises what `ws402.client.connect` does.
        """
        with sync.connect(self.url, **sync.run(self._terms(resource, seconds, max_amount, more))) as session:
            yield session

    @asynccontextmanager
    async def connect(
        self, resource: str | None = None, *, seconds: int = 60, max_amount: int | str = NO_CAP, **more: Any
    ) -> AsyncIterator[Session]:
        """As `pay`, for tests that are async."""
        async with connect(self.url, **await self._terms(resource, seconds, max_amount, more)) as session:
            yield session

    async def _terms(
        self, resource: str | None, seconds: int, max_amount: int | str, more: dict[str, Any]
    ) -> dict[str, Any]:
        offer = await ask_offer(self.url, resource=resource, duration=seconds)
        terms = {
            "wallet": PretendedWallet(self.provider),
            "max_amount": max_amount,
            "resource": offer.resource_id,
            "duration": seconds,
            "asset": offer.token or NATIVE,
            "trust_first_use": True,
            "options": Options(open_seconds=10, prove_seconds=10, reconnect_seconds=10),
        }
        return terms | more

    def _serve(self, started: Future[None]) -> None:
        async def serve() -> None:
            assert self._server is not None  # noqa: S101 - `start` has made it
            self._loop = asyncio.get_running_loop()
            await self._server.serve(started=lambda: started.set_result(None))

        try:
            asyncio.run(serve())
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)


class Seller:
    """Makes `PaidServer`s and ends them: what the fixture `ws402_sell` gives."""

    def __init__(self) -> None:
        self._open: list[PaidServer] = []

    def __call__(
        self,
        *resources: ResourceSettings | Callable[..., Any],
        price: str = "0.36 USDC per hour",
        estimated_use: str | None = None,
        **settings: Any,
    ) -> PaidServer:
        """Sell functions, at this price, or what `ResourceSettings` say; `settings` are the server's."""
        listed = [
            each if isinstance(each, ResourceSettings) else sold(each, price=price, estimated_use=estimated_use)
            for each in resources
        ]
        server = PaidServer(*listed, **settings)
        server.start()
        self._open.append(server)
        return server

    def close(self) -> None:
        """End them all."""
        while self._open:
            self._open.pop().close()
