"""One process's parts on the chain in memory, without anything that works by itself."""

from __future__ import annotations

from typing import Final

from tests.gateway.machine.blocks import NETWORK, US
from tests.gateway.machine.chain import Key, MemoryChain

from ws402.gateway.ledger.database import Database
from ws402.gateway.refunds import Operator, Policy, RefundEngine
from ws402.gateway.service import PaymentService
from ws402.protocol import PriceTerms, RateTerms
from ws402.settings import GatewaySettings

TENANT: Final = "shop"
PRICE: Final = 10
METERS: Final = PriceTerms(
    rates=[
        RateTerms(unit="seconds", amount=10, per=3),
        RateTerms(unit="messages", amount=1, per=7),
        RateTerms(unit="tokens", amount=1, per=1000),
    ]
)
"""Three meters, none of them a whole number of smallest units."""
SETTINGS: Final = {"verify_wait_seconds": 0, "refund_lease_seconds": 60, "invoice_seconds": 600}
POLICY: Final = Policy(min_refund={"ETH": 150}, recheck_ms=0, resend_after_ms=0, bump_after_ms=0, group=3)


class Gateway:
    """`name`: the holder of its leases."""

    def __init__(self, url: str, chain: MemoryChain, name: str) -> None:
        self.database = Database(url)
        settings = GatewaySettings(**SETTINGS)
        self.service = PaymentService(settings, self.database, {NETWORK: chain}, {NETWORK: {US}})
        self.engine = RefundEngine(
            self.database, {NETWORK: chain}, {NETWORK: Key()}, settings, name, rules={NETWORK: POLICY}
        )
        self.operator = Operator(self.database)

    async def start(self) -> None:
        await self.service.watcher.start()

    async def close(self, *, killed: bool = False) -> None:
        if not killed:
            await self.engine.close()
        await self.service.close()
        await self.database.close()

    async def promote(self) -> None:
        """What can no longer vanish becomes due, and is not sent yet."""
        worker = self.engine.workers[NETWORK]
        if await worker.context.lease.hold():
            await worker._promoter.run(await worker.context.chain.head())
