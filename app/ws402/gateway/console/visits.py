"""Who is signed in: an operator's key is exchanged for a short visit, which the browser has as a cookie.

The key itself is looked at once and forgotten: a visit holds its hash, so that it ends at once when the key is revoked.
"""

from __future__ import annotations

import hmac
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256
from typing import Any, Final

from ws402.errors import ForbiddenError, NotFoundError, RateLimitedError, UnauthorizedError
from ws402.gateway.auth.keys import LOOK, Authenticator, Principal, Scope
from ws402.limits import TokenBucket

log = logging.getLogger(__name__)

IDLE_SECONDS: Final = 900.0
"""A visit ends this long after its last page."""
LONGEST_SECONDS: Final = 4 * 3600.0
"""And this long after it began, whatever is done meanwhile."""
PLAN_SECONDS: Final = 300.0
"""How long a tried change can be carried out."""
MOST_VISITS: Final = 64
MOST_PLANS: Final = 8
TRIES: Final = 5
"""Wrong keys at once; then one more every `TRY_SECONDS`. All come from loopback, and are counted together."""
TRY_SECONDS: Final = 10.0

Clock = Callable[[], float]


class Plan:
    """A change that was tried and not made yet."""

    def __init__(self, name: str, command: Any, back: str, until: float) -> None:
        """`back`: the page that asked for it."""
        self.name = name
        self.command = command
        self.back = back
        self.until = until


class Visit:
    """One signed-in browser."""

    def __init__(self, principal: Principal, agent: str, now: float) -> None:
        self.key_hash = principal.key_hash
        self.agent = agent
        self.csrf = secrets.token_urlsafe(32)
        """What every form must bring: no other site can read it."""
        self.notice = ""
        """To be shown once, on the next page."""
        self.began = self.seen = now
        self.plans: OrderedDict[str, Plan] = OrderedDict()

    def is_from(self, token: str) -> bool:
        """Whether a form has this visit's token; told in constant time."""
        return hmac.compare_digest(token.encode(), self.csrf.encode())


class Visits:
    """All of one gateway's console. A visit belongs to one key and one browser, and to no other process."""

    def __init__(self, authenticator: Authenticator, clock: Clock = time.monotonic) -> None:
        self._authenticator = authenticator
        self._clock = clock
        self._visits: OrderedDict[str, Visit] = OrderedDict()
        self._tries = TokenBucket(1 / TRY_SECONDS, TRIES, clock)

    def enter(self, key: str, agent: str) -> str:
        """Sign in; the cookie's secret. Raises UnauthorizedError, ForbiddenError, RateLimitedError."""
        if self._tries.empty:
            raise RateLimitedError(
                "Too many wrong keys were tried here.", retry_after=TRY_SECONDS, remedy="Wait, and try again."
            )
        try:
            principal = self._authenticator.authenticate(b"Bearer " + key.strip().encode(), "console")
            principal.require(*LOOK)
        except (UnauthorizedError, ForbiddenError):
            self._tries.take()
            raise
        log.info("operator %s signed in to the console", principal.operator)
        token = secrets.token_urlsafe(32)
        self._visits[_digest(token)] = Visit(principal, agent, self._clock())
        while len(self._visits) > MOST_VISITS:
            self._visits.popitem(last=False)
        return token

    def of(self, token: str, agent: str) -> tuple[Visit, Principal] | None:
        """Whose cookie this is, and whose key, while both are valid; counts as a sign of life."""
        now = self._clock()
        digest = _digest(token)
        visit = self._visits.get(digest)
        if visit is None:
            return None
        principal = self._authenticator.holder(visit.key_hash)
        over = now - visit.seen > IDLE_SECONDS or now - visit.began > LONGEST_SECONDS
        if over or principal is None or principal.scopes.isdisjoint(LOOK) or visit.agent != agent:
            del self._visits[digest]
            return None
        visit.seen = now
        return visit, principal

    def leave(self, token: str) -> None:
        """Sign out."""
        self._visits.pop(_digest(token), None)

    def plan(self, visit: Visit, name: str, command: Any, back: str) -> str:
        """Keep a change that was tried; the name by which it can be carried out, once."""
        token = secrets.token_urlsafe(16)
        visit.plans[token] = Plan(name, command, back, self._clock() + PLAN_SECONDS)
        while len(visit.plans) > MOST_PLANS:
            visit.plans.popitem(last=False)
        return token

    def take(self, visit: Visit, token: str) -> Plan:
        """The change of this name, which is then gone. Raises NotFoundError."""
        plan = visit.plans.pop(token, None)
        if plan is None or plan.until < self._clock():
            raise NotFoundError(
                "This change was made already, or was tried too long ago.",
                remedy="Look how it stands now, and try it again.",
            )
        return plan


def may_change(principal: Principal) -> bool:
    """Whether the key's scope allows changes."""
    return Scope.ADMIN in principal.scopes


def _digest(token: str) -> str:
    return sha256(token.encode()).hexdigest()
