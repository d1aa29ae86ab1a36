"""The socket: opening it, saying hello (a proof or a resume token), and coming back with full-jitter back-off."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from ws402 import __version__
from ws402.errors import WS402Error
from ws402.protocol import (
    HANDSHAKE_SECONDS,
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
    if not isinstance(message, str) or not message.startswith("{"):
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

    async def hello(
        self, message: PaymentProofMessage | ResumeMessage, *, seconds: float
    ) -> tuple[ClientConnection, SessionStarted]:
        """Open the socket and a session on it. What may work later is tried again for `seconds`.

        Raises RefusedError, UnreachableError.
        """
        deadline = time.monotonic() + seconds
        unnamed = 0
        attempt = 0
        while True:
            try:
                return await self._once(message)
            except RefusedError as error:
                unnamed += error.code == RefusedError.code
                transient = error.code in TRANSIENT_REJECTS or error.code == RefusedError.code
                if not transient or unnamed >= UNNAMED_ATTEMPTS:
                    raise
                problem: WS402Error = error
            except UnreachableError as error:
                problem = error
            delay = max(backoff(attempt), getattr(problem, "retry_after", 0.0))
            attempt += 1
            if time.monotonic() + delay > deadline:
                raise problem
            logger.info("trying again in %.1f s: %s", delay, problem)
            if self.on_wait is not None:
                self.on_wait(problem.message)
            await asyncio.sleep(delay)

    async def _once(self, message: PaymentProofMessage | ResumeMessage) -> tuple[ClientConnection, SessionStarted]:
        connection = await self._open()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await connection.send(encode(message).decode())
                return connection, await _answer(connection)
        except ConnectionClosed as error:
            code = error.rcvd.code if error.rcvd else LOST
            if code == 1008:
                reason = error.rcvd.reason if error.rcvd else ""
                raise RefusedError(
                    f"The server closed the socket: {reason or 'policy'}.", code="refused_1008"
                ) from error
            raise UnreachableError(f"The socket was closed ({code}) before the session began.") from error
        except TimeoutError as error:
            await connection.close()
            raise UnreachableError(f"The server did not answer in {ANSWER_SECONDS} s.") from error
        except BaseException:
            await connection.close()
            raise

    async def _open(self) -> ClientConnection:
        try:
            return await connect(
                self.url,
                max_size=self.max_message_bytes,
                compression=None,
                open_timeout=10,
                close_timeout=5,
                user_agent_header=f"ws402/{__version__}",
                proxy=None,  # see ws402.outgoing
            )
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


async def _answer(connection: ClientConnection) -> SessionStarted:
    while True:
        match read(await connection.recv()):
            case SessionStarted() as started:
                return started
            case PaymentRejected(reason=reason, code=code):
                raise RefusedError(reason, code=code)
            case ErrorMessage(message=text):
                # A close follows, and says whether it is for good.
                logger.info("the server says: %s", text)


def _seconds(text: str) -> float:
    return min(float(text), MAX_DELAY) if text.isdigit() else 0.0
