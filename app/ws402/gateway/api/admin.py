"""What operators ask of a gateway: the audit, refunds that wait for them, API keys, and switches of signing keys."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from litestar.handlers import ASGIRouteHandler

from ws402.chains.base import Chain
from ws402.errors import InvalidRequestError
from ws402.gateway.api.admin_messages import (
    AuditEntry,
    AuditResponse,
    CapitalCommand,
    Command,
    Done,
    KeyCommand,
    NewKey,
    NewKeyCommand,
    ReconcileCommand,
    ReconcileResponse,
    RefundCommand,
    ReleaseCommand,
    RevokeCommand,
    UnclaimedCommand,
)
from ws402.gateway.api.commands import Commands
from ws402.gateway.api.requests import Requests
from ws402.gateway.auth.keys import LOOK, Principal
from ws402.gateway.auth.stored import issue_key, list_keys, revoke_key
from ws402.gateway.books.stats import decimals
from ws402.gateway.refunds import Operator
from ws402.gateway.refunds.recovery import Recovery
from ws402.gateway.service import PaymentService
from ws402.money import parse_amount, wire_amount


class AdminRoutes:
    """The operators' commands over one gateway, and what they look at before."""

    def __init__(self, service: PaymentService, commands: Commands) -> None:
        self._service = service
        self._commands = commands
        self._database = service.database
        self._recovery = Recovery(service.database, service.chains, service.addresses)
        self.commands: Final[dict[str, tuple[type[Command], Callable[[Any], Awaitable[Any]]]]] = {
            "unclaimed/refund": (UnclaimedCommand, self.refund_unclaimed),
            "refunds/change": (RefundCommand, self.refund),
            "refunds/release": (ReleaseCommand, self.release),
            "signers/switch": (KeyCommand, self.key),
            "capital": (CapitalCommand, self.capital),
            "reconcile": (ReconcileCommand, self.reconcile),
            "keys/add": (NewKeyCommand, self.add_key),
            "keys/revoke": (RevokeCommand, self.revoke_key),
        }
        """By name: what it says, and what carries it out."""

    def handlers(self, requests: Requests) -> list[ASGIRouteHandler]:
        """All of them."""
        return [
            requests.get("/api/admin/audit", self.audit, *LOOK),
            requests.get("/api/admin/signers", self.keys, *LOOK),
            requests.get("/api/admin/keys", self.api_keys, *LOOK),
            *(
                self._commands.post(requests, f"/api/admin/{name}", kind, work)
                for name, (kind, work) in self.commands.items()
            ),
        ]

    async def carry_out(self, principal: Principal, name: str, command: Command) -> Any:
        """A command of `commands`, by whoever holds this key. Raises as `Commands.carry_out`."""
        return await self._commands.carry_out(principal, name, command, self.commands[name][1])

    def _operator(self, command: Command) -> Operator:
        return Operator(self._database, dry_run=command.dry_run)

    def _chain(self, network: str) -> Chain:
        if network not in self._service.chains:
            raise InvalidRequestError(
                f"Network '{network}' is not configured.", remedy=f"Use one of: {', '.join(self._service.chains)}."
            )
        return self._service.chains[network]

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
            clean=all(line.clean for line in lines),
            timestamp=time.time_ns() // 1_000_000,
            entries=entries,
            decimals=decimals(self._service.chains),
        )

    async def keys(self) -> dict[str, Any]:
        """The signing keys' nonces, leases and pauses."""
        return {"keys": await Operator(self._database).keys()}

    async def api_keys(self) -> dict[str, Any]:
        """The API keys in the ledger, without their hashes."""
        return {"keys": await list_keys(self._database)}

    async def refund_unclaimed(self, command: UnclaimedCommand) -> Done:
        """Send a stray transaction's money back."""
        self._chain(command.network)
        return Done(done=await self._service.refund_unclaimed(command.network, command.tx, dry_run=command.dry_run))

    async def refund(self, command: RefundCommand) -> Done:
        """Hold, release, resolve or retry one refund."""
        operator = self._operator(command)
        match command.action:
            case "hold":
                await operator.hold(command.refund_id, command.reason)
            case "release":
                await operator.release(command.refund_id)
            case "resolve":
                await operator.resolve(command.refund_id, command.reason)
            case "retry":
                await operator.retry(command.refund_id)
        self._service.on_refunds()
        return Done(done=[command.refund_id])

    async def release(self, command: ReleaseCommand) -> Done:
        """Release all held refunds, or all credit, of one asset."""
        asset = self._asset(command.network, command.asset)
        done = await self._operator(command).release_all(command.network, asset, state=command.state)
        self._service.on_refunds()
        return Done(done=done)

    async def key(self, command: KeyCommand) -> Done:
        """Pause or resume a network's keys."""
        self._chain(command.network)
        operator = self._operator(command)
        if command.action == "pause":
            done = await operator.pause(command.network, command.reason)
        else:
            done = await operator.resume(command.network)
        self._service.on_refunds()
        return Done(done=done)

    async def capital(self, command: CapitalCommand) -> Done:
        """Book a deposit or a withdrawal of the operator's."""
        tx = self._chain(command.network).normalize_tx(command.tx)
        asset = self._asset(command.network, command.asset)
        operator = self._operator(command)
        book = operator.deposit if command.action == "deposit" else operator.withdraw
        await book(command.network, asset, parse_amount(command.amount), tx)
        return Done(done=[tx])

    async def reconcile(self, command: ReconcileCommand) -> ReconcileResponse:
        """Go on with bringing an old copy up to what its keys have sent since."""
        self._chain(command.network)
        answer = await self._recovery.reconcile(command.network, dry_run=command.dry_run)
        if answer.state == "done":
            self._service.on_refunds()
        told = msgspec.convert(answer, ReconcileResponse, from_attributes=True)
        return msgspec.structs.replace(told, decimals=decimals(self._service.chains))

    async def add_key(self, command: NewKeyCommand) -> NewKey:
        """Make an API key."""
        made = await issue_key(
            self._database,
            tenant=command.tenant,
            name=command.name,
            scopes=frozenset(command.scopes),
            dry_run=command.dry_run,
        )
        return NewKey(id=None, key=None) if command.dry_run else NewKey(id=made[0], key=made[1])

    async def revoke_key(self, command: RevokeCommand) -> Done:
        """End an API key."""
        await revoke_key(self._database, command.id, dry_run=command.dry_run)
        return Done(done=[command.id])

    def _asset(self, network: str, asset: str) -> str:
        chain = self._chain(network)
        if asset not in chain.assets:
            raise InvalidRequestError(
                f"{network} has no asset '{asset}'.", remedy=f"Use one of: {', '.join(chain.assets)}."
            )
        return asset
