"""The socket: opening it, saying hello (a proof or a resume token), and coming back with full-jitter back-off."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from ws402 import __version__
from ws402.client.usage import started_price
from ws402.deadlines import awake, nap, within
from ws402.errors import WS402Error
from ws402.money import AmountError, parse_amount
from ws402.nesting import too_deep
from ws402.prices import PriceError
from ws402.protocol import (
    HANDSHAKE_SECONDS,
    LINK_REFUSALS,
    TRANSIENT_REJECTS,
    ErrorMessage,
    PaymentProofMessage,
    PaymentRejected,
    ResumeMessage,
    ServerMessage,
    SessionStarted,
    encode,
)

ANSWER_SECONDS: Final = HANDSHAKE_SECONDS + 10
"""A proof is answered after at most 25 s of waiting for the chain."""
FIRST_DELAY: Final = 0.5
MAX_DELAY: Final = 10.0
UNNAMED_ATTEMPTS: Final = 3
"""Stock servers refuse without a code; such a proof is shown this often, for its payment may just be too young."""
LOST: Final = 1006
OPEN_SECONDS: Final = 10
MAX_TEXT: Final = 300
"""Characters of a server's own words that are shown."""
QUEUE_FRAMES: Final = 4
"""Frames that the library reads ahead, each of at most `max_message_bytes`."""

T = TypeVar("T")

logger = logging.getLogger(__name__)


class _Head(msgspec.Struct):
    type: str


_head = msgspec.json.Decoder(_Head)
_decoder: msgspec.json.Decoder[ServerMessage] = msgspec.json.Decoder(ServerMessage)
_TYPES: Final = frozenset(str(kind.__struct_config__.tag) for kind in ServerMessage.__args__)


class RefusedError(WS402Error):
    """The server answered no to a proof or a resume, for good."""

    code = "refused"


