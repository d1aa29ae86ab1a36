"""What all sessions of a server share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ws402.server.events import Callbacks
from ws402.server.sessions.ends import Ends
from ws402.server.wheel import Wheel

if TYPE_CHECKING:
    from ws402.server.sessions.session import Session


@dataclass(slots=True)
class SessionContext:
    """Intervals are milliseconds; `forget` is told when a session ends or leaves."""

    wheel: Wheel
    ends: Ends
    callbacks: Callbacks
    forget: Callable[[Session], None]
    is_draining: Callable[[], bool]
    update_interval: int
    ping_interval: int
    updates: int = 0
    """Usage updates sent."""
