"""The two chains of the demonstration, each with a merchant, payers, and what is sold for its coin and its token."""

from __future__ import annotations

import asyncio
import base64
import secrets
from dataclasses import dataclass
from typing import Any, Final, Protocol

from eth_account import Account
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.message import Message
from solders.pubkey import Pubkey
from solders.system_program import TransferParams, transfer
from solders.token.associated import get_associated_token_address
from solders.transaction import Transaction

from ws402.client import EvmWallet, SolanaWallet, Wallet
from ws402.client.rpc import Rpc
from ws402.devchain.evm import EvmDevChain
from ws402.devchain.solana import SolanaDevChain
from ws402.errors import WS402Error

ACCOUNTS: Final = 20
ACCOUNTS_FROM: Final = 3
"""The first test accounts are the faucet's and the page's."""
_MINT: Final = "0x40c10f19"
_ASSOCIATED: Final = Pubkey.from_string("ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL")
_TOKEN: Final = Pubkey.from_string("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA")
_SYSTEM: Final = Pubkey.default()


class DemoError(WS402Error):
    """A part of the demonstration did not work."""

    code = "demo"


@dataclass(frozen=True, slots=True)
class Goods:
    """One resource: what it costs a second, in smallest units of which asset."""

    id: str
    name: str
    symbol: str
    decimals: int
    price: int
    allow: str
    """How a client names the asset."""


class DemoChain(Protocol):
    """What the demonstration needs of a chain."""

    @property
    def network(self) -> str:
        """Its name on the wire."""

    @property
    def merchant(self) -> str:
        """Who is paid."""

    @property
    def goods(self) -> tuple[Goods, ...]:
        """What is sold for its coin and its token, once it runs."""

    @property
    def rpc_url(self) -> str:
        """Where it answers."""

    async def start(self) -> None:
        """Start it; the merchant gets coins for its refunds' fees, which are its own."""

    async def stop(self) -> None:
        """End it."""

    def settings(self) -> tuple[str, dict[str, Any]]:
        """The gateway's setting and this chain's entry in it."""

    async def wallet(self, at: int) -> Wallet:
        """The wallet of a payer, who has coins and tokens."""


class EvmDemoChain:
    """An EVM chain that says that it is Base Sepolia."""

    network = "base-sepolia"

    def __init__(self, port: int) -> None:
        self._chain = EvmDevChain(port=port, block_time=1.0, final_after=2, accounts=ACCOUNTS)
        account = Account.from_key(secrets.token_bytes(32))
        self._key = "0x" + account.key.hex()
        self.merchant: str = account.address
        self.goods: tuple[Goods, ...] = ()

    @property
    def rpc_url(self) -> str:
        """Where it answers."""
        return self._chain.rpc_url

    async def start(self) -> None:
        """See `DemoChain`."""
        await asyncio.to_thread(self._chain.start)
        token = self._chain.token
        self.goods = (
            Goods("ticker", "Live ticker", "ETH", 18, 20_000_000_000_000, "native"),
            Goods("dollars", "Live ticker, paid in demo dollars", token.symbol, token.decimals, 2_500, token.address),
        )
        await self._send({"to": self.merchant, "value": hex(10**18)})

    async def stop(self) -> None:
        """See `DemoChain`."""
        await asyncio.to_thread(self._chain.stop)

    def settings(self) -> tuple[str, dict[str, Any]]:
        """See `DemoChain`."""
        token = self._chain.token
        return "evm_networks", {
            "network": self.network,
            "chain_id": 84532,
            "rpc": [self.rpc_url],
            "merchant_private_key": self._key,
            "tokens": [{"symbol": token.symbol, "contract": token.address, "decimals": token.decimals}],
            "poll_seconds": 0.3,
        }

    async def wallet(self, at: int) -> Wallet:
        """See `DemoChain`."""
        account, token = self._chain.accounts[ACCOUNTS_FROM + at], self._chain.token
        data = _MINT + account.address[2:].lower().rjust(64, "0") + f"{100 * 10**token.decimals:064x}"
        await self._send({"to": token.address, "data": data})
        return EvmWallet(self.rpc_url, account.key)

    async def _send(self, transaction: dict[str, str]) -> None:
        rpc = Rpc(self.rpc_url)
        try:
            tx = await rpc("eth_sendTransaction", {"from": self._chain.accounts[0].address, **transaction})
            for _ in range(200):
                if await rpc("eth_getTransactionReceipt", tx):
                    return
                await asyncio.sleep(0.1)
        finally:
            await rpc.close()
        raise DemoError(f"The transaction {tx} is in no block after 20 s.")


