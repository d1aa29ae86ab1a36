"""Going away without losing anybody: sessions are told, handed back for a resume elsewhere, and closed one by one."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import TYPE_CHECKING, Final

from ws402.observability import metrics
from ws402.protocol import Draining
from ws402.server.wheel import TICK_MS

if TYPE_CHECKING:
    from ws402.server.sessions.service import Sessions
    from ws402.server.sessions.session import Session

FLUSH_SECONDS: Final = 5.0
"""How long the gateway may take for the last calls."""

logger = logging.getLogger(__name__)


async def drain(sessions: Sessions, seconds: float) -> None:
    """Take no new sockets, announce the end to every session, and close them spread over `seconds`.

    A session that ends by itself meanwhile is settled. One that is closed here is released when its client can resume
    it on another server without paying again, and settled before its socket closes when the client cannot.
    """
    if sessions.admission.draining:
        return
    sessions.admission.draining = True
    metrics.DRAINING.set(1)
    sessions.arrivals.release()
    for socket in list(sessions.waiting):
        socket.leave()
    logger.info("draining: %d sessions have %g s to move", len(sessions.live), seconds)
    deadline = time.time_ns() // 1_000_000 + int(seconds * 1000)
    plan = _announce(sessions, seconds, deadline)
    loop = asyncio.get_running_loop()
    began = loop.time()
    while (passed := loop.time() - began) < seconds and (sessions.live or sessions.calls):
        while plan and plan[-1][0] <= passed:
            plan.pop()[1].move()
        await asyncio.sleep(TICK_MS / 1000)
    for _ in range(2):  # a proof that is still being verified makes one more session
        for session in list(sessions.live.values()):
            session.move()
        await sessions.calls.finish(FLUSH_SECONDS)
    if not await sessions.ends.flush(FLUSH_SECONDS):
        logger.warning("%d ended sessions are left to the gateway", sessions.ends.waiting)


def _announce(sessions: Sessions, seconds: float, deadline: int) -> list[tuple[float, Session]]:
    """When each session is closed, latest first: at random, so that they do not all arrive elsewhere at once."""
    plan = []
    for session in list(sessions.live.values()):
        after = random.uniform(0.1, 0.9) * seconds  # noqa: S311 - spreads load, keeps no secret
        session.socket.send(Draining(deadline=deadline, reconnect_after_ms=int(after * 1000)))
        plan.append((after, session))
    plan.sort(key=lambda each: each[0], reverse=True)
    return plan
