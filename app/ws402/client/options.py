"""How patient a client is, what it puts up with, and whom it tells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ws402.client.offers import Offer
from ws402.client.store import Payment
from ws402.protocol import ServerMessage


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How patient a client is (seconds), and what it puts up with."""

    block_seconds: float = 120
    """For a payment to get into a block."""
    open_seconds: float = 30
    """For the server to open a socket, before anything is paid."""
    prove_seconds: float = 120
    """For the server to accept a payment that is in a block."""
    reconnect_seconds: float = 60
    """For a lost session to be resumed."""
    max_message_bytes: int = 16 * 1024 * 1024
    """Of one message. A larger one ends the session."""
    max_backlog_bytes: int = 64 * 1024 * 1024
    """Of the messages that nobody has taken yet. Beyond them the socket is left unread until somebody takes some."""
    allow_plaintext: bool = False
    """Speak plain HTTP to other machines: everybody on the way can read and use the proof."""
    on_event: Callable[[ServerMessage], None] | None = None
    """Told every message of the protocol, such as `UsageUpdate`."""
    on_offer: Callable[[Offer], None] | None = None
    """Told what is about to be paid, after the checks."""
    on_reuse: Callable[[Payment], None] | None = None
    """Told that a payment from before is used, and nothing more is paid."""
    on_payment: Callable[[Payment], None] | None = None
    """Told of the payment, once it is in a block."""
    on_wait: Callable[[str], None] | None = None
    """Told why the client tries again."""