class SolanaDemoChain:
    """A private Solana network with quick slots."""

    network = "solana-localnet"

    def __init__(self, port: int) -> None:
        self._chain = SolanaDevChain(port=port, slot_time=0.2, finalize_after=10, accounts=ACCOUNTS)
        self._key = Keypair()
        self.merchant = str(self._key.pubkey())
        token = self._chain.token
        self.goods: tuple[Goods, ...] = (
            Goods("sol", "Live ticker, paid in SOL", "SOL", 9, 20_000, "native"),
            Goods("spl", "Live ticker, paid in Solana's demo dollars", token.symbol, token.decimals, 2_500, token.mint),
        )

    @property
    def rpc_url(self) -> str:
        """Where it answers."""
        return self._chain.rpc_url

    async def start(self) -> None:
        """See `DemoChain`; the merchant also gets its account for the token, which nobody else would make."""
        await asyncio.to_thread(self._chain.start)
        payer, merchant, mint = self._chain.accounts[0].keypair, self._key.pubkey(), Pubkey.from_string(self._mint)
        float_ = transfer(TransferParams(from_pubkey=payer.pubkey(), to_pubkey=merchant, lamports=10**9))
        open_account = Instruction(
            _ASSOCIATED,
            bytes([1]),  # CreateIdempotent
            [
                AccountMeta(payer.pubkey(), is_signer=True, is_writable=True),
                AccountMeta(get_associated_token_address(merchant, mint), is_signer=False, is_writable=True),
                *(AccountMeta(each, is_signer=False, is_writable=False) for each in (merchant, mint, _SYSTEM, _TOKEN)),
            ],
        )
        await self._send([float_, open_account], payer)

    async def stop(self) -> None:
        """See `DemoChain`."""
        await asyncio.to_thread(self._chain.stop)

    def settings(self) -> tuple[str, dict[str, Any]]:
        """See `DemoChain`."""
        token = self._chain.token
        return "solana_networks", {
            "network": self.network,
            "rpc": [self.rpc_url],
            "private_key": str(self._key),
            "tokens": [{"symbol": token.symbol, "mint": token.mint, "decimals": token.decimals}],
            "poll_seconds": 0.3,
        }

    async def wallet(self, at: int) -> Wallet:
        """See `DemoChain`: its accounts have tokens from the start."""
        return SolanaWallet(self.rpc_url, self._chain.accounts[ACCOUNTS_FROM + at].key)

    @property
    def _mint(self) -> str:
        return self._chain.token.mint

    async def _send(self, instructions: list[Instruction], payer: Keypair) -> None:
        rpc = Rpc(self.rpc_url)
        try:
            latest = await rpc("getLatestBlockhash", {"commitment": "confirmed"})
            blockhash = Hash.from_string(latest["value"]["blockhash"])
            message = Message.new_with_blockhash(instructions, payer.pubkey(), blockhash)
            raw = base64.b64encode(bytes(Transaction([payer], message, blockhash))).decode()
            tx = await rpc("sendTransaction", raw, {"encoding": "base64", "preflightCommitment": "confirmed"})
            for _ in range(200):
                (status,) = (await rpc("getSignatureStatuses", [tx]))["value"]
                if status and status["confirmationStatus"] != "processed":
                    return
                await asyncio.sleep(0.1)
        finally:
            await rpc.close()
        raise DemoError(f"The transaction {tx} is not confirmed after 20 s.")
