"""The gateway's core on a real chain and a real ledger, for tests: invoices, payers, proofs, sessions, audit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from eth_account.messages import encode_defunct
from eth_account.signers.local import LocalAccount
from pydantic import SecretStr
from sqlalchemy import Row, Select
from tests.fixtures.evm import ETHER, Contract, Evm

from ws402.chains.evm import from_settings
from ws402.chains.registry import Chain
from ws402.gateway.ledger.database import Database
from ws402.gateway.service import PaymentService
from ws402.protocol import (
    EndReason,
    EvmPaymentDetails,
    GenerateRequest,
    Proof,
    RefundRequest,
    RefundResponse,
    SettleRequest,
    SettleResponse,
    VerifyRequest,
    VerifyResponse,
    payer_message,
)
from ws402.settings import EvmNetworkSettings, GatewaySettings

NETWORK = "base-sepolia"
TENANT = "shop"
PRICE = 10**12
AMOUNT = 300 * PRICE


class Till:
    """One gateway's core, and what a test does with it. Amounts are wei unless a token is named."""

    def __init__(self, evm: Evm, chain: Chain, database: Database, settings: GatewaySettings) -> None:
        self.evm = evm
        self.chain = chain
        self.database = database
        self.service = PaymentService(settings, database, {NETWORK: chain}, {NETWORK: {chain.recipient}})

    # --- paying ------------------------------------------------------------------------------------------------------

    async def invoice(self, amount: int = AMOUNT, *, tenant: str = TENANT, **fields: Any) -> EvmPaymentDetails:
        """An invoice for 300 seconds of the resource 'film'."""
        request = {"resource_id": "film", "estimated_duration": 300, "price_per_second": PRICE} | fields
        details = await self.service.generate(tenant, GenerateRequest(amount=amount, **request))
        assert isinstance(details, EvmPaymentDetails)
        return details

    async def payer(self, wei: int = ETHER) -> LocalAccount:
        """A fresh account with money."""
        return await asyncio.to_thread(self.evm.account, wei)

    async def send(
        self, payer: LocalAccount, invoice: EvmPaymentDetails, *, amount: int | None = None, tagged: bool = True
    ) -> Proof:
        """Pay an invoice on the chain, with or without its tag, and answer the proof."""
        data = bytes.fromhex((invoice.data or "0x")[2:]) if tagged else b""
        value = int(invoice.amount) if amount is None else amount
        tx = await asyncio.to_thread(self.evm.send, payer, invoice.recipient, value=value, data=data)
        return Proof(reference=invoice.reference, tx_hash=tx, sender_address=payer.address)

    async def send_token(
        self, payer: LocalAccount, invoice: EvmPaymentDetails, token: Contract, *, amount: int | None = None
    ) -> Proof:
        """Pay an invoice in a token, tagged."""
        value = int(invoice.amount) if amount is None else amount
        tag = bytes.fromhex((invoice.data or "")[-64:])
        data = token.data("transfer", invoice.recipient, value) + tag
        tx = await asyncio.to_thread(self.evm.send, payer, token.address, data=data)
        return Proof(reference=invoice.reference, tx_hash=tx, sender_address=payer.address)

    def sign(self, payer: LocalAccount, proof: Proof) -> str:
        """The payer's signature over a proof."""
        message = payer_message(
            reference=proof.reference or "", network=NETWORK, tx=proof.tx or "", recipient=self.chain.recipient
        )
        return "0x" + bytes(payer.sign_message(encode_defunct(text=message)).signature).hex()

    # --- the service -------------------------------------------------------------------------------------------------

    async def verify(
        self, proof: Proof, *, tenant: str = TENANT, key: str | None = None, **more: Any
    ) -> VerifyResponse:
        """As our own servers verify; `server_id=None`: as stock servers do."""
        request = VerifyRequest(proof=proof, **({"server_id": "server-1"} | more))
        return await self.service.verify(tenant, request, key=key)

    async def open(self, amount: int = AMOUNT, **more: Any) -> VerifyResponse:
        """A fresh payer's session."""
        payer = await self.payer(amount + ETHER // 100)
        opened = await self.verify(await self.send(payer, await self.invoice(amount)), **more)
        assert opened.valid, opened.reason
        return opened

    async def settle(self, session_id: str, elapsed_ms: int, *, tenant: str = TENANT, epoch: int = 0) -> SettleResponse:
        """End a session as its server does."""
        return await self.service.settle(
            tenant,
            SettleRequest(
                session_id=session_id,
                epoch=epoch,
                elapsed_ms=elapsed_ms,
                bytes_transferred=0,
                message_count=0,
                reason=EndReason.CLIENT_CLOSED,
            ),
        )

    async def refund(self, proof: Proof, amount: int, *, tenant: str = TENANT) -> RefundResponse:
        """End a session as stock servers do."""
        return await self.service.refund(tenant, RefundRequest(proof=proof, amount=amount))

    async def rows(self, query: Select[Any]) -> Sequence[Row[Any]]:
        """Read the ledger."""
        async with self.database.begin() as connection:
            return (await connection.execute(query)).all()

    async def accounts(self, asset: str = "ETH") -> dict[str, int]:
        """The books' accounts of one asset; the audit must be clean."""
        await self.service.watcher.step(self.chain)
        lines = await self.service.audit()
        for line in lines:
            assert line.clean, line
        return next(line.accounts for line in lines if line.asset == asset)


@asynccontextmanager
async def open_till(
    evm: Evm, database: Database, *, network: dict[str, Any] | None = None, **settings: Any
) -> AsyncIterator[Till]:
    """A till with a fresh merchant wallet."""
    wallet = await asyncio.to_thread(evm.account, 0)
    quick = {"poll_seconds": 0.1, "final_after": 2} | (network or {})
    made = EvmNetworkSettings.model_validate(
        {"network": NETWORK, "chain_id": evm.chain_id, "rpc": [SecretStr(evm.url)], "merchant_wallet": wallet.address}
        | quick
    )
    options: dict[str, Any] = {"verify_wait_seconds": 3} | settings
    till = Till(evm, from_settings(made), database, GatewaySettings(evm_networks=[made], **options))
    await till.service.start()
    try:
        yield till
    finally:
        await till.service.close()
