"""A whole gateway that collects, on a real EVM, and payers who sign as x402 clients do."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_account.signers.local import LocalAccount
from pydantic import SecretStr
from sqlalchemy import func, select
from tests.fixtures.evm import ETHER, TRANSFER_WITH_AUTHORIZATION, Contract, Evm

from ws402.gateway.ledger.tables import deliveries, entries, sessions
from ws402.gateway.run.gateway import Gateway, build
from ws402.protocol import (
    CollectRequest,
    CollectResponse,
    EndReason,
    SessionResponse,
    SettleRequest,
    SettleResponse,
    SignedTransfer,
)
from ws402.settings import EvmNetworkSettings, GatewaySettings

NETWORK = "base-sepolia"
TENANT = "shop"
PRICE = 1_000
"""Smallest units of the token a second: a tenth of a cent."""
SECONDS = 60
AMOUNT = PRICE * SECONDS


@dataclass
class Keys:
    """The gateway's accounts."""

    refunds: LocalAccount
    collector: LocalAccount


class Shop:
    """The chain, its token, the settings of a gateway that collects, and payers."""

    def __init__(self, evm: Evm, database_url: str) -> None:
        self.evm = evm
        self.database_url = database_url
        self.token: Contract = evm.token()
        self.keys = Keys(evm.account(), evm.account())

    def network(self) -> dict[str, Any]:
        """The network as an operator writes it."""
        token = {"symbol": "DUSD", "contract": self.token.address, "decimals": 6}
        return {
            "network": NETWORK,
            "chain_id": self.evm.chain_id,
            "rpc": [self.evm.url],
            "merchant_private_key": "0x" + bytes(self.keys.refunds.key).hex(),
            "collector_private_key": "0x" + bytes(self.keys.collector.key).hex(),
            "tokens": [token | {"eip712_name": "Demo Dollar", "eip712_version": "1"}],
            "final_after": 1,
            "poll_seconds": 0.1,
        }

    def settings(self, **more: Any) -> GatewaySettings:
        """Of one gateway."""
        overrides = more.pop("network", {})
        return GatewaySettings(
            database_url=SecretStr(self.database_url),
            gateway_api_key=[SecretStr("k" * 40)],
            evm_networks=[EvmNetworkSettings(**self.network() | overrides)],
            refund_interval_seconds=0.1,
            refund_lease_seconds=30,
            **more,
        )

    def payer(self, amount: int = 10 * AMOUNT) -> LocalAccount:
        """A fresh account that holds the token and no coin for gas."""
        account: LocalAccount = Account.create(secrets.token_bytes(32))
        data = self.token.data("mint", account.address, amount)
        self.evm.send(self.evm.funder, self.token.address, data=data)
        return account

    def sign(
        self, payer: LocalAccount, *, amount: int = AMOUNT, nonce: bytes | None = None, **changes: Any
    ) -> SignedTransfer:
        """What an x402 client signs; `changes` are what it gets wrong, the domain's fields too."""
        now = int(self.evm.rpc("eth_getBlockByNumber", "latest", False)["timestamp"], 16)
        nonce = nonce or secrets.token_bytes(32)
        domain = {
            "name": changes.pop("name", "Demo Dollar"),
            "version": "1",
            "chainId": changes.pop("chain_id", self.evm.chain_id),
            "verifyingContract": changes.pop("contract", self.token.address),
        }
        message = {
            "from": changes.pop("claims_to_be", payer.address),
            "to": changes.pop("recipient", self.keys.refunds.address),
            "value": amount,
            "validAfter": changes.pop("valid_after", 0),
            "validBefore": changes.pop("valid_before", now + 120),
            "nonce": nonce,
        }
        assert not changes
        signable = encode_typed_data(domain, TRANSFER_WITH_AUTHORIZATION, message)
        return SignedTransfer(
            payer=message["from"],
            recipient=message["to"],
            amount=message["value"],
            valid_after=message["validAfter"],
            valid_before=message["validBefore"],
            nonce="0x" + nonce.hex(),
            signature="0x" + bytes(payer.sign_message(signable).signature).hex(),
        )

    def bring(self, transfer: SignedTransfer) -> str:
        """Somebody else brings a transfer to the chain; the transaction."""
        return self.evm.send(self.evm.funder, self.token.address, data=self.call(transfer))

    def bring_later(self, transfer: SignedTransfer, sender: LocalAccount) -> bytes:
        """What somebody else sends, dearer than others, to bring a transfer to the chain."""
        fees = {"maxPriorityFeePerGas": 50 * 10**9, "maxFeePerGas": 200 * 10**9, "gas": 200_000}
        return self.evm.sign(sender, self.token.address, data=self.call(transfer), **fees)

    def call(self, transfer: SignedTransfer) -> bytes:
        """The calldata that brings a transfer to the chain."""
        signature = bytes.fromhex(transfer.signature[2:])
        return self.token.data(
            "transferWithAuthorization",
            transfer.payer,
            transfer.recipient,
            int(transfer.amount),
            transfer.valid_after,
            transfer.valid_before,
            bytes.fromhex(transfer.nonce[2:]),
            signature[64],
            signature[:32],
            signature[32:64],
        )

    def held(self, account: str) -> int:
        """In smallest units of the token."""
        return int(self.token.read("balanceOf", account))


