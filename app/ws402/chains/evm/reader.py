"""Reading blocks and transactions from one endpoint, so that all parts of an answer are of one view of the chain."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

from ws402.chains.base import BlockTransfers, Head, Sent, Transfer, TransferLookup, TxState, TxStatus
from ws402.chains.evm import abi
from ws402.chains.evm import transfers as parse
from ws402.chains.evm.replies import ReplyError
from ws402.chains.evm.transfers import Json, Ours, Place, number
from ws402.chains.rpc.endpoint import Answer, Call, Endpoint, EndpointError

SLICE: Final = 10
"""Whole blocks asked for at once: busy chains have some hundred kilobytes each."""

PLAIN_GAS: Final = 21_000
"""A transaction that took no more ran no code."""


class Reader:
    """Understands what nodes answer. `final_after`: None asks for the `finalized` tag."""

    def __init__(self, ours: Ours, final_after: int | None) -> None:
        self._ours = ours
        self._final_after = final_after

    # --- The head ----------------------------------------------------------------------------------------------------

    async def head(self, endpoint: Endpoint) -> Head:
        """The newest and the newest final block."""
        calls: list[Call] = [("eth_getBlockByNumber", ["latest", False]), *self._final_call()]
        answers = _checked(endpoint, await endpoint.call(calls))
        newest = Place.of(_there(endpoint, answers[0]))
        final = self._final(endpoint, newest.block, answers[1:])
        return Head(block=newest.block, block_hash=newest.block_hash, block_time=newest.block_time, final=final)

    def _final_call(self) -> list[Call]:
        return [("eth_getBlockByNumber", ["finalized", False])] if self._final_after is None else []

    def _final(self, endpoint: Endpoint, head: int, answers: Sequence[Answer]) -> int:
        if self._final_after is not None:
            return max(0, head - self._final_after)
        if answers[0] is None:
            raise EndpointError(f"{endpoint.name} knows no finalized block (set final_after for such a chain)")
        return min(head, number(answers[0]["number"]))

    # --- Blocks ------------------------------------------------------------------------------------------------------

    async def blocks(self, endpoint: Endpoint, first: int, last: int) -> list[BlockTransfers]:
        """Blocks in order with their transfers to us."""
        found: list[BlockTransfers] = []
        for start in range(first, last + 1, SLICE):
            for block in await self._slice(endpoint, start, min(start + SLICE - 1, last)):
                if found and found[-1].block_hash != block.parent_hash:
                    raise EndpointError(f"{endpoint.name}: the chain changed while it was read")
                found.append(block)
        return found

    async def _slice(self, endpoint: Endpoint, first: int, last: int) -> list[BlockTransfers]:
        headers = await self._headers(endpoint, first, last)
        logs = await self._logs(endpoint, headers)
        receipts = await self._receipts(endpoint, headers, logs)
        return [
            BlockTransfers(
                block=number(header["number"]),
                block_hash=header["hash"].lower(),
                parent_hash=header["parentHash"].lower(),
                block_time=number(header["timestamp"]) * 1000,
                transfers=tuple(self._transfers(header, found, receipts)),
            )
            for header, found in zip(headers, logs, strict=True)
        ]

    async def sends(self, endpoint: Endpoint, senders: Collection[str], first: int, last: int) -> list[Sent]:
        """What these accounts sent, oldest first."""
        wanted = {each.lower() for each in senders}
        found: list[Sent] = []
        parent: str | None = None
        for start in range(first, last + 1, SLICE):
            for header in await self._headers(endpoint, start, min(start + SLICE - 1, last)):
                if parent not in (None, header["parentHash"]):
                    raise EndpointError(f"{endpoint.name}: the chain changed while it was read")
                parent = header["hash"]
                mine = [each for each in header["transactions"] if each["from"].lower() in wanted]
                calls: list[Call] = [("eth_getTransactionReceipt", [each["hash"]]) for each in mine]
                receipts = [_there(endpoint, each) for each in _checked(endpoint, await endpoint.call(calls))]
                for transaction, receipt in zip(mine, receipts, strict=True):
                    if receipt["blockHash"] != header["hash"]:
                        raise EndpointError(f"{endpoint.name}: the chain changed while it was read")
                    found.append(parse.sent(transaction, receipt, Place.of(header), self._ours))
        return found

    async def _headers(self, endpoint: Endpoint, first: int, last: int) -> list[Any]:
        """Whole blocks."""
        wanted = range(first, last + 1)
        calls: list[Call] = [("eth_getBlockByNumber", [hex(height), True]) for height in wanted]
        headers = [_there(endpoint, each) for each in _checked(endpoint, await endpoint.call(calls))]
        if [number(each["number"]) for each in headers] != list(wanted):
            raise EndpointError(f"{endpoint.name}: other blocks than were asked for")
        return headers

    async def _logs(self, endpoint: Endpoint, headers: Sequence[Json]) -> list[list[Json]]:
        """For each block the token transfers to us. By block hash: a node that lacks the block says so."""
        asked = [position for position, header in enumerate(headers) if self._may_pay(header)]
        tokens = list(self._ours.tokens)
        topics = [abi.TRANSFER, None, self._ours.topics]
        calls: list[Call] = [
            ("eth_getLogs", [{"blockHash": headers[each]["hash"], "address": tokens, "topics": topics}])
            for each in asked
        ]
        found: list[list[Json]] = [[] for _ in headers]
        for position, logs in zip(asked, _checked(endpoint, await endpoint.call(calls)), strict=True):
            if any(log["blockHash"] != headers[position]["hash"] for log in logs):
                raise EndpointError(f"{endpoint.name}: logs of another block")
            found[position] = logs
        return found

    def _may_pay(self, header: Json) -> bool:
        """Whether the block's bloom allows for a token transfer to us. Some chains leave blooms empty."""
        bloom = header["logsBloom"]
        if not self._ours.tokens or not header["transactions"]:
            return False
        if number(bloom) == 0:
            return True
        ours, tokens = self._ours.topics, self._ours.tokens
        return any(abi.bloom_has(bloom, abi.TRANSFER, topic) for topic in ours) and any(
            abi.bloom_has(bloom, token) for token in tokens
        )

    async def _receipts(
        self, endpoint: Endpoint, headers: Sequence[Json], logs: Sequence[Sequence[Json]]
    ) -> dict[str, Json]:
        """Receipts of the transactions that only a receipt can tell about, by hash."""
        wanted: dict[str, str] = {}
        for header, found in zip(headers, logs, strict=True):
            by_tx = _by_tx(found)
            for transaction in header["transactions"]:
                tx = transaction["hash"]
                mine = by_tx.get(tx, [])
                if parse.pays_natively(transaction, self._ours) or parse.needs_whole_receipt(transaction, mine):
                    wanted[tx] = header["hash"]
        calls: list[Call] = [("eth_getTransactionReceipt", [tx]) for tx in wanted]
        receipts = [_there(endpoint, each) for each in _checked(endpoint, await endpoint.call(calls))]
        for receipt, block_hash in zip(receipts, wanted.values(), strict=True):
            if receipt["blockHash"] != block_hash:
                raise EndpointError(f"{endpoint.name}: the chain changed while it was read")
        return {receipt["transactionHash"]: receipt for receipt in receipts}

    def _transfers(self, header: Json, logs: Sequence[Json], receipts: dict[str, Json]) -> list[Transfer]:
        place = Place.of(header)
        by_tx = _by_tx(logs)
        found: list[Transfer] = []
        for transaction in header["transactions"]:
            tx = transaction["hash"]
            receipt = receipts.get(tx)
            if receipt is not None:
                found += self._read(transaction, receipt, place)
            elif tx in by_tx:
                found += parse.token_transfers(transaction, by_tx[tx], place, self._ours)
        return found

    def _read(self, transaction: Json, receipt: Json, place: Place) -> list[Transfer]:
        """The transfers to us that need no trace."""
        if not parse.succeeded(receipt):
            return []
        found = parse.token_transfers(transaction, receipt["logs"], place, self._ours)
        if parse.pays_natively(transaction, self._ours):
            found.insert(0, parse.native_transfer(transaction, place, self._ours))
        return found

    # --- One transaction ---------------------------------------------------------------------------------------------

    async def lookup(self, endpoint: Endpoint, tx: str) -> TransferLookup:
        """Everything that a transaction paid us."""
        transaction, receipt, head, final = await self._transaction(endpoint, tx)
        if receipt is None:
            return TransferLookup(state=TxState.UNKNOWN if transaction is None else TxState.PENDING)
        calls: list[Call] = [("eth_getBlockByNumber", [receipt["blockNumber"], False])]
        (header,) = _checked(endpoint, await endpoint.call(calls))
        if transaction is None or header is None or header["hash"] != receipt["blockHash"]:
            raise EndpointError(f"{endpoint.name}: the chain changed while it was read")
        place = Place.of(header)
        if not parse.succeeded(receipt):
            return TransferLookup(state=TxState.FAILED)
        state = TxState.FINAL if place.block <= min(final, head) else TxState.INCLUDED
        found = self._read(transaction, receipt, place)
        if found:
            return TransferLookup(state=state, transfers=tuple(found))
        other = parse.elsewhere(transaction, receipt["logs"], self._ours)
        if number(receipt["gasUsed"]) > PLAIN_GAS:
            (trace,) = await endpoint.call([("debug_traceTransaction", [tx, {"tracer": "callTracer"}])], optional=True)
            if isinstance(trace, ReplyError) or trace is None:
                other = (*other, "untraced")
            else:
                found = parse.internal_transfers(trace, tx, place, self._ours)
        return TransferLookup(state=state, transfers=tuple(found), other=() if found else other)

    async def states(self, endpoint: Endpoint, txs: Sequence[str]) -> list[TxState]:
        """Where transactions stand: UNKNOWN, PENDING or INCLUDED."""
        answers = _checked(endpoint, await endpoint.call([("eth_getTransactionByHash", [tx]) for tx in txs]))
        return [_state(answer) for answer in answers]

    async def status(self, endpoint: Endpoint, tx: str) -> tuple[TxStatus, str, int]:
        """Where a transaction of ours stands, and the asset and amount that it is about."""
        transaction, receipt, head, final = await self._transaction(endpoint, tx)
        if receipt is None:
            return TxStatus(state=TxState.UNKNOWN if transaction is None else TxState.PENDING), self._ours.native, 0
        if transaction is None:
            raise EndpointError(f"{endpoint.name}: a receipt without its transaction")
        asset, amount = self._worth(transaction)
        block = number(receipt["blockNumber"])
        is_final = block <= min(final, head)
        fee = parse.fee_of(receipt)
        if not parse.succeeded(receipt) or not self._moved(transaction, receipt):
            state = TxState.FAILED
        else:
            state = TxState.FINAL if is_final else TxState.INCLUDED
        return TxStatus(state=state, block=block, fee=fee, final=is_final), asset, amount

    async def _transaction(self, endpoint: Endpoint, tx: str) -> tuple[Json | None, Json | None, int, int]:
        """A transaction, its receipt, the head and the newest final block."""
        calls: list[Call] = [
            ("eth_getTransactionByHash", [tx]),
            ("eth_getTransactionReceipt", [tx]),
            ("eth_blockNumber", []),
            *self._final_call(),
        ]
        transaction, receipt, newest, *rest = _checked(endpoint, await endpoint.call(calls))
        head = number(newest)
        return transaction, receipt, head, self._final(endpoint, head, rest)

    def _worth(self, transaction: Json) -> tuple[str, int]:
        symbol = self._ours.tokens.get((transaction.get("to") or "").lower())
        data: str = transaction["input"]
        if symbol is not None and data.startswith(abi.TRANSFER_SELECTOR) and len(data) >= 2 + 2 * abi.TRANSFER_LENGTH:
            return symbol, int(data[74:138], 16)
        return self._ours.native, number(transaction["value"])

    def _moved(self, transaction: Json, receipt: Json) -> bool:
        """Whether a token's `transfer` moved anything: some contracts fail without reverting."""
        symbol, _ = self._worth(transaction)
        if symbol == self._ours.native:
            return True
        return any(parse.is_payment_by(log, transaction) for log in receipt["logs"])


def _state(transaction: Json | None) -> TxState:
    if transaction is None:
        return TxState.UNKNOWN
    return TxState.PENDING if transaction.get("blockNumber") is None else TxState.INCLUDED


def _by_tx(logs: Sequence[Json]) -> dict[str, list[Json]]:
    by_tx: dict[str, list[Json]] = {}
    for log in logs:
        by_tx.setdefault(log["transactionHash"], []).append(log)
    return by_tx


def _there(endpoint: Endpoint, answer: Answer) -> Any:
    if answer is None:
        raise EndpointError(f"{endpoint.name} does not know the block yet")
    return answer


def _checked(endpoint: Endpoint, answers: Sequence[Answer]) -> Sequence[Answer]:
    """No error answers: these calls have none on a node that works."""
    for answer in answers:
        if isinstance(answer, ReplyError):
            raise EndpointError(f"{endpoint.name}: {answer.message}")
    return answers
