"""All sockets and sessions of one server, and everything that they share: provider, wheel, limits, settlement."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ws402.errors import NotFoundError, RateLimitedError
from ws402.observability import tracing
from ws402.protocol import (
    EndReason,
    EndSessionMessage,
    PaymentProofMessage,
    ReleaseRequest,
    ResumeMessage,
    SettleRequest,
    SettleResponse,
)
from ws402.provider.base import PaymentProvider
from ws402.server.addresses import Counts, TrustedProxies, group, query_value
from ws402.server.events import Callbacks
from ws402.server.resources.base import Resource
from ws402.server.sessions.checkpoints import Checkpointer
from ws402.server.sessions.ends import Done, Settler
from ws402.server.sessions.opening import Opening, reject
from ws402.server.sessions.session import Session
from ws402.server.sockets.handshake import BusyError, Upgrade
from ws402.server.wheel import Wheel
from ws402.settings import ServerSettings

if TYPE_CHECKING:
    from ws402.server.sockets.socket import Socket

CONTROL_BYTES: Final = 16_384
"""A longer message in a live session is never one of ours."""

MAX_USER_ID: Final = 256

UserIdExtractor = Callable[[Upgrade], str]
"""Who opens a socket, from its upgrade request."""

logger = logging.getLogger(__name__)


class _Head(msgspec.Struct):
    type: str


_head = msgspec.json.Decoder(_Head)
_proof = msgspec.json.Decoder(PaymentProofMessage)
_resume = msgspec.json.Decoder(ResumeMessage)
_end = msgspec.json.Decoder(EndSessionMessage)


class Sessions:
    """The server behind its sockets."""

    def __init__(
        self,
        settings: ServerSettings,
        provider: PaymentProvider,
        resources: Mapping[str, Resource],
        callbacks: Callbacks,
        *,
        user_id_extractor: UserIdExtractor | None = None,
        wheel: Wheel | None = None,
    ) -> None:
        self.settings = settings
        self.provider = provider
        self.resources = resources
        self.callbacks = callbacks
        callbacks.spawn = self.spawn
        self.server_id = "srv_" + secrets.token_hex(8)
        """Names this process to the gateway."""
        self.wheel = wheel or Wheel()
        self.proxies = TrustedProxies(settings.trusted_proxies)
        self.unpaid = Counts(settings.max_unpaid_per_address)
        self.settler = Settler(provider)
        self.opening = Opening(self)
        self.live: dict[str, Session] = {}
        self.waiting: set[Socket] = set()
        """Sockets that have not paid."""
        self.draining = False
        self.updates = 0
        """Usage updates sent."""
        self.ping_ms = int(settings.ping_seconds * 1000)
        self._http_tokens: dict[str, Session] = {}
        self._user_id_extractor = user_id_extractor
        self._tasks: set[asyncio.Task[None]] = set()
        self._checkpointer = Checkpointer(
            provider,
            lambda: list(self.live.values()),
            interval_seconds=settings.checkpoint_seconds,
            clock=self.wheel.clock,
        )

    async def start(self) -> None:
        """Connect to the gateway (it may be away), start the resources and the timers."""
        await self.provider.start()
        for resource in self.resources.values():
            await resource.start()
        self.wheel.start()
        self._checkpointer.start()

    async def close(self, flush_seconds: float = 5) -> None:
        """Hand back what is still live, tell the gateway all that is left, then close everything."""
        for session in list(self.live.values()):
            session.hand_over()
        await self.finish_tasks(flush_seconds)
        await self.settler.flush(flush_seconds)
        await self.settler.close()
        await self._checkpointer.close()
        self.wheel.stop()
        for resource in self.resources.values():
            await resource.close()
        await self.provider.close()

    async def finish_tasks(self, seconds: float) -> None:
        """Wait for the calls under way, at most this long; then cancel them."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=seconds)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    @property
    def busy(self) -> int:
        """Provider calls under way."""
        return len(self._tasks)

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run one call; a session that waits for nothing has none."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- sockets -------------------------------------------------------------------------------------------------

    def check_room(self) -> None:
        """Raises BusyError when no session can begin here now."""
        if self.draining:
            raise BusyError("This server is going away.", retry_after=1, remedy="Connect again.")
        if len(self.live) + len(self.waiting) >= self.settings.max_sessions:
            raise BusyError("This server is full.", retry_after=5, remedy="Try again later.")

    def admit(self, socket: Socket, peer: str, request: Upgrade) -> None:
        """Let a socket in, or raise why not.

        Any origin may connect: sessions are paid for by proofs, and cookies mean nothing here.
        """
        self.check_room()
        address = group(self.proxies.client(peer, request.header))
        if not self.unpaid.take(address):
            raise RateLimitedError(
                f"{self.unpaid.limit} sockets of your address wait for payment already.",
                retry_after=self.settings.handshake_seconds,
                remedy="Pay on those, or close them.",
            )
        socket.address = address
        self.waiting.add(socket)

    def settled_in(self, socket: Socket, address: str) -> None:
        """A socket of this address has paid, or is gone."""
        self.waiting.discard(socket)
        self.unpaid.give(address)

    def resource_named(self, resource_id: str, path: str) -> str | None:
        """The resource that a socket is for: by `resourceId`, or by the path's last part if that is one; else the
        payment decides. Raises NotFoundError.
        """
        if resource_id:
            if resource_id not in self.resources:
                raise NotFoundError("There is no such resource here.", remedy="GET /api/resources lists them.")
            return resource_id
        last = path.rsplit("/", 1)[-1]
        return last if last in self.resources else None

    def user_id(self, request: Upgrade, query: str) -> str:
        """Who opens the socket."""
        if self._user_id_extractor is not None:
            try:
                return self._user_id_extractor(request)[:MAX_USER_ID]
            except Exception:
                logger.exception("user_id_extractor failed")
        return query_value(query, "userId")[:MAX_USER_ID] or "anonymous"

    def greet(self, socket: Socket, text: str) -> None:
        """A text message before the payment: a proof, a resume, or nothing that concerns us."""
        try:
            kind = _head.decode(text).type
        except msgspec.DecodeError:
            return
        if kind == "payment_proof":
            try:
                message = _proof.decode(text)
            except msgspec.DecodeError:
                reject(socket, "The proof needs txHash, reference and senderAddress as strings.", "malformed_proof")
                return
            self.opening.begin(socket, self.opening.pay(socket, message))
        elif kind == "resume":
            try:
                resume = _resume.decode(text)
            except msgspec.DecodeError:
                reject(socket, "A resume needs the token as a string.", "resume_refused")
                return
            self.opening.begin(socket, self.opening.resume(socket, resume))

    # --- live sessions -------------------------------------------------------------------------------------------

    def control(self, session: Session, text: str) -> bool:
        """Whether a message of a live session was for us: a top-up or the end. Everything else is the resource's."""
        if len(text) > CONTROL_BYTES or text[:1] not in "{ \t\r\n":
            return False
        if '"payment_proof"' not in text and '"end_session"' not in text:
            return False
        try:
            kind = _head.decode(text).type
            if kind == "end_session":
                _end.decode(text)
                session.finish(EndReason.CLIENT_ENDED, text="session ended")
                return True
            if kind != "payment_proof":
                return False
            message = _proof.decode(text)
        except msgspec.DecodeError:
            return False
        self.opening.top_up(session, message)
        return True

    def add(self, session: Session) -> None:
        """A session begins here."""
        self.live[session.id] = session
        if session.resource.over_http:
            session.http_token = secrets.token_urlsafe(32)
            self._http_tokens[session.http_token] = session

    def forget(self, session: Session) -> None:
        """It ended or left; its HTTP token is worth nothing from now on."""
        if self.live.get(session.id) is session:
            del self.live[session.id]
        if session.http_token is not None:
            self._http_tokens.pop(session.http_token, None)
        self.wheel.cancel(session)

    def by_http_token(self, token: str) -> Session | None:
        """The live session that was given this token."""
        return self._http_tokens.get(token)

    def deliver(self, request: SettleRequest | ReleaseRequest, done: Done, span: tracing.Span | None = None) -> None:
        """Tell the gateway about the end of a session; `span`: the session in its trace."""
        self.spawn(self.settler.deliver(request, done, span))

    def refund_unused(self, session_id: str, epoch: int, reason: EndReason, *, elapsed_ms: int = 0) -> None:
        """A payment was accepted but nothing could be delivered for it: everything goes back."""
        request = SettleRequest(
            session_id=session_id,
            epoch=epoch,
            elapsed_ms=elapsed_ms,
            bytes_transferred=0,
            message_count=0,
            reason=reason,
        )
        self.deliver(request, _unheard)


def _unheard(request: SettleRequest | ReleaseRequest, answer: SettleResponse | None) -> None:
    """Nobody is left to be told."""
    logger.info("session %s was refunded unused (%s)", request.session_id, "settled" if answer else "by the gateway")
