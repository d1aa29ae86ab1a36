"""Who may open a socket here now: room, draining, and sockets of one address that have not paid."""

from __future__ import annotations

from collections.abc import Sized
from typing import TYPE_CHECKING

from ws402.errors import RateLimitedError
from ws402.server.addresses import Counts, TrustedProxies, group
from ws402.server.sockets.handshake import BusyError, Upgrade
from ws402.settings import ServerSettings

if TYPE_CHECKING:
    from ws402.server.sockets.socket import Socket


class Admission:
    """Counts sockets; `live` are those that have paid."""

    def __init__(self, settings: ServerSettings, proxies: TrustedProxies, live: Sized) -> None:
        self.draining = False
        self.waiting: set[Socket] = set()
        """Sockets that have not paid."""
        self._proxies = proxies
        self._live = live
        self._room = settings.max_sessions
        self._handshake_seconds = settings.handshake_seconds
        self._unpaid = Counts(settings.max_unpaid_per_address)

    def check_room(self) -> None:
        """Raises BusyError when no session can begin here now."""
        if self.draining:
            raise BusyError("This server is going away.", retry_after=1, remedy="Connect again.")
        if len(self._live) + len(self.waiting) >= self._room:
            raise BusyError("This server is full.", retry_after=5, remedy="Try again later.")

    def admit(self, socket: Socket, peer: str, request: Upgrade) -> None:
        """Let a socket in, or raise why not.

        Any origin may connect: sessions are paid for by proofs, and cookies mean nothing here.
        """
        self.check_room()
        address = group(self._proxies.client(peer, request.header))
        if not self._unpaid.take(address):
            raise RateLimitedError(
                f"{self._unpaid.limit} sockets of your address wait for payment already.",
                retry_after=self._handshake_seconds,
                remedy="Pay on those, or close them.",
            )
        socket.address = address
        self.waiting.add(socket)

    def give_back(self, socket: Socket, address: str) -> None:
        """A socket of this address has paid, or is gone."""
        self.waiting.discard(socket)
        self._unpaid.give(address)
