"""The console's ASGI application: who may see which page, and what is done with a form."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any, Final

from ws402.errors import ForbiddenError, NotFoundError, WS402Error
from ws402.gateway.api.admin import AdminRoutes
from ws402.gateway.api.admin_reads import AdminReads
from ws402.gateway.auth.keys import Authenticator, Principal
from ws402.gateway.console.changes import Changes
from ws402.gateway.console.http import Answer, Asked, cookie, go, status_of
from ws402.gateway.console.pages import Pages, found_at
from ws402.gateway.console.shown import TEMPLATES
from ws402.gateway.console.visits import Visit, Visits, may_change

log = logging.getLogger(__name__)

PAGE_SECONDS: Final = 20.0
"""How long a page may take."""
AT_ONCE: Final = 4
"""Pages that are made at the same time; the others wait: payers come first."""
_FOLDER: Final = Path(__file__).parent / "static"
_FILES: Final = {"/console.css": "text/css; charset=utf-8", "/icon.svg": "image/svg+xml"}


class Console:
    """Serves operators of one gateway."""

    def __init__(
        self, authenticator: Authenticator, reads: AdminReads, admin: AdminRoutes, *, changes: bool, network: str
    ) -> None:
        """`changes`: whether anything can be changed. `network`: what the title names, to tell consoles apart."""
        self.visits = Visits(authenticator)
        self._pages = Pages(reads, admin)
        self._changes = Changes(admin, self.visits, allowed=changes)
        self._network = network
        self._files = {
            path: Answer((_FOLDER / path[1:]).read_bytes(), kind=kind, kept=True) for path, kind in _FILES.items()
        }
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """See ASGI."""
        try:
            asked = Asked(scope, receive)
            answer = await self._answer(asked)
        except WS402Error as error:
            answer = self._refusal(error, None)
            await answer.send(send)
            return
        await answer.send(send, head=asked.head)

    async def _answer(self, asked: Asked) -> Answer:
        if asked.method == "GET" and asked.path in self._files:
            return self._files[asked.path]
        if asked.path == "/sign-in":
            return await self._sign_in(asked)
        known = self.visits.of(asked.cookie(), asked.agent)
        if known is None:
            # A link from another site brings no cookie (SameSite): it must not take the operator's away.
            over = [cookie("")] if asked.cookie() else []
            return go("/sign-in", *over) if asked.method == "GET" else self._signed_out()
        visit, principal = known
        try:
            principal.spend()
            async with asyncio.timeout(PAGE_SECONDS), self._turns:
                if asked.method == "POST":
                    return await self._form(asked, visit, principal)
                return self._shown((visit, principal), *await self._pages.of(asked.path, asked.query()))
        except Exception as error:  # noqa: BLE001 - every failure is answered, and what was not foreseen is logged
            return self._refusal(error, (visit, principal))

    async def _form(self, asked: Asked, visit: Visit, principal: Principal) -> Answer:
        fields = await asked.form()
        if not visit.is_from(fields.pop("csrf", "")):
            raise ForbiddenError(
                "This form is not of this visit.", remedy="Open the page again, and send it from there."
            )
        if asked.path == "/sign-out":
            self.visits.leave(asked.cookie())
            return go("/sign-in", cookie(""))
        if asked.path == "/search":
            return go(found_at(fields["what"]) if "what" in fields else "/search")
        if asked.path == "/change":
            told = await self._changes.attempt(visit, principal, fields)
            return self._shown((visit, principal), "confirm.html", told)
        if asked.path == "/confirm":
            return go(await self._changes.carry_out(visit, principal, fields.get("plan", "")))
        raise NotFoundError("There is no such form.")

    async def _sign_in(self, asked: Asked) -> Answer:
        if asked.method == "GET":
            return self._shown(None, "sign-in.html", {"problem": ""})
        fields = await asked.form()
        try:
            token = self.visits.enter(fields.get("key", ""), asked.agent)
        except WS402Error as error:
            words = (
                "That is no operator's key." if error.status in {401, 403} else f"{error.message} {error.remedy or ''}"
            )
            return self._shown(None, "sign-in.html", {"problem": words}, status=error.status)
        self.visits.leave(asked.cookie())
        return go("/", cookie(token))

    def _signed_out(self) -> Answer:
        return self._shown(None, "sign-in.html", {"problem": "You are not signed in any more."}, status=401)

    def _refusal(self, error: Exception, known: tuple[Visit, Principal] | None) -> Answer:
        if isinstance(error, WS402Error):
            message, remedy = error.message, error.remedy or ""
        elif isinstance(error, TimeoutError):
            message, remedy = "This took too long.", "Ask for less, or try again."
        else:
            log.error("a page failed", exc_info=error)
            message, remedy = "The page could not be made.", "The gateway's log says why."
        told = {"message": message, "remedy": remedy}
        return self._shown(known, "error.html", told, status=status_of(error))

    def _shown(
        self, known: tuple[Visit, Principal] | None, template: str, told: dict[str, Any], *, status: int = 200
    ) -> Answer:
        common: dict[str, Any] = {
            "network": self._network,
            "operator": None,
            "csrf": "",
            "notice": "",
            "changes": False,
        }
        if known is not None:
            visit, principal = known
            common |= {
                "operator": principal.operator,
                "csrf": visit.csrf,
                "notice": visit.notice,
                "changes": self._changes.allowed and may_change(principal),
            }
            visit.notice = ""
        return Answer(TEMPLATES.get_template(template).render({**common, **told}), status=status)
