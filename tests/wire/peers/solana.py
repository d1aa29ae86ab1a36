"""A plain wallet on Solana and the stock client that pays with it: by the text of the wire, knowing nothing else."""

from __future__ import annotations

import asyncio
import base64
import itertools
import time
from types import TracebackType
from typing import Any, Self

import httpx
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.message import Message
from solders.pubkey import Pubkey
from solders.system_program import TransferParams, transfer
from solders.transaction import Transaction
from tests.wire.peers.client import Mode, StockClient, StockSession


class SolanaWallet:
    """One account. Amounts are in lamports; transaction ids are signatures in base58."""

    def __init__(self, rpc_url: str, key: Keypair) -> None:
        self.key = key
        self.address = str(key.pubkey())
        self._http = httpx.AsyncClient(base_url=rpc_url, timeout=20)
        self._ids = itertools.count(1)

    async def rpc(self, method: str, *params: Any) -> Any:
        """One call; raises RuntimeError with the node's message."""
        body = {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": list(params)}
        answer = (await self._http.post("", json=body)).json()
        if "error" in answer:
            raise RuntimeError(answer["error"]["message"])
        return answer["result"]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def balance(self) -> int:
        """What the account holds now."""
        return int((await self.rpc("getBalance", self.address, {"commitment": "confirmed"}))["value"])

    async def send(self, to: str, lamports: int, reference: str | None) -> str:
        """A system transfer with the reference key appended to its accounts. Waits until it is confirmed."""
        order = transfer(
            TransferParams(from_pubkey=self.key.pubkey(), to_pubkey=Pubkey.from_string(to), lamports=lamports)
        )
        keys = list(order.accounts)
        if reference is not None:
            keys.append(AccountMeta(Pubkey.from_string(reference), is_signer=False, is_writable=False))
        latest = (await self.rpc("getLatestBlockhash", {"commitment": "confirmed"}))["value"]["blockhash"]
        blockhash = Hash.from_string(latest)
        instruction = Instruction(order.program_id, order.data, keys)
        message = Message.new_with_blockhash([instruction], self.key.pubkey(), blockhash)
        raw = base64.b64encode(bytes(Transaction([self.key], message, blockhash))).decode()
        options = {"encoding": "base64", "preflightCommitment": "confirmed"}
        signature = str(await self.rpc("sendTransaction", raw, options))
        end = time.monotonic() + 30
        while True:
            status = (await self.rpc("getSignatureStatuses", [signature]))["value"][0]
            if status and status["confirmationStatus"] in ("confirmed", "finalized"):
                return signature
            if time.monotonic() > end:
                raise TimeoutError(f"{signature} is not confirmed after 30 s")
            await asyncio.sleep(0.1)

    async def wait_for_balance(self, at_least: int, seconds: float = 40) -> int:
        """Wait until the account holds this much (a refund arrived); answers what it holds then."""
        end = time.monotonic() + seconds
        while (held := await self.balance()) < at_least:
            if time.monotonic() > end:
                raise TimeoutError(f"{self.address} holds {held} lamports after {seconds} s, not {at_least}")
            await asyncio.sleep(0.2)
        return held


class SolanaClient(StockClient):
    """As the stock client, on Solana. `strict`: it shows the claim token too."""

    def __init__(
        self, server_url: str, wallet: SolanaWallet, *, mode: Mode = "legacy", user_id: str = "user-1"
    ) -> None:
        super().__init__(server_url, wallet, mode=mode)  # type: ignore[arg-type]  # other amounts
        self.payer = wallet

    async def pay(
        self, details: dict[str, Any], *, amount: int | None = None, mode: Mode | None = None
    ) -> dict[str, Any]:
        """Pay what the details ask for (or another amount) in SOL; answers the proof."""
        signature = await self.payer.send(details["recipient"], int(amount or details["amount"]), details["reference"])
        return {"signature": signature, "reference": details["reference"], "senderWallet": self.payer.address}

    async def buy(self, resource_id: str, duration: int | None = None) -> StockSession:
        """The whole way: schema, payment, socket, proof. The session is live when this returns."""
        details = (await self.schema(resource_id, duration))["paymentDetails"]
        proof = await self.pay(details)
        session = await self.open(resource_id)
        await session.start(proof, claim_token=details["claimToken"] if self.mode == "strict" else None)
        return session
