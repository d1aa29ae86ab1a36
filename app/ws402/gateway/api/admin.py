"""What operators ask of a gateway: the audit, refunds that wait for them, and the switches of signing keys."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal

from litestar.handlers import ASGIRouteHandler
from litestar.types import Receive

from ws402.errors import InvalidRequestError
from ws402.gateway.api.front import Front
from ws402.gateway.auth.keys import Principal, Scope
from ws402.money import WireAmount, wire_amount
from ws402.protocol import Message

if TYPE_CHECKING:
    # The mock gateway has this API's description, and no ledger.
    from ws402.gateway.refunds import Operator
    from ws402.gateway.service import PaymentService


class AuditEntry(Message, kw_only=True):
    """One asset's audit, in smallest units; each difference is 0 unless money is lost or unbooked."""

    network: str
    asset: str
    block: int
    accounts: dict[str, WireAmount]
    booked: WireAmount
    on_chain: WireAmount
    difference: WireAmount
    escrow_difference: WireAmount
    owed_difference: WireAmount


class AuditResponse(Message, kw_only=True):
    """GET /api/admin/audit."""

    clean: bool
    timestamp: int
    entries: list[AuditEntry]


class RefundCommand(Message, kw_only=True):
    """POST /api/admin/refunds. `hold` and `resolve` need a reason; nothing changes the recipient."""

    refund_id: str
    action: Literal["hold", "release", "resolve"]
    reason: str = ""


class KeyCommand(Message, kw_only=True):
    """POST /api/admin/signers/switch: stop or start all signing keys of a network. `pause` needs a reason."""

    network: str
    action: Literal["pause", "resume"]
    reason: str = ""


class UnclaimedCommand(Message, kw_only=True):
    """POST /api/admin/unclaimed/refund: send a transaction that pays for no session back to its sender."""

    network: str
    tx: str


class Done(Message, kw_only=True):
    """A command was carried out on these (a refund's id, keys' addresses)."""

    done: list[str]


class AdminRoutes:
    """The operators' calls over one gateway; all need a key of the admin scope."""

    def __init__(self, service: PaymentService, operator: Operator) -> None:
        self._service = service
        self._operator = operator

    def handlers(self, front: Front) -> list[ASGIRouteHandler]:
        """All of them."""
        return [
            front.get("/api/admin/audit", self.audit, Scope.ADMIN),
            front.get("/api/admin/signers", self.keys, Scope.ADMIN),
            front.get("/api/admin/unclaimed", self.unclaimed, Scope.ADMIN),
            front.post("/api/admin/unclaimed/refund", UnclaimedCommand, self.refund_unclaimed, scope=Scope.ADMIN),
            front.post("/api/admin/refunds", RefundCommand, self.refund, scope=Scope.ADMIN),
            front.post("/api/admin/signers/switch", KeyCommand, self.key, scope=Scope.ADMIN),
        ]

    async def audit(self) -> AuditResponse:
        """Compare the books with themselves and with every chain."""
        lines = await self._service.audit()
        entries = [
            AuditEntry(
                network=line.network,
                asset=line.asset,
                block=line.block,
                accounts={name: wire_amount(value) for name, value in line.accounts.items()},
                booked=wire_amount(line.booked),
                on_chain=wire_amount(line.on_chain),
                difference=wire_amount(line.difference),
                escrow_difference=wire_amount(line.escrow_difference),
                owed_difference=wire_amount(line.owed_difference),
            )
            for line in lines
        ]
        return AuditResponse(
            clean=all(line.clean for line in lines), timestamp=time.time_ns() // 1_000_000, entries=entries
        )

    async def keys(self) -> dict[str, Any]:
        """The signing keys' nonces, leases and pauses."""
        return {"keys": await self._operator.keys()}

    async def unclaimed(self) -> dict[str, Any]:
        """Money that arrived and pays for no session."""
        return {"transfers": await self._service.unclaimed()}

    async def refund_unclaimed(self, _: Principal, command: UnclaimedCommand, __: Receive) -> Done:
        """Send a stray transaction's money back."""
        return Done(done=await self._service.refund_unclaimed(command.network, command.tx))

    async def refund(self, _: Principal, command: RefundCommand, __: Receive) -> Done:
        """Hold, release or resolve one refund."""
        match command.action:
            case "hold":
                await self._operator.hold(command.refund_id, command.reason)
            case "release":
                await self._operator.release(command.refund_id)
            case "resolve":
                await self._operator.resolve(command.refund_id, command.reason)
        self._service.on_refunds()
        return Done(done=[command.refund_id])

    async def key(self, _: Principal, command: KeyCommand, __: Receive) -> Done:
        """Pause or resume a network's keys."""
        if command.network not in self._service.chains:
            raise InvalidRequestError(
                f"Network '{command.network}' is not configured.",
                remedy=f"Use one of: {', '.join(self._service.chains)}.",
            )
        if command.action == "pause":
            done = await self._operator.pause(command.network, command.reason)
        else:
            done = await self._operator.resume(command.network)
        self._service.on_refunds()
        return Done(done=done)
