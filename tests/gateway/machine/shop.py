"""One gateway on the chain in memory, and what a test does with it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import select
from tests.gateway.machine.blocks import NETWORK, Tx
from tests.gateway.machine.books import check, read_by
from tests.gateway.machine.chain import MemoryChain
from tests.gateway.machine.gateway import PRICE, TENANT, Gateway

from ws402.protocol import EndReason, GenerateRequest, Proof, SettleRequest, VerifyRequest, VerifyResponse

PAYER = "0x" + "a1" * 20


class Shop(Gateway):
    """One gateway, its chain, and what a test does with them."""

    chain: MemoryChain

    async def bill(self, amount: int, **more: Any) -> Any:
        terms = {"resource_id": "film", "estimated_duration": 30, "network": NETWORK, "price_per_second": PRICE}
        return await self.service.of(TENANT).generate(GenerateRequest(amount=amount, **terms | {"asset": "ETH"} | more))

    async def pay(self, invoice: Any, amount: int | None = None) -> Tx:
        tx = self.chain.pay(PAYER, "ETH", int(invoice.amount) if amount is None else amount, (invoice.data[2:],))
        self.chain.mine()
        await self.look()
        return tx

    async def look(self) -> None:
        await self.service.watcher.step(self.chain)

    async def claim(self, invoice: Any, tx: Tx, **more: Any) -> VerifyResponse:
        proof = Proof(reference=invoice.reference, tx_hash=tx.id, sender_address=PAYER)
        return await self.service.of(TENANT).verify(VerifyRequest(proof=proof, server_id="server", **more))

    async def reorg(self, depth: int, fate: Any) -> None:
        self.chain.reorg(depth, lambda tx: fate)
        await self.look()

    async def rows(self, *columns: Any) -> list[tuple[Any, ...]]:
        """And, every time, what must hold does."""
        check(await read_by(self.database))
        for line in await self.service.audit():
            assert line.clean, line
        async with self.database.read() as connection:
            return [tuple(row) for row in await connection.execute(select(*columns))]

    async def deliver(self) -> None:
        """Let all that is owed become final and arrive."""
        for blocks in (7, 1, 7):
            self.chain.mine(blocks)
            await self.look()
            await self.engine.run_once()

    def arrived(self) -> int:
        """What the payer got back."""
        return sum(tx.amount for tx in self.chain.moved(ours=True) if tx.recipient == PAYER)

    async def open(self, amount: int = 300) -> str:
        """A session that was paid `amount`; its id."""
        invoice = await self.bill(amount)
        opened = await self.claim(invoice, await self.pay(invoice))
        assert opened.valid, opened.reason
        return opened.session_id or ""

    async def owe(self, amount: int = 300) -> None:
        """A session that was paid `amount`, used for nothing and settled; its payment is final."""
        usage = {"elapsed_ms": 0, "bytes_transferred": 0, "message_count": 0, "reason": EndReason.CLIENT_CLOSED}
        session_id = await self.open(amount)
        await self.service.of(TENANT).settle(SettleRequest(session_id=session_id, epoch=0, **usage))
        self.chain.mine(7)
        await self.look()


@asynccontextmanager
async def open_shop(url: str, chain: MemoryChain | None = None) -> AsyncIterator[Shop]:
    """One that is open, on an empty ledger, and its chain."""
    chain = chain or MemoryChain()
    made = Shop(url, chain, "shop")
    made.chain = chain
    await made.database.create()
    await made.start()
    yield made
    await made.close()