class Running:
    """One gateway over a shop's ledger and chain."""

    def __init__(self, shop: Shop, gateway: Gateway) -> None:
        self.shop = shop
        self.gateway = gateway

    async def collect(self, transfer: SignedTransfer, **more: Any) -> CollectResponse:
        """Show a transfer as a server does, again while nobody knows what became of it."""
        while (answer := await self.show(transfer, **more)).state == "pending":
            pass
        return answer

    async def show(self, transfer: SignedTransfer, *, tenant: str = TENANT, **more: Any) -> CollectResponse:
        """Show a transfer once."""
        asked: dict[str, Any] = {
            "network": NETWORK,
            "asset": "DUSD",
            "resource_id": "film",
            "price_per_second": PRICE,
            "duration": SECONDS,
            "mode": "request",
            "server_id": "server-1",
            "secret": "offer-1",
        }
        return await self.gateway.service.of(tenant).collect(CollectRequest(transfer=transfer, **asked | more))

    async def settle(self, opened: CollectResponse, elapsed_ms: int) -> SettleResponse:
        """End its session."""
        request = SettleRequest(
            session_id=opened.session_id or "",
            epoch=opened.epoch or 0,
            elapsed_ms=elapsed_ms,
            bytes_transferred=0,
            message_count=0,
            reason=EndReason.RESOURCE_ENDED,
        )
        return await self.gateway.service.of(TENANT).settle(request)

    async def refunded(self, session_id: str) -> SessionResponse:
        """Wait until a session's refund is final, making blocks meanwhile."""
        for _ in range(400):
            told = await self.gateway.service.of(TENANT).session(session_id)
            if told.refund is not None and told.refund.state == "final":
                return told
            await asyncio.to_thread(self.shop.evm.mine)
            await asyncio.sleep(0.05)
        raise AssertionError(f"the refund is not final: {told}")

    async def check(self) -> None:
        """The books balance, and agree with the chain."""
        for _ in range(100):
            lines = await self.gateway.service.audit()
            wrong = [each for each in lines if not each.clean]
            if not wrong:
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"the books are wrong: {wrong}")

    async def count(self, table: Any) -> int:
        """Rows of a table."""
        async with self.gateway.database.read() as connection:
            return int((await connection.execute(select(func.count()).select_from(table))).scalar_one())

    async def until(self, query: Any, rows: int) -> None:
        """Wait until a query finds at least so many rows, making blocks meanwhile."""
        for _ in range(400):
            async with self.gateway.database.read() as connection:
                if len((await connection.execute(query)).all()) >= rows:
                    return
            await asyncio.to_thread(self.shop.evm.mine)
            await asyncio.sleep(0.05)
        raise AssertionError(f"fewer than {rows} rows")

    async def sent(self) -> int:
        """Transactions that the collector has in blocks."""
        address = self.shop.keys.collector.address
        return int(await asyncio.to_thread(self.shop.evm.rpc, "eth_getTransactionCount", address, "latest"), 16)


@asynccontextmanager
async def running(shop: Shop, **settings: Any) -> AsyncIterator[Running]:
    """A gateway that runs, without HTTP."""
    gateway = build(shop.settings(**settings))
    try:
        await gateway.start(http=False)
        yield Running(shop, gateway)
    finally:
        await gateway.close()


__all__ = ["AMOUNT", "ETHER", "PRICE", "SECONDS", "Running", "Shop", "deliveries", "entries", "running", "sessions"]