class UnreachableError(WS402Error):
    """No answer in all the time there was; the same hello may work later."""

    code = "unreachable"

    def __init__(self, message: str, *, retry_after: float = 0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


def read(message: str | bytes) -> ServerMessage | None:
    """A message of the protocol, or None for one of the resource."""
    if not isinstance(message, str) or not message.startswith("{") or too_deep(message):
        return None
    try:
        if _head.decode(message).type not in _TYPES:
            return None
        return _decoder.decode(message)
    except msgspec.DecodeError:
        return None


def backoff(attempt: int) -> float:
    """Seconds to wait: evenly spread from 0 to a bound that doubles, so that clients do not come back in step."""
    return random.uniform(0, min(MAX_DELAY, FIRST_DELAY * 2**attempt))  # noqa: S311 - spreads load, hides nothing


@dataclass(slots=True)
class Link:
    """How to reach the socket. `max_message_bytes` bounds what one message may hold."""

    url: str
    max_message_bytes: int = 16 * 1024 * 1024
    on_wait: Callable[[str], None] | None = None
    """Told why the client waits before it tries again."""

    async def open(self, *, seconds: float) -> ClientConnection:
        """Open the socket and say nothing yet. A server that is full or going away is tried again for `seconds`.

        Raises RefusedError, UnreachableError.
        """
        return await self._insist(self._open, seconds)

    async def hello(
        self,
        message: PaymentProofMessage | ResumeMessage,
        *,
        seconds: float,
        connection: ClientConnection | None = None,
    ) -> tuple[ClientConnection, SessionStarted]:
        """Open a session: on `connection` if that is still open, else on a new socket.

        What may work later is tried again for `seconds`. Raises RefusedError, UnreachableError.
        """
        waiting = connection

        async def once() -> tuple[ClientConnection, SessionStarted]:
            nonlocal waiting
            opened, waiting = waiting, None
            if opened is not None:
                try:
                    return opened, await self._say(opened, message)
                except ConnectionClosed:
                    # Servers do not wait for a payment for ever; whether they take it is asked on a fresh socket.
                    logger.info("the socket was closed meanwhile; opening another one")
            connection = await self._open()
            try:
                return connection, await self._say(connection, message)
            except ConnectionClosed as error:
                raise _closed(error) from error

        return await self._insist(once, seconds)

    async def _insist(self, work: Callable[[], Coroutine[Any, Any, T]], seconds: float) -> T:
        deadline = awake() + seconds
        unnamed = 0
        attempt = 0
        while True:
            try:
                return await work()
            except RefusedError as error:
                unnamed += error.code == RefusedError.code
                transient = error.code in TRANSIENT_REJECTS | LINK_REFUSALS or error.code == RefusedError.code
                if not transient or unnamed >= UNNAMED_ATTEMPTS:
                    raise
                problem: WS402Error = error
            except UnreachableError as error:
                problem = error
            delay = max(backoff(attempt), getattr(problem, "retry_after", 0.0))
            attempt += 1
            if awake() + delay > deadline:
                raise problem
            logger.info("trying again in %.1f s: %s", delay, problem)
            if self.on_wait is not None:
                self.on_wait(problem.message)
            await nap(delay)

    async def _say(self, connection: ClientConnection, message: PaymentProofMessage | ResumeMessage) -> SessionStarted:
        """Raises ConnectionClosed, RefusedError, UnreachableError; the socket is closed then."""
        try:
            await connection.send(encode(message).decode())
            return await within(ANSWER_SECONDS, _answer(connection))
        except TimeoutError as error:
            await connection.close()
            raise UnreachableError(f"The server did not answer in {ANSWER_SECONDS} s.") from error
        except BaseException:
            await connection.close()
            raise

    async def _open(self) -> ClientConnection:
        try:
            # Whether the server is still there is for the channel to find out, which knows of sleep.
            return await within(OPEN_SECONDS, self._connect())
        except InvalidStatus as error:
            status = error.response.status_code
            if status < 500 and status != 429:
                raise RefusedError(f"The server refuses the socket: HTTP {status}.", code="refused_socket") from error
            raise UnreachableError(
                f"The server takes no socket now: HTTP {status}.",
                retry_after=_seconds(error.response.headers.get("Retry-After", "")),
            ) from error
        except (OSError, InvalidHandshake, EOFError) as error:
            raise UnreachableError(f"The socket cannot be opened ({type(error).__name__}).") from error

    async def _connect(self) -> ClientConnection:
        return await connect(
            self.url,
            max_size=self.max_message_bytes,
            max_queue=QUEUE_FRAMES,
            compression=None,
            open_timeout=None,
            ping_interval=None,
            close_timeout=5,
            user_agent_header=f"ws402/{__version__}",
            proxy=None,  # see ws402.outgoing
        )


def _closed(error: ConnectionClosed) -> RefusedError | UnreachableError:
    code = error.rcvd.code if error.rcvd else LOST
    if code == 1008:
        reason = error.rcvd.reason if error.rcvd else ""
        return RefusedError(f"The server closed the socket: {reason or 'policy'}.", code="refused_1008")
    return UnreachableError(f"The socket was closed ({code}) before the session began.")


async def _answer(connection: ClientConnection) -> SessionStarted:
    while True:
        match read(await connection.recv()):
            case SessionStarted() as started:
                try:
                    started_price(started)
                    parse_amount(started.balance, field="balance", zero=True)
                except (AmountError, PriceError) as error:
                    raise UnreachableError(f"The server's answer cannot be read: {error.message}") from error
                return started
            case PaymentRejected(reason=reason, code=code):
                raise RefusedError(reason[:MAX_TEXT], code=code[:MAX_TEXT] if code else None)
            case ErrorMessage(message=text):
                # A close follows, and says whether it is for good.
                logger.info("the server says: %s", text[:MAX_TEXT])


def _seconds(text: str) -> float:
    return min(float(text), MAX_DELAY) if text.isdigit() else 0.0
