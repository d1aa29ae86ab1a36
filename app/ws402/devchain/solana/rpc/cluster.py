"""Slots, blockhashes, fees and what kind of cluster this is."""
# ruff: noqa: D102, N802 - the methods are named, and described, by the API.

from __future__ import annotations

from typing import Any, Final

from solders.pubkey import Pubkey

from ws402.devchain.solana import parameters, shapes
from ws402.devchain.solana.engine import MAX_AGE, Block
from ws402.devchain.solana.fees import fee, price
from ws402.devchain.solana.rpc.base import API_VERSION, Methods, in_context

SLOTS_IN_EPOCH: Final = 432_000
FEATURE_SET: Final = 3_604_001_754
"""Agave 3.0.14's."""
RECENT_FEES: Final = 150
"""Slots that getRecentPrioritizationFees looks back."""
MAX_ADDRESSES: Final = 128
IDENTITY: Final = "11111111111111111111111111111111"


class Cluster(Methods):
    """Slots, blockhashes, fees and what kind of cluster this is."""

    def getHealth(self) -> str:
        return "ok"

    def getVersion(self) -> dict[str, Any]:
        return {"feature-set": FEATURE_SET, "solana-core": API_VERSION}

    def getIdentity(self) -> dict[str, str]:
        return {"identity": IDENTITY}

    def getGenesisHash(self) -> str:
        return str(self._engine.genesis_hash)

    def getSlot(self, config: object = None) -> int:
        return parameters.bank(self._engine, parameters.config(config)).slot

    def getBlockHeight(self, config: object = None) -> int:
        return parameters.bank(self._engine, parameters.config(config)).height

    def getTransactionCount(self, config: object = None) -> int:
        block = parameters.bank(self._engine, parameters.config(config))
        return block.earlier + len(block.landed)

    def getEpochInfo(self, config: object = None) -> dict[str, int]:
        block = parameters.bank(self._engine, parameters.config(config))
        epoch, index = divmod(block.slot, SLOTS_IN_EPOCH)
        return {
            "absoluteSlot": block.slot,
            "blockHeight": block.height,
            "epoch": epoch,
            "slotIndex": index,
            "slotsInEpoch": SLOTS_IN_EPOCH,
            "transactionCount": block.earlier + len(block.landed),
        }

    def getEpochSchedule(self) -> dict[str, Any]:
        return {
            "firstNormalEpoch": 0,
            "firstNormalSlot": 0,
            "leaderScheduleSlotOffset": SLOTS_IN_EPOCH,
            "slotsPerEpoch": SLOTS_IN_EPOCH,
            "warmup": False,
        }

    def getLatestBlockhash(self, config: object = None) -> dict[str, Any]:
        block = parameters.bank(self._engine, parameters.config(config))
        value = {"blockhash": str(block.hash), "lastValidBlockHeight": block.height + MAX_AGE}
        return in_context(block, value)

    def isBlockhashValid(self, blockhash: object, config: object = None) -> dict[str, Any]:
        wanted = parameters.blockhash(blockhash)
        block = parameters.bank(self._engine, parameters.config(config))
        return in_context(block, self._engine.usable(wanted, block))

    def getFeeForMessage(self, message: object, config: object = None) -> dict[str, Any]:
        decoded = parameters.message(message)
        block = parameters.bank(self._engine, parameters.config(config))
        usable = self._engine.usable(decoded.recent_blockhash, block)
        return in_context(block, fee(decoded) if usable else None)

    def getMinimumBalanceForRentExemption(self, size: object, config: object = None) -> int:
        parameters.config(config)
        return self._engine.rent(parameters.integer(size))

    def getRecentPrioritizationFees(self, addresses: object = None) -> list[dict[str, int]]:
        """Per block with transactions: the least price that got in, in micro-lamports a unit, also by account."""
        wanted = [parameters.pubkey(each) for each in parameters.texts(addresses or [], MAX_ADDRESSES)]
        first = self._engine.head.slot - RECENT_FEES
        recent = [block for slot, block in self._engine.blocks.items() if slot >= first and block.landed]
        return [{"slot": each.slot, "prioritizationFee": _least_price(each, wanted)} for each in recent]

    def getFirstAvailableBlock(self) -> int:
        return 0

    def minimumLedgerSlot(self) -> int:
        return 0


def _least_price(block: Block, wanted: list[Pubkey]) -> int:
    prices = [(price(each.transaction.message), shapes.written(each)) for each in block.landed]
    least = min(paid for paid, _ in prices)
    for address in wanted:
        least = max(least, min((paid for paid, written in prices if address in written), default=0))
    return least
