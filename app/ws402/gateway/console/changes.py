"""What can be changed by the console: tried first, always; then carried out as `ws402 ops` does, or not."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ws402.errors import ForbiddenError, InvalidRequestError
from ws402.gateway.api.admin import AdminRoutes
from ws402.gateway.auth.keys import Principal
from ws402.gateway.console.visits import Visit, Visits

NAMES: Final = {
    "refunds/change": "Change a refund",
    "unclaimed/refund": "Send unclaimed money back",
    "signers/switch": "Pause or resume the keys of a network",
    "keys/revoke": "Revoke an API key",
}
"""The commands that have a form; the others are for `ws402 ops`."""
_BACK: Final = {"refunds/change": "/refunds", "unclaimed/refund": "/unclaimed"}


class Changes:
    """Over one gateway. `allowed`: the setting `console_changes`."""

    def __init__(self, admin: AdminRoutes, visits: Visits, *, allowed: bool) -> None:
        self._admin = admin
        self._visits = visits
        self.allowed = allowed

    async def attempt(self, visit: Visit, principal: Principal, fields: dict[str, str]) -> dict[str, Any]:
        """Make every check of a change, and change nothing; what the page that asks for the last word shows.

        Raises ForbiddenError, and what the command raises.
        """
        self._check()
        name = fields.pop("command", "")
        if name not in NAMES:
            raise InvalidRequestError("The console has no such command.")
        kind = self._admin.commands[name][0]
        tried = _read(kind, {**fields, "dryRun": "true"})
        answer = await self._admin.carry_out(principal, name, tried)
        back = _BACK.get(name, "/keys")
        token = self._visits.plan(visit, name, _read(kind, fields), back)
        return {
            "title": NAMES[name],
            "said": fields,
            "done": answer.done,
            "plan": token,
            "back": back,
        }

    async def carry_out(self, visit: Visit, principal: Principal, token: str) -> str:
        """Carry a tried change out, once; the page to go on with. Raises as `attempt`, and NotFoundError."""
        self._check()
        plan = self._visits.take(visit, token)
        answer = await self._admin.carry_out(principal, plan.name, plan.command)
        visit.notice = f"Done: {NAMES[plan.name].lower()}: {', '.join(answer.done) or 'nothing to do'}."
        return plan.back

    def _check(self) -> None:
        if not self.allowed:
            raise ForbiddenError(
                "This console only shows.", remedy="Set CONSOLE_CHANGES=true at the gateway, or use ws402 ops."
            )


def _read(kind: Any, fields: dict[str, str]) -> Any:
    try:
        return msgspec.convert(fields, kind, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidRequestError(f"The form cannot be read: {error}.") from None
