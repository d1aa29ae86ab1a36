"""A gateway's core on a real Solana chain and a real ledger, driven step by step. See `tests.gateway.refunds.world`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import Row, select, update
from tests.fixtures.solana_world import SolanaWorld, Wallet

from ws402.chains.base import Chain
from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.tables import attempts, deliveries, refunds, signers
from ws402.gateway.refunds import Operator, Policy, RefundEngine
from ws402.gateway.service import PaymentService
from ws402.protocol import GenerateRequest, Proof, RefundRequest, SolanaPaymentDetails, VerifyRequest, VerifyResponse
from ws402.settings import GatewaySettings

TENANT = "test"
UNSETTLED = ("waiting", "due", "in_flight", "confirmed")
QUICK = Policy(resend_after_ms=0, small_burst=1000)


class SolanaGateway:
    """One gateway process's parts over a Solana chain. Amounts are lamports unless an asset is named."""

    def __init__(
        self,
        world: SolanaWorld,
        database: Database,
        *,
        chain: Chain | None = None,
        policy: Policy = QUICK,
        holder: str = "test",
        **settings: Any,
    ) -> None:
        self.world = world
        self.chain = chain or world.chain
        self.database = database
        quick: dict[str, Any] = {"refund_interval_seconds": 0.1, "verify_wait_seconds": 10, "refund_lease_seconds": 30}
        made = GatewaySettings(**quick | settings)
        chains, network = {self.chain.network: self.chain}, self.chain.network
        self.service = PaymentService(made, database, chains, {network: {self.chain.recipient}})
        self.engine = RefundEngine(database, chains, {network: world.signer}, made, holder, rules={network: policy})
        self.operator = Operator(database)

    # --- payers ------------------------------------------------------------------------------------------------------

    async def payer(self) -> Wallet:
        """Somebody with coins and tokens."""
        return await asyncio.to_thread(self.world.payer)

    async def invoice(self, amount: int, asset: str = "SOL", **fields: Any) -> SolanaPaymentDetails:
        """An invoice for a minute of a film."""
        request = {"resource_id": "film", "estimated_duration": 60, "network": self.chain.network, "asset": asset}
        details = await self.service.of(TENANT).generate(GenerateRequest(amount=amount, **request | fields))
        assert isinstance(details, SolanaPaymentDetails)
        return details

    async def pay(self, payer: Wallet, invoice: SolanaPaymentDetails, *, amount: int | None = None) -> Proof:
        """Pay an invoice as wallets do: one transfer that lists the reference key."""
        value = int(invoice.amount) if amount is None else amount
        tx = await asyncio.to_thread(self.world.pay, payer, invoice.asset or "SOL", value, tag=invoice.reference)
        return proof_of(invoice, tx, payer)

    async def verify(self, proof: Proof, **more: Any) -> VerifyResponse:
        """As our own servers verify."""
        return await self.service.of(TENANT).verify(VerifyRequest(proof=proof, **({"server_id": "server-1"} | more)))

    async def owe(self, payer: Wallet, amount: int, asset: str = "SOL") -> str:
        """A payer pays, uses nothing, and ends; answers the refund's id."""
        invoice = await self.invoice(amount, asset)
        proof = await self.pay(payer, invoice)
        opened = await self.verify(proof, server_id=None, claim_token=invoice.claim_token)
        assert opened.valid, opened.reason
        answer = await self.service.of(TENANT).refund(RefundRequest(proof=proof, amount=amount))
        assert answer.refund_id
        return answer.refund_id

    # --- the engine --------------------------------------------------------------------------------------------------

    async def finish(self, *, seconds: float = 40) -> None:
        """Passes until nothing moves by itself any more."""
        end = time.monotonic() + seconds
        while await self.refunds(*UNSETTLED):
            states = {row.id: (row.state, row.reason) for row in await self.refunds(*UNSETTLED)}
            assert time.monotonic() < end, f"unfinished after {seconds} s: {states}"
            await asyncio.to_thread(self.world.advance, 2)
            await self.engine.run_once()

    async def until(self, *states: str, seconds: float = 30) -> None:
        """Passes until every refund is in one of these states."""
        end = time.monotonic() + seconds
        while any(row.state not in states for row in await self.refunds()):
            assert time.monotonic() < end, [(row.state, row.reason) for row in await self.refunds()]
            await asyncio.to_thread(self.world.advance, 2)
            await self.engine.run_once()

    # --- the ledger --------------------------------------------------------------------------------------------------

    async def all(self, query: Any) -> Sequence[Row[Any]]:
        async with self.database.begin() as connection:
            return (await connection.execute(query)).all()

    async def refunds(self, *states: str) -> Sequence[Row[Any]]:
        query = select(refunds).order_by(refunds.c.created_at, refunds.c.id)
        return await self.all(query.where(refunds.c.state.in_(states)) if states else query)

    async def refund(self, refund_id: str) -> Row[Any]:
        return (await self.all(select(refunds).where(refunds.c.id == refund_id)))[0]

    async def deliveries(self) -> Sequence[Row[Any]]:
        return await self.all(select(deliveries).order_by(deliveries.c.created_at, deliveries.c.id))

    async def attempts(self) -> Sequence[Row[Any]]:
        return await self.all(select(attempts).order_by(attempts.c.created_at, attempts.c.delivery_id))

    async def lease_runs_out(self) -> None:
        async with self.database.begin() as connection:
            await connection.execute(update(signers).values(lease_until=1))

    async def audit(self) -> None:
        """The books agree with themselves and with the chain, to the unit."""
        await self.service.watcher.step(self.chain)
        for line in await self.service.audit():
            assert line.clean, line

    async def arrived(self, payer: Wallet, asset: str = "SOL") -> list[int]:
        """What our key's transactions paid this wallet, by the chain itself, oldest first."""
        return await asyncio.to_thread(self._arrived, payer.address, asset)

    def _arrived(self, address: str, asset: str) -> list[int]:
        account = address if asset == "SOL" else self.world.mint.account(address)
        listed = self.world.solana.rpc("getSignaturesForAddress", account, {"commitment": "confirmed"})
        found = []
        for each in reversed(listed):
            transaction = self.world.solana.transaction(each["signature"])
            keys = transaction["transaction"]["message"]["accountKeys"]
            if keys[0] != self.chain.recipient or transaction["meta"]["err"] is not None:
                continue
            place = keys.index(account)
            if asset == "SOL":
                meta = transaction["meta"]
                found.append(meta["postBalances"][place] - meta["preBalances"][place])
                continue
            sides = [
                sum(int(b["uiTokenAmount"]["amount"]) for b in transaction["meta"][side] if b["accountIndex"] == place)
                for side in ("preTokenBalances", "postTokenBalances")
            ]
            found.append(sides[1] - sides[0])
        return found


def proof_of(invoice: SolanaPaymentDetails, tx: str, payer: Wallet) -> Proof:
    """What a Solana wallet shows."""
    return Proof(reference=invoice.reference, signature=tx, sender_wallet=payer.address)


@asynccontextmanager
async def solana_gateway(world: SolanaWorld, database: Database, **options: Any) -> AsyncIterator[SolanaGateway]:
    """A gateway over the world's chain, which is started already."""
    made = SolanaGateway(world, database, **options)
    await made.service.start()
    try:
        yield made
    finally:
        await made.engine.close()
        await made.service.close()
