"""A gateway's core on a real chain and a real ledger, driven step by step: payments, settlements, refunds, audit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from eth_account.signers.local import LocalAccount
from pydantic import SecretStr
from sqlalchemy import Row, select
from tests.fixtures.evm import ETHER, Contract, Evm

from ws402.chains.base import Chain
from ws402.chains.evm import EvmChain
from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.tables import attempts, deliveries, entries, refunds, signers
from ws402.gateway.refunds import Operator, Policy, RefundEngine
from ws402.gateway.service import PaymentService
from ws402.keys.local import LocalSigner
from ws402.protocol import GenerateRequest, Proof, RefundRequest, VerifyRequest
from ws402.settings import EvmNetworkSettings, GatewaySettings, TokenSettings

NETWORK = "base-sepolia"
TENANT = "test"
UNSETTLED = ("waiting", "due", "in_flight", "confirmed")


def make_chain(
    url: str, wallet: str, *, final_after: int = 2, token: Contract | None = None, **settings: Any
) -> EvmChain:
    """The network as a gateway is configured for it, with little to wait for."""
    tokens = [TokenSettings(symbol="DUSD", contract=token.address, decimals=6)] if token else []
    network = EvmNetworkSettings(
        network=NETWORK,
        chain_id=84532,
        rpc=[SecretStr(url)],
        final_after=final_after,
        poll_seconds=0.2,
        tokens=tokens,
        **settings,
    )
    return EvmChain(network, wallet)


class World:
    """One gateway process's parts, over `evm`."""

    def __init__(
        self,
        evm: Evm,
        chain: Chain,
        database: Database,
        key: LocalAccount,
        *,
        policy: Policy | None = None,
        holder: str = "test",
        **settings: Any,
    ) -> None:
        self.evm = evm
        self.chain = chain
        self.database = database
        self.key = key
        self.wallet = chain.normalize_address(key.address)
        quick: dict[str, Any] = {"refund_interval_seconds": 0.1, "verify_wait_seconds": 10, "refund_lease_seconds": 30}
        made = GatewaySettings(**quick | settings)
        chains = {NETWORK: chain}
        self.service = PaymentService(made, database, chains, {NETWORK: {self.wallet, chain.recipient}})
        self.engine = RefundEngine(
            database,
            chains,
            {NETWORK: LocalSigner(bytes(key.key))},
            made,
            holder,
            rules={NETWORK: policy or Policy()},
        )
        self.operator = Operator(database)
        self.first_block = int(evm.rpc("eth_blockNumber"), 16)

    # --- payers ------------------------------------------------------------------------------------------------------

    async def pay(self, payer: LocalAccount, amount: int, *, token: Contract | None = None) -> str:
        """Pay an invoice with its tag; answers the transaction. Nothing is claimed yet."""
        asset = "DUSD" if token else "ETH"
        request = GenerateRequest(
            amount=amount, resource_id="film", estimated_duration=60, network=NETWORK, asset=asset
        )
        details: Any = await self.service.of(TENANT).generate(request)
        to, value, data = details.recipient, amount, bytes.fromhex(details.data[2:])
        if token is not None:
            to, value, data = token.address, 0, token.data("transfer", to, amount) + data
        tx = await asyncio.to_thread(self.evm.send, payer, to, value=value, data=data)
        self.proof = Proof(reference=details.reference, tx_hash=tx, sender_address=payer.address)
        return tx

    async def claim(self) -> None:
        """Open a session with what was just paid."""
        opened = await self.service.of(TENANT).verify(VerifyRequest(proof=self.proof))
        assert opened.valid, opened.reason

    async def owe(
        self, payer: LocalAccount, refund: int, *, paid: int | None = None, token: Contract | None = None
    ) -> str:
        """A payer pays, uses nothing of `refund`, and ends; answers the refund's id."""
        await self.pay(payer, paid or refund, token=token)
        await self.claim()
        answer = await self.service.of(TENANT).refund(RefundRequest(proof=self.proof, amount=refund))
        assert answer.refund_id
        return answer.refund_id

    async def payers(self, count: int, wei: int = ETHER) -> list[LocalAccount]:
        """Fresh accounts with money."""
        return [await asyncio.to_thread(self.evm.account, wei) for _ in range(count)]

    # --- the engine --------------------------------------------------------------------------------------------------

    async def step(self, blocks: int = 0) -> None:
        """Make blocks, then one pass of the engine."""
        await asyncio.to_thread(self.evm.mine, blocks)
        await self.engine.run_once()

    async def finish(self, *, passes: int = 30) -> None:
        """Blocks and passes until nothing moves by itself any more."""
        for _ in range(passes):
            await self.step(1)
            if not await self.refunds(*UNSETTLED):
                return
        states = {row.id: (row.state, row.reason) for row in await self.refunds(*UNSETTLED)}
        raise AssertionError(f"unfinished after {passes} passes: {states}")

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
        return await self.all(select(deliveries).order_by(deliveries.c.nonce))

    async def attempts(self) -> Sequence[Row[Any]]:
        query = select(attempts, deliveries.c.nonce).join(deliveries)
        return await self.all(query.order_by(deliveries.c.nonce, attempts.c.number))

    async def signer(self) -> Row[Any]:
        return (await self.all(select(signers)))[0]

    async def entries(self, kind: str) -> Sequence[Row[Any]]:
        return await self.all(select(entries).where(entries.c.kind == kind).order_by(entries.c.id))

    async def audit(self) -> None:
        """The books agree with themselves and with the chain, to the unit."""
        await self.service.watcher.step(self.chain)
        for line in await self.service.audit():
            assert line.clean, line

    def payouts(self) -> dict[str, list[int]]:
        """By recipient in lower case: every amount that our key sent it since this world began."""
        found: dict[str, list[int]] = {}
        for number in range(self.first_block, int(self.evm.rpc("eth_blockNumber"), 16) + 1):
            for each in self.evm.rpc("eth_getBlockByNumber", hex(number), True)["transactions"]:
                if each["from"].lower() == self.wallet.lower() and each["to"]:
                    found.setdefault(each["to"].lower(), []).append(int(each["value"], 16))
        return found

    def received(self, account: LocalAccount) -> int:
        """What our key sent an account."""
        return sum(self.payouts().get(account.address.lower(), []))


@asynccontextmanager
async def world(
    evm: Evm,
    database: Database,
    *,
    float_wei: int = ETHER,
    key: LocalAccount | None = None,
    cold_wallet: str | None = None,
    network: Mapping[str, Any] | None = None,
    **options: Any,
) -> AsyncIterator[World]:
    """A world of its own, with a funded refund key. `network`: see `make_chain`."""
    key = key or await asyncio.to_thread(evm.account, float_wei)
    chain = make_chain(evm.url, cold_wallet or key.address, **(network or {}))
    made = World(evm, chain, database, key, **options)
    await made.service.start()
    try:
        yield made
    finally:
        await made.engine.close()
        await made.service.close()
