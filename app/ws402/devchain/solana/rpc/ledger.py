"""Transactions and blocks of the past."""
# ruff: noqa: D102, N802 - the methods are named, and described, by the API.

from __future__ import annotations

import itertools
from typing import Any, Final

from solders.signature import Signature

from ws402.devchain.jsonrpc import RpcError, invalid
from ws402.devchain.solana import parameters, shapes
from ws402.devchain.solana.engine import FINALIZED, MAX_AGE, Block, Landed
from ws402.devchain.solana.errors import BLOCK_NOT_AVAILABLE
from ws402.devchain.solana.rpc.base import Methods, in_context

MAX_STATUSES: Final = 256
MAX_SIGNATURES: Final = 1000
MAX_BLOCKS: Final = 500_000


class Ledger(Methods):
    """Transactions and blocks of the past."""

    def getSignatureStatuses(self, signatures: object, config: object = None) -> dict[str, Any]:
        history = parameters.config(config).get("searchTransactionHistory") is True
        wanted = [parameters.signature(each) for each in parameters.texts(signatures, MAX_STATUSES)]
        found = [self._engine.landed.get(each) for each in wanted]
        return in_context(self._engine.head, [self._status(each, history=history) for each in found])

    def _status(self, landed: Landed | None, *, history: bool) -> dict[str, Any] | None:
        head = self._engine.head
        if landed is None or (head.slot - landed.slot > MAX_AGE and not history):
            return None
        sure = self._engine.commitment(landed.slot)
        return {
            "slot": landed.slot,
            "confirmations": None if sure == FINALIZED else head.slot - landed.slot,
            "status": shapes.status(landed.outcome.err),
            "err": landed.outcome.err,
            "confirmationStatus": sure,
        }

    def getTransaction(self, signature: object, config: object = None) -> dict[str, Any] | None:
        wanted = parameters.signature(signature)
        settings = parameters.encoding_config(config)
        newest = self._engine.bank(parameters.stored_level(settings)).slot
        landed = self._engine.landed.get(wanted)
        if landed is None or landed.slot > newest:
            return None
        most = parameters.newest_version(settings)
        body = shapes.transaction_body(landed, settings.get("encoding") or "json", most)
        return {"slot": landed.slot, "blockTime": self._engine.blocks[landed.slot].time} | body

    def getSignaturesForAddress(self, address: object, config: object = None) -> list[dict[str, Any]]:
        """Newest first: older than `before`, newer than `until`."""
        wanted = parameters.pubkey(address)
        settings = parameters.config(config)
        limit = settings.get("limit")
        limit = MAX_SIGNATURES if limit is None else parameters.integer(limit)
        if not 0 < limit <= MAX_SIGNATURES:
            raise invalid(f"Invalid limit; max {MAX_SIGNATURES}")
        block = self._engine.bank(parameters.stored_level(settings))
        parameters.check_slot(block, settings)
        before, until = (
            None if settings.get(name) is None else parameters.signature(settings[name]) for name in ("before", "until")
        )
        # Signatures of other accounts have their place in the ledger too; before an unknown one there is nothing.
        newest = (block.slot + 1, 0) if before is None else self._place(before)
        oldest = (-1, 0) if until is None else self._place(until)
        older = itertools.dropwhile(
            lambda each: (each.slot, each.index) >= newest, reversed(self._engine.by_address.get(wanted, ()))
        )
        found = itertools.takewhile(lambda each: (each.slot, each.index) > oldest, older)
        return [self._entry(each) for each in itertools.islice(found, limit)]

    def _place(self, signature: Signature) -> tuple[int, int]:
        landed = self._engine.landed.get(signature)
        return (landed.slot, landed.index) if landed else (-1, 0)

    def _entry(self, landed: Landed) -> dict[str, Any]:
        return {
            "signature": str(landed.signature),
            "slot": landed.slot,
            "err": landed.outcome.err,
            "memo": shapes.memo(landed),
            "blockTime": self._engine.blocks[landed.slot].time,
            "confirmationStatus": self._engine.commitment(landed.slot),
        }

    def getBlockTime(self, slot: object) -> int:
        return self._block(parameters.integer(slot), self._engine.head.slot).time

    def getBlock(self, slot: object, config: object = None) -> dict[str, Any]:
        settings = parameters.encoding_config(config)
        newest = self._engine.bank(parameters.stored_level(settings)).slot
        block = self._block(parameters.integer(slot), newest)
        body = shapes.block_head(block, self._engine.blocks.get(block.parent))
        rewards = settings.get("rewards") is not False
        if rewards:
            body["rewards"] = []
        details = parameters.word(settings, "transactionDetails") or "full"
        if details == "signatures":
            return body | {"signatures": [str(each.signature) for each in block.landed]}
        if details == "none":
            return body
        if details != "full":
            raise invalid(f"Invalid params: transactionDetails `{details}` is not served here.")
        encoding = settings.get("encoding") or "json"
        most = parameters.newest_version(settings)
        bodies = [shapes.transaction_body(each, encoding, most, rewards=rewards) for each in block.landed]
        return body | {"transactions": bodies}

    def getBlocks(self, first: object, last: object = None, config: object = None) -> list[int]:
        if isinstance(last, dict):
            last, config = None, last
        newest = self._engine.bank(parameters.stored_level(parameters.config(config))).slot
        start = parameters.integer(first)
        end = min(newest, start + MAX_BLOCKS if last is None else parameters.integer(last))
        return [slot for slot in range(start, end + 1) if slot in self._engine.blocks]

    def getBlocksWithLimit(self, first: object, limit: object, config: object = None) -> list[int]:
        newest = self._engine.bank(parameters.stored_level(parameters.config(config))).slot
        blocks = (slot for slot in range(parameters.integer(first), newest + 1) if slot in self._engine.blocks)
        return [slot for slot, _ in zip(blocks, range(parameters.integer(limit)), strict=False)]

    def _block(self, slot: int, newest: int) -> Block:
        block = self._engine.blocks.get(slot)
        if block is None or slot > newest:
            raise RpcError(f"Block not available for slot {slot}", BLOCK_NOT_AVAILABLE)
        return block
