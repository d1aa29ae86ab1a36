"""A plain wallet: signs with a key, speaks JSON-RPC, and knows nothing about what it pays for."""

from __future__ import annotations

import asyncio
import itertools
import time
from types import TracebackType
from typing import Any, Self

import httpx
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address


class RpcError(Exception):
    """The node answered with an error."""


class Rpc:
    """JSON-RPC over HTTP, no more than a wallet needs."""

    def __init__(self, url: str) -> None:
        self._http = httpx.AsyncClient(base_url=url, timeout=20)
        self._ids = itertools.count(1)

    async def __call__(self, method: str, *params: Any) -> Any:
        """One call; raises RpcError with the node's message."""
        body = {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": list(params)}
        answer = (await self._http.post("", json=body)).json()
        if answer.get("error"):
            raise RpcError(answer["error"].get("message", str(answer["error"])))
        return answer["result"]

    async def close(self) -> None:
        """Close connections."""
        await self._http.aclose()


class Wallet:
    """One account. Amounts are in wei; transaction ids are 0x-hex."""

    def __init__(self, rpc_url: str, private_key: str | bytes | None = None) -> None:
        self.account: LocalAccount = Account.from_key(private_key) if private_key else Account.create()
        self.address: str = self.account.address
        self.rpc = Rpc(rpc_url)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.rpc.close()

    async def balance(self) -> int:
        """What the account holds now."""
        return int(await self.rpc("eth_getBalance", self.address, "latest"), 16)

    async def send(self, to: str, value: int, data: str | None = None) -> str:
        """Send coins; with `data` when the payment details have it. Returns the transaction's id, not waiting."""
        tip = 1_000_000_000
        block = await self.rpc("eth_getBlockByNumber", "latest", False)
        call = {"from": self.address, "to": to, "value": hex(value), "data": data or "0x"}
        transaction: dict[str, Any] = {
            "type": 2,
            "chainId": int(await self.rpc("eth_chainId"), 16),
            "nonce": int(await self.rpc("eth_getTransactionCount", self.address, "pending"), 16),
            "to": to_checksum_address(to),
            "value": value,
            "data": data or "0x",
            "gas": int(await self.rpc("eth_estimateGas", call), 16),
            "maxPriorityFeePerGas": tip,
            "maxFeePerGas": 2 * int(block["baseFeePerGas"], 16) + tip,
        }
        signed = self.account.sign_transaction(transaction)
        return str(await self.rpc("eth_sendRawTransaction", "0x" + bytes(signed.raw_transaction).hex()))

    async def wait(self, tx: str, seconds: float = 20) -> dict[str, Any]:
        """The receipt, once the transaction is in a block."""
        end = time.monotonic() + seconds
        while (receipt := await self.rpc("eth_getTransactionReceipt", tx)) is None:
            if time.monotonic() > end:
                raise TimeoutError(f"transaction {tx} is in no block after {seconds} s")
            await asyncio.sleep(0.1)
        assert isinstance(receipt, dict)
        return receipt

    async def wait_for_balance(self, at_least: int, seconds: float = 30) -> int:
        """Wait until the account holds this much (a refund arrived); answers what it holds then."""
        end = time.monotonic() + seconds
        while (held := await self.balance()) < at_least:
            if time.monotonic() > end:
                raise TimeoutError(f"{self.address} holds {held} wei after {seconds} s, not {at_least}")
            await asyncio.sleep(0.1)
        return held
