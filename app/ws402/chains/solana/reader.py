"""Reading slots and transactions from one endpoint, so that all parts of an answer are of one view of the cluster.

The gateway counts blocks; here a block's number is its slot. Slots without a block are possible, and those that nothing
of ours is in are not fetched: what is read is the list of our accounts' signatures.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from typing import Any, Final

from ws402.chains.base import BlockTransfers, Head, Sent, TransferLookup, TxState, TxStatus
from ws402.chains.rpc.endpoint import Call, Endpoint, EndpointError
from ws402.chains.solana.mints import Mint, read_token_account
from ws402.chains.solana.replies import NO_BLOCK, SKIPPED, UNREADABLE, ReplyError
from ws402.chains.solana.transfers import Json, Ours, Reading

log = logging.getLogger(__name__)

PAGE: Final = 1000
"""Signatures asked for at once: the most that nodes give."""

CONFIRMED: Final = {"commitment": "confirmed"}
FINALIZED: Final = {"commitment": "finalized"}
BLOCK: Final = CONFIRMED | {
    "transactionDetails": "none",
    "rewards": False,
    "maxSupportedTransactionVersion": 0,
}
TRANSACTION: Final = CONFIRMED | {"encoding": "json", "maxSupportedTransactionVersion": 0}
HISTORY: Final = {"searchTransactionHistory": True}

MOST_STATUSES: Final = 256
"""Signatures in one getSignatureStatuses."""

NO_HASH: Final = ""
"""The hash of a slot that has no block."""

MOST_SKIPPED: Final = 64
"""How far to look below a slot without a block for one that has one."""

BEHIND: Final = 4
"""How many slots below the newest confirmed one a node may still be writing down."""


class Reader:
    """Understands what nodes answer."""

    def __init__(self, ours: Ours) -> None:
        self.ours = ours
        self._newest: dict[tuple[str, str], tuple[int, str]] = {}
        """By endpoint and account: the newest signature of ours and its slot, to ask only for later ones."""

    # --- The head ----------------------------------------------------------------------------------------------------

    async def head(self, endpoint: Endpoint) -> Head:
        """The newest slot whose transactions the endpoint has written down, and the newest final one."""
        newest, final = numbers(await endpoint.call([("getSlot", [CONFIRMED]), ("getSlot", [FINALIZED])]))
        for slot in range(newest, max(newest - BEHIND, -1), -1):
            (block,) = await endpoint.call([("getBlock", [slot, BLOCK])])
            if not isinstance(block, ReplyError):
                time = block["blockTime"] * 1000
                return Head(block=slot, block_hash=block["blockhash"], block_time=time, final=min(final, slot))
            if block.number not in NO_BLOCK | SKIPPED:
                raise EndpointError(f"{endpoint.name}: {block.message}")
        raise EndpointError(f"{endpoint.name} has none of its newest {BEHIND} blocks")

    # --- Blocks ------------------------------------------------------------------------------------------------------

    async def blocks(self, endpoint: Endpoint, first: int, last: int) -> list[BlockTransfers]:
        """The slots that have transfers to us, and `last`; the first one's parent is slot `first - 1`."""
        hashes = await self.hashes(endpoint, [first - 1, last])
        if hashes[last] is None:
            raise EndpointError(f"{endpoint.name} does not have slot {last} yet")
        signatures = await self._signatures(endpoint, first, last)
        read = await self.transactions(endpoint, signatures)
        places = sorted({each["slot"] for each in read})
        if any(not first <= each <= last for each in places):
            raise EndpointError(f"{endpoint.name}: the chain changed while it was read")
        hashes |= await self.hashes(endpoint, [each for each in places if each not in hashes])
        found: list[BlockTransfers] = []
        parent = hashes[first - 1] or NO_HASH
        for slot in [*(each for each in places if each != last), last]:
            block_hash = hashes[slot]
            if block_hash is None:
                raise EndpointError(f"{endpoint.name}: the chain changed while it was read")
            there = [Reading(each, self.ours, block_hash) for each in read if each["slot"] == slot]
            transfers = tuple(transfer for each in there for transfer in each.transfers())
            if not transfers and slot != last:
                continue
            time = there[0].block_time if there else 0
            found.append(
                BlockTransfers(
                    block=slot, block_hash=block_hash, parent_hash=parent, block_time=time, transfers=transfers
                )
            )
            parent = block_hash
        return found

    async def hashes(self, endpoint: Endpoint, slots: Sequence[int]) -> dict[int, str | None]:
        """Block hashes by slot; None where the endpoint does not have it (yet). A slot in which no block was made is
        known by the block before it.
        """
        wanted = [each for each in slots if each >= 0]
        found: dict[int, str | None] = dict.fromkeys(slots, NO_HASH)
        answers = await endpoint.call([("getBlock", [slot, BLOCK]) for slot in wanted])
        for slot, answer in zip(wanted, answers, strict=True):
            if not isinstance(answer, ReplyError):
                found[slot] = str(answer["blockhash"])
            elif answer.number in NO_BLOCK | SKIPPED:
                found[slot] = await self._skipped(endpoint, slot)
            else:
                raise EndpointError(f"{endpoint.name}: {answer.message}")
        return found

    async def _skipped(self, endpoint: Endpoint, slot: int) -> str | None:
        """By what a slot without a block is known; None when it only is not there yet. A node calls a slot that was
        skipped lately `not available`, like one of the future.
        """
        answers = await endpoint.call(
            [("getBlocks", [max(0, slot - MOST_SKIPPED), slot, CONFIRMED]), ("getSlot", [CONFIRMED])]
        )
        listed, newest = _checked(endpoint, answers)
        if slot in listed or newest <= slot:
            return None
        if not listed:
            return NO_HASH
        (before,) = _checked(endpoint, await endpoint.call([("getBlock", [listed[-1], BLOCK])]))
        return f"skipped:{before['blockhash']}"

    async def _signatures(self, endpoint: Endpoint, first: int, last: int) -> list[str]:
        """Of transactions that name one of our accounts and did not fail, from slot `first` to `last`, oldest first."""
        found: dict[str, int] = {}
        for account in self.ours.accounts:
            slot, until = self._newest.get((endpoint.name, account), (-1, ""))
            listed = await self.signatures(endpoint, account, first, until=until if 0 <= slot < first else "")
            for each in reversed(listed):
                if each["slot"] > last:
                    continue
                self._newest[endpoint.name, account] = each["slot"], each["signature"]
                if each["err"] is None:
                    found[each["signature"]] = each["slot"]
        return sorted(found, key=lambda each: found[each])

    async def signatures(self, endpoint: Endpoint, account: str, first: int, *, until: str = "") -> list[Json]:
        """What names an account from slot `first` on, newest first. `until`: where to stop, as a hint for the node."""
        found: list[Json] = []
        before: dict[str, Any] = {}
        while True:
            options = CONFIRMED | {"limit": PAGE} | before | ({"until": until} if until else {})
            (page,) = _checked(endpoint, await endpoint.call([("getSignaturesForAddress", [account, options])]))
            found += [each for each in page if each["slot"] >= first]
            if len(page) < PAGE or page[-1]["slot"] < first:
                return found
            before = {"before": page[-1]["signature"]}

    async def sends(self, endpoint: Endpoint, senders: Collection[str], first: int, last: int) -> list[Sent]:
        """What these accounts paid the fee of, oldest first."""
        found: dict[str, Sent] = {}
        for account in senders:
            listed = [each for each in await self.signatures(endpoint, account, first) if each["slot"] <= last]
            names = [each["signature"] for each in reversed(listed)]
            for each in await self.transactions(endpoint, names):
                read = Reading(each, self.ours, NO_HASH)
                if read.keys[0] == account:
                    found[read.tx] = read.sends()
        return sorted(found.values(), key=lambda each: each.block)

    async def transactions(self, endpoint: Endpoint, signatures: Sequence[str]) -> list[Json]:
        """In order, without those of a version that we cannot read: nobody's wallet sends such yet.

        Raises EndpointError for one that the endpoint lists and does not have.
        """
        calls: list[Call] = [("getTransaction", [each, TRANSACTION]) for each in signatures]
        answers = await endpoint.call(calls)
        found = []
        for signature, answer in zip(signatures, answers, strict=True):
            if isinstance(answer, ReplyError) and answer.number == UNREADABLE:
                log.error("%s names us and has a version that is not supported; it is passed over", signature)
                continue
            if isinstance(answer, ReplyError) or answer is None:
                why = answer.message if answer else "it is gone"
                raise EndpointError(f"{endpoint.name} lists {signature} and cannot show it: {why}")
            found.append(answer)
        return found

    # --- One transaction ---------------------------------------------------------------------------------------------

    async def lookup(self, endpoint: Endpoint, tx: str) -> TransferLookup:
        """Everything that a transaction paid us, by itself: its status says `confirmed` even if it failed."""
        answer, final = await self._transaction(endpoint, tx)
        if answer is None:
            return TransferLookup(state=await self._waiting(endpoint, tx))
        slot = answer["slot"]
        hashes = await self.hashes(endpoint, [slot])
        if not hashes[slot]:
            raise EndpointError(f"{endpoint.name}: the chain changed while it was read")
        read = Reading(answer, self.ours, hashes[slot] or NO_HASH)
        if read.tx != tx:
            raise EndpointError(f"{endpoint.name}: another transaction than was asked for")
        if read.failed:
            return TransferLookup(state=TxState.FAILED)
        state = TxState.FINAL if slot <= final else TxState.INCLUDED
        transfers = tuple(read.transfers())
        return TransferLookup(state=state, transfers=transfers, other=() if transfers else read.elsewhere())

    async def status(self, endpoint: Endpoint, tx: str) -> tuple[TxStatus, str, int]:
        """Where a refund of ours stands, and the asset and amount that it is about."""
        answer, final = await self._transaction(endpoint, tx)
        if answer is None:
            return TxStatus(state=await self._waiting(endpoint, tx)), self.ours.native, 0
        read = Reading(answer, self.ours, NO_HASH)
        asset, amount, cost = read.sent(read.keys[0])
        is_final = read.slot <= final
        state = TxState.FINAL if is_final else TxState.INCLUDED
        if read.failed:
            state = TxState.FAILED
        return TxStatus(state=state, block=read.slot, fee=cost, final=is_final), asset, amount

    async def absent(self, endpoint: Endpoint, tx: str, since: int, valid_until: int) -> bool:
        """Whether the endpoint proves that a transaction is in no block and never will be.

        `since`: a slot before it was first sent, of which the endpoint must still have the blocks; `valid_until`: the
        last block height that takes it, which must lie below a final block before the signature is looked for.
        """
        oldest, height = numbers(await endpoint.call([("getFirstAvailableBlock", []), ("getBlockHeight", [FINALIZED])]))
        if height <= valid_until:
            return False
        if oldest > since:
            raise EndpointError(f"{endpoint.name} has no blocks from slot {since} to {oldest - 1} any more")
        return await self._waiting(endpoint, tx) is TxState.UNKNOWN

    async def states(self, endpoint: Endpoint, txs: Sequence[str]) -> list[TxState]:
        """Where transactions stand: UNKNOWN, PENDING (seen, not confirmed) or INCLUDED (in a confirmed block)."""
        asked = [list(txs[first : first + MOST_STATUSES]) for first in range(0, len(txs), MOST_STATUSES)]
        answers = _checked(endpoint, await endpoint.call([("getSignatureStatuses", [each, HISTORY]) for each in asked]))
        found = [_state(each) for answer in answers for each in answer["value"]]
        if len(found) != len(txs):
            raise EndpointError(f"{endpoint.name}: not all signatures were answered")
        return found

    async def _waiting(self, endpoint: Endpoint, tx: str) -> TxState:
        """Of a transaction that is in no confirmed block: whether the endpoint has seen it at all."""
        (state,) = await self.states(endpoint, [tx])
        return TxState.UNKNOWN if state is TxState.UNKNOWN else TxState.PENDING

    async def _transaction(self, endpoint: Endpoint, tx: str) -> tuple[Json | None, int]:
        """A transaction in a confirmed block, and the newest final slot."""
        answer, final = await endpoint.call([("getTransaction", [tx, TRANSACTION]), ("getSlot", [FINALIZED])])
        (slot,) = numbers([final])
        if isinstance(answer, ReplyError):
            raise EndpointError(f"{endpoint.name}: {answer.message}")
        return answer, slot

    # --- Accounts ----------------------------------------------------------------------------------------------------

    async def balance(self, endpoint: Endpoint, account: str, mint: Mint | None, block: int | None) -> int:
        """Of SOL, or of the tokens in a token account. For a slot that is past: nodes tell balances only of now, but
        with every transaction what its accounts held before it.
        """
        context = CONFIRMED | ({} if block is None else {"minContextSlot": block})
        (info,) = _checked(
            endpoint, await endpoint.call([("getAccountInfo", [account, context | {"encoding": "base64"}])])
        )
        if block is not None:
            # After the balance: what was missing in this list then is in the balance, too.
            later = await self.signatures(endpoint, account, block + 1)
            if later:
                (first,) = await self.transactions(endpoint, [later[-1]["signature"]])
                return Reading(first, self.ours, NO_HASH).held(account, mint, "pre")
        if mint is None:
            return int(info["value"]["lamports"]) if info["value"] else 0
        tokens = read_token_account(info["value"])
        return tokens.amount if tokens is not None and tokens.mint == mint.address else 0

    async def accounts(self, endpoint: Endpoint, *addresses: str) -> list[Any]:
        """Accounts in base64, None for those that do not exist."""
        options = CONFIRMED | {"encoding": "base64"}
        (answer,) = _checked(endpoint, await endpoint.call([("getMultipleAccounts", [list(addresses), options])]))
        found: list[Any] = answer["value"]
        if len(found) != len(addresses):
            raise EndpointError(f"{endpoint.name}: not all accounts were answered")
        return found


def _state(status: Any) -> TxState:
    if status is None:
        return TxState.UNKNOWN
    return TxState.PENDING if status.get("confirmationStatus") == "processed" else TxState.INCLUDED


def numbers(answers: Sequence[Any]) -> list[int]:
    """Answers that must be whole numbers. Raises ValueError."""
    for each in answers:
        if not isinstance(each, int) or isinstance(each, bool):
            raise ValueError(each)  # noqa: TRY004 - a malformed answer, as any other
    return list(answers)


def _checked(endpoint: Endpoint, answers: Sequence[Any]) -> Sequence[Any]:
    """No error answers: these calls have none on a node that works."""
    for answer in answers:
        if isinstance(answer, ReplyError):
            raise EndpointError(f"{endpoint.name}: {answer.message}")
    return answers
