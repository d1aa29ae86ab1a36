"""The gateway's core on a real chain and a real ledger, for tests: invoices, payers, proofs, sessions, audit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from eth_account.messages import encode_defunct
from pydantic import SecretStr
from solders.keypair import Keypair
from sqlalchemy import Row, Select, update
from tests.fixtures.evm import ETHER, Contract, Evm
from tests.fixtures.solana import SOL, Solana
from tests.fixtures.solana_world import Wallet, named, system_transfer

from ws402.chains.registry import Chain, chain_for
from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.ids import digest
from ws402.gateway.ledger.tables import invoices
from ws402.gateway.service import PaymentService
from ws402.protocol import (
    EndReason,
    GenerateRequest,
    PaymentDetails,
    Proof,
    RefundRequest,
    RefundResponse,
    SettleRequest,
    SettleResponse,
    VerifyRequest,
    VerifyResponse,
    payer_message,
)
from ws402.settings import EvmNetworkSettings, GatewaySettings, SolanaNetworkSettings

TENANT = "shop"
PRICE = 1_234_567
AMOUNT = 300 * PRICE
STRICT = ["tag", "claim_token", "signature"]
"""Every binding but `legacy`."""

Money = Evm | Solana
"""A chain to pay on."""


class Till:
    """One gateway's core on an EVM, and what a test does with it. Amounts are smallest units of the chain's coin unless
    a token is named.
    """

    def __init__(self, money: Any, chain: Chain, database: Database, settings: GatewaySettings) -> None:
        self.money = money
        self.chain = chain
        self.database = database
        network = chain.network
        self.service = PaymentService(settings, database, {network: chain}, {network: {chain.recipient}})

    # --- paying ------------------------------------------------------------------------------------------------------

    async def invoice(self, amount: int = AMOUNT, *, tenant: str = TENANT, **fields: Any) -> Any:
        """An invoice for 300 seconds of the resource 'film'."""
        request = {"resource_id": "film", "estimated_duration": 300, "price_per_second": PRICE} | fields
        return await self.service.of(tenant).generate(GenerateRequest(amount=amount, **request))

    async def payer(self, amount: int = ETHER) -> Any:
        """A fresh account with money."""
        return await asyncio.to_thread(self.money.account, amount)

    async def send(self, payer: Any, invoice: Any, *, amount: int | None = None, tagged: bool = True) -> Proof:
        """Pay an invoice on the chain, with or without its tag, and answer the proof."""
        data = bytes.fromhex((invoice.data or "0x")[2:]) if tagged else b""
        value = int(invoice.amount) if amount is None else amount
        tx = await asyncio.to_thread(self.money.send, payer, invoice.recipient, value=value, data=data)
        return Proof(reference=invoice.reference, tx_hash=tx, sender_address=payer.address)

    async def send_token(self, payer: Any, invoice: Any, token: Contract, *, amount: int | None = None) -> Proof:
        """Pay an invoice in a token, tagged."""
        value = int(invoice.amount) if amount is None else amount
        tag = bytes.fromhex((invoice.data or "")[-64:])
        data = token.data("transfer", invoice.recipient, value) + tag
        tx = await asyncio.to_thread(self.money.send, payer, token.address, data=data)
        return Proof(reference=invoice.reference, tx_hash=tx, sender_address=payer.address)

    async def send_in_vain(self, payer: Any, invoice: Any) -> str:
        """A transaction of the invoice's amount that fails on the chain."""
        wallet = await asyncio.to_thread(self.money.token)  # a contract without a receive function
        return await asyncio.to_thread(self.money.send, payer, wallet.address, value=AMOUNT, gas=60_000)

    async def send_elsewhere(self, payer: Any, amount: int) -> str:
        """Pay somebody else."""
        return await asyncio.to_thread(self.money.send, payer, self.stranger, value=amount)

    def text_of(self, proof: Proof) -> str:
        """What the payer signs for a proof."""
        return payer_message(
            reference=proof.reference or "",
            network=self.chain.network,
            tx=proof.tx or "",
            recipient=self.chain.recipient,
        )

    def sign(self, payer: Any, proof: Proof) -> str:
        """The payer's signature over a proof."""
        return "0x" + bytes(payer.sign_message(encode_defunct(text=self.text_of(proof))).signature).hex()

    stranger = "0x" + "77" * 20
    """An address of somebody else."""
    unknown = "0x" + "12" * 32
    """A transaction that is not there."""

    def name(self, proof: Proof, *, tx: str | None = None, sender: str | None = None) -> None:
        """Let a proof name another transaction or sender."""
        proof.tx_hash, proof.sender_address = tx or proof.tx_hash, sender or proof.sender_address

    def respelt(self, address: str) -> str:
        """Another spelling of the same address, where the chain has several."""
        return address.upper().replace("0X", "0x")

    async def advance(self) -> None:
        """Let the chain move on."""
        await asyncio.to_thread(self.money.mine)

    async def backdate(self, invoice: PaymentDetails, seconds: float) -> None:
        """Make an invoice this much older."""
        ms = int(seconds * 1000)
        older = {"created_at": invoices.c.created_at - ms, "expires_at": invoices.c.expires_at - ms}
        async with self.database.begin() as connection:
            mine = invoices.c.tag == digest(invoice.reference)
            await connection.execute(update(invoices).where(mine).values(**older))

    # --- the service -------------------------------------------------------------------------------------------------

    async def verify(
        self, proof: Proof, *, tenant: str = TENANT, key: str | None = None, **more: Any
    ) -> VerifyResponse:
        """As our own servers verify; `server_id=None`: as stock servers do."""
        request = VerifyRequest(proof=proof, **({"server_id": "server-1"} | more))
        return await self.service.of(tenant).verify(request, key=key)

    async def open(self, amount: int = AMOUNT, **more: Any) -> VerifyResponse:
        """A fresh payer's session."""
        payer = await self.payer()
        opened = await self.verify(await self.send(payer, await self.invoice(amount)), **more)
        assert opened.valid, opened.reason
        return opened

    async def settle(self, session_id: str, elapsed_ms: int, *, tenant: str = TENANT, epoch: int = 0) -> SettleResponse:
        """End a session as its server does."""
        return await self.service.of(tenant).settle(
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
        return await self.service.of(tenant).refund(RefundRequest(proof=proof, amount=amount))

    async def rows(self, query: Select[Any]) -> Sequence[Row[Any]]:
        """Read the ledger."""
        async with self.database.begin() as connection:
            return (await connection.execute(query)).all()

    async def accounts(self, asset: str | None = None) -> dict[str, int]:
        """The books' accounts of one asset, the chain's coin by default; the audit must be clean."""
        await self.service.watcher.step(self.chain)
        lines = await self.service.audit()
        for line in lines:
            assert line.clean, line
        return next(line.accounts for line in lines if line.asset == (asset or self.chain.native))


class SolanaTill(Till):
    """The same on Solana: the tag is a reference key, and the claim token comes with the proof."""

    stranger = str(Keypair().pubkey())
    unknown = str(Keypair().sign_message(b"never sent"))

    def __init__(self, money: Any, chain: Chain, database: Database, settings: GatewaySettings) -> None:
        super().__init__(money, chain, database, settings)
        self._tokens: dict[str | None, str | None] = {}

    async def invoice(self, amount: int = AMOUNT, *, tenant: str = TENANT, **fields: Any) -> Any:
        details = await super().invoice(amount, tenant=tenant, **fields)
        self._tokens[details.reference] = details.claim_token
        return details

    async def payer(self, amount: int = 3 * SOL) -> Wallet:
        return Wallet(await asyncio.to_thread(self.money.account, amount))

    async def send(self, payer: Any, invoice: Any, *, amount: int | None = None, tagged: bool = True) -> Proof:
        step = system_transfer(payer.key, invoice.recipient, int(invoice.amount) if amount is None else amount)
        steps = [named(step, invoice.reference) if tagged else step]
        tx = await asyncio.to_thread(self.money.send, steps, payer.key)
        return Proof(reference=invoice.reference, signature=tx, sender_wallet=payer.address)

    async def send_in_vain(self, payer: Any, invoice: Any) -> str:
        step = named(system_transfer(payer.key, invoice.recipient, 100 * SOL), invoice.reference)
        tx: str = await asyncio.to_thread(self.money.send, [step], payer.key, skipPreflight=True)
        return tx

    async def send_elsewhere(self, payer: Any, amount: int) -> str:
        tx: str = await asyncio.to_thread(
            self.money.send, [system_transfer(payer.key, self.stranger, amount)], payer.key
        )
        return tx

    def sign(self, payer: Any, proof: Proof) -> str:
        return str(payer.key.sign_message(self.text_of(proof).encode()))

    def name(self, proof: Proof, *, tx: str | None = None, sender: str | None = None) -> None:
        proof.signature, proof.sender_wallet = tx or proof.signature, sender or proof.sender_wallet

    def respelt(self, address: str) -> str:
        return address

    async def advance(self) -> None:
        await asyncio.sleep(0.1)

    async def verify(
        self, proof: Proof, *, tenant: str = TENANT, key: str | None = None, **more: Any
    ) -> VerifyResponse:
        return await super().verify(
            proof, tenant=tenant, key=key, **({"claim_token": self._tokens.get(proof.reference)} | more)
        )


@pytest.fixture(
    params=[
        "devchain",
        pytest.param("anvil", marks=pytest.mark.anvil),
        "solana",
        pytest.param("validator", marks=pytest.mark.solana),
    ]
)
def money(request: pytest.FixtureRequest) -> Iterator[Money]:
    """Each chain of every kind, shared with other tests: use fresh accounts."""
    kind: str = request.param
    made: Money
    if kind in ("devchain", "anvil"):
        devchain = kind == "devchain"
        url = request.getfixturevalue("shared_devchain").rpc_url if devchain else request.getfixturevalue("anvil")
        made = Evm(url, name=kind)
    else:
        embedded = kind == "solana"
        url = request.getfixturevalue("embedded_solana").rpc_url if embedded else request.getfixturevalue("validator")
        made = Solana(url, name=kind)
    yield made
    made.close()


@asynccontextmanager
async def open_till(
    money: Money, database: Database, *, network: dict[str, Any] | None = None, **settings: Any
) -> AsyncIterator[Till]:
    """A till with a fresh merchant wallet."""
    options: dict[str, Any] = {"verify_wait_seconds": 5} | settings
    made: EvmNetworkSettings | SolanaNetworkSettings
    if isinstance(money, Evm):
        wallet = await asyncio.to_thread(money.account, 0)
        base = {"network": "base-sepolia", "chain_id": money.chain_id, "final_after": 2, "poll_seconds": 0.1}
        base |= {"rpc": [SecretStr(money.url)], "merchant_wallet": wallet.address}
        made = EvmNetworkSettings.model_validate(base | (network or {}))
        till = Till(money, chain_for(made), database, GatewaySettings(evm_networks=[made], **options))
    else:
        # An account that holds nothing cannot be sent less than the rent-exempt minimum.
        base = {"network": "solana-localnet", "rpc": [SecretStr(money.url)], "poll_seconds": 0.1}
        base |= {"merchant_wallet": str((await asyncio.to_thread(money.account, SOL)).pubkey())}
        made = SolanaNetworkSettings.model_validate(base | (network or {}))
        till = SolanaTill(money, chain_for(made), database, GatewaySettings(solana_networks=[made], **options))
    await till.service.start()
    try:
        yield till
    finally:
        await till.service.close()
