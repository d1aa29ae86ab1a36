"""Building refund transactions: simulate, price, sign."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ws402.chains.base import (
    BroadcastRefusedError,
    ChainUnavailableError,
    RefundImpossibleError,
    RefundOrder,
    SignedTransaction,
)
from ws402.chains.evm import abi
from ws402.chains.evm.address import address_of
from ws402.chains.evm.fees import Bid, Fees
from ws402.chains.evm.replies import ReplyError
from ws402.chains.evm.transactions import Draft, signed
from ws402.chains.evm.transfers import number
from ws402.chains.rpc.endpoint import Call
from ws402.chains.rpc.pool import Pool
from ws402.keys.base import Signer
from ws402.money import Asset

MAX_GAS: Final = 200_000
"""A recipient that makes us burn more than this gets no automatic refund. A Safe takes 30,000, most tokens 65,000."""

PLAIN_GAS: Final = 21_000


class Refunds:
    """Refund transactions of one network."""

    def __init__(self, pool: Pool, fees: Fees, chain_id: int, assets: Mapping[str, Asset], network: str) -> None:
        self._pool = pool
        self._fees = fees
        self._chain_id = chain_id
        self._assets = assets
        self._network = network

    async def estimate_fee(self, order: RefundOrder, sender: str) -> int:
        """About what delivering costs now, in wei. Raises RefundImpossibleError, ChainUnavailableError."""
        gas = await self._simulate(order, sender)
        quote = await self._fees.quote()
        return gas * min(quote.price, self._fees.cap) + quote.publishing

    async def sign(
        self, order: RefundOrder, signer: Signer, *, nonce: int, replaces: SignedTransaction | None
    ) -> SignedTransaction:
        """A signed refund. Answers `replaces` itself when the cap on fees forbids a bump.

        Raises RefundImpossibleError when the recipient refuses, BroadcastRefusedError when our account does not cover
        it, ChainUnavailableError.
        """
        estimate = await self._simulate(order, address_of(signer))
        # What a plain account takes is certain. A contract may take more by then, and so does a token whose recipient
        # has spent its last unit meanwhile: that costs 17,100 (EIP-2200).
        gas = estimate if estimate == PLAIN_GAS else estimate + max(estimate // 4, 20_000)
        to, value, data = self._call(order)
        return await self._signed(signer, nonce, gas, to, value, data, replaces)

    async def sign_cancel(self, signer: Signer, *, nonce: int, replaces: SignedTransaction | None) -> SignedTransaction:
        """Nothing, sent to ourselves, to use a nonce up."""
        return await self._signed(signer, nonce, PLAIN_GAS, address_of(signer), 0, "0x", replaces)

    async def _signed(
        self,
        signer: Signer,
        nonce: int,
        gas: int,
        to: str,
        value: int,
        data: str,
        replaces: SignedTransaction | None,
    ) -> SignedTransaction:
        if replaces is None:
            bid = await self._fees.bid()
        else:
            old = Bid(replaces.fee["maxFeePerGas"], replaces.fee["maxPriorityFeePerGas"])
            higher = await self._fees.outbid(old)
            if higher is None:
                return replaces
            bid = higher
        draft = Draft(self._chain_id, nonce, bid.tip, bid.max_fee, gas, to, value, data)
        return await signed(draft, signer, self._fees, publishings=2)

    def _call(self, order: RefundOrder) -> tuple[str, int, str]:
        contract = self._assets[order.asset].contract
        if contract is None:
            return order.recipient, order.amount, "0x"
        return contract, 0, abi.transfer_data(order.recipient, order.amount)

    async def _simulate(self, order: RefundOrder, sender: str) -> int:
        """The gas that it takes. Raises as `sign` does."""
        to, value, data = self._call(order)
        call = {"from": sender, "to": to, "value": hex(value), "data": data, "gas": hex(MAX_GAS)}
        token = self._assets[order.asset].contract is not None
        # The newest block's state: some nodes would estimate on top of the very refund that is to be replaced.
        calls: list[Call] = [("eth_estimateGas", [call, "latest"])]
        calls.append(("eth_call", [call, "latest"]) if token else ("eth_getBalance", [sender, "latest"]))
        estimate, result = await self._pool.batch(calls)
        for answer in (estimate, result):
            if isinstance(answer, ReplyError):
                await self._explain(answer, order, sender)
        if token and not _accepted(result):
            raise RefundImpossibleError(f"The {order.asset} contract refuses the transfer to {order.recipient}.")
        if not token and number(result) < order.amount:
            raise _short(order, sender)
        gas = number(estimate)
        if gas > MAX_GAS:
            raise RefundImpossibleError(f"{order.recipient} would burn {gas} gas, more than {MAX_GAS}.")
        return gas

    async def _explain(self, error: ReplyError, order: RefundOrder, sender: str) -> None:
        """Raise what a failed simulation means. An empty account of ours must not look like a refusing recipient."""
        if error.refusal == "insufficient_funds":
            raise _short(order, sender) from error
        if not error.reverted:
            raise ChainUnavailableError(f"{self._network} cannot simulate a refund: {error.message}") from error
        contract = self._assets[order.asset].contract
        try:
            if contract is None:
                held = number(await self._pool.call("eth_getBalance", sender, "latest"))
            else:
                query = {"to": contract, "data": abi.balance_data(sender)}
                held = number(await self._pool.call("eth_call", query, "latest"))
        except ReplyError as trouble:
            raise ChainUnavailableError(f"{self._network} cannot tell a balance: {trouble.message}") from trouble
        if held < order.amount:
            raise _short(order, sender) from error
        raise RefundImpossibleError(f"{order.recipient} cannot take it: {error.message}") from error


def _short(order: RefundOrder, sender: str) -> BroadcastRefusedError:
    return BroadcastRefusedError(f"{sender} does not hold {order.amount} {order.asset}.", "insufficient_funds")


def _accepted(result: str) -> bool:
    """What `transfer` answered: true, or nothing at all as some old tokens do."""
    return result == "0x" or number(result) == 1
