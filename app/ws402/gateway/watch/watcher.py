"""The watcher: follows each chain block by block, records transfers to us, notices reorgs, and catches up after a stop.

Each block is fetched once, so the cost at the RPC endpoint follows blocks, not payments.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Final

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from ws402.chains.base import BlockTransfers, Chain, ChainUnavailableError, Transfer
from ws402.errors import WS402Error
from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.entries import insert_ignore, move, post
from ws402.gateway.ledger.states import TransferState
from ws402.gateway.ledger.tables import blocks, networks, signers, transfers
from ws402.gateway.ledger.types import amount_sum
from ws402.gateway.watch.other_chain import OtherChainError
from ws402.gateway.watch.reorgs import orphan
from ws402.gateway.watch.transfers import record
from ws402.jobs import Job

log = logging.getLogger(__name__)

CLOSING_SECONDS: Final = 1.0

GATHER_SECONDS: Final = 0.05
"""Whoever waits for news shares a look with those who come this much later."""

CHECK_SECONDS: Final = 30.0
"""How often endpoints must show that they still serve the right chain."""

OPENING_DEPTH: Final = 64
"""A new ledger begins at most this many blocks below the head."""

KEEP_BLOCKS: Final = 512
"""Block hashes remembered; deeper than any reorg that finality allows."""


class Watcher:
    """Follows the chains of one gateway. Several gateways may watch the same chain: the ledger sorts it out."""

    def __init__(
        self,
        database: Database,
        chains: Mapping[str, Chain],
        addresses: Mapping[str, set[str]],
        *,
        grace_seconds: int = 3600,
    ) -> None:
        """`grace_seconds`: how long money that names an invoice waits after its end before it goes back."""
        self._database = database
        self._grace_ms = grace_seconds * 1000
        self._chains = chains
        self._addresses = addresses
        self.heads: dict[str, int] = {}
        """Newest block seen, by network."""
        self.finals: dict[str, int] = {}
        """Newest final block, by network."""
        self.head_times: dict[str, int] = {}
        """When the newest block was made, by the chain's clock, ms since the epoch."""
        self.block_ms: dict[str, float] = {}
        """How long blocks took lately, by network."""
        self.errors: dict[str, str] = {}
        """Why a network cannot be watched now."""
        self.missing: dict[str, str] = {}
        """Networks that were not reached since the start, and why: nothing of them can be sold yet."""
        self.on_joined: list[Callable[[Chain], Awaitable[None]]] = []
        """What is done with a network that was missing, before it is served."""
        self.check_seconds = CHECK_SECONDS
        self._check_at: dict[str, float] = {}
        self.reorgs_by: Counter[str] = Counter()
        """Reorganisations seen, by network."""
        self.on_reorged: Callable[[Sequence[str]], None] | None = None
        self.on_block: list[Callable[[str], None]] = []
        """Called with the network when a newer block was seen."""
        self.on_recorded: list[Callable[[str, set[str]], None]] = []
        """Called with the network and the transactions whose transfers are in the ledger now."""
        self._came = {network: asyncio.Event() for network in chains}
        """Set when a newer block is seen, and then replaced."""
        self._opened: set[str] = set()
        """Networks whose watch this process began."""
        self._looking: dict[str, asyncio.Lock] = {network: asyncio.Lock() for network in chains}
        self._jobs = {network: self._job(chain) for network, chain in chains.items()}

    def _job(self, chain: Chain) -> Job:
        name, seconds = f"watch {chain.network}", chain.poll_seconds
        return Job(name, partial(self._look, chain), seconds, gather=min(GATHER_SECONDS, seconds))

    def check(self) -> None:
        """Readiness: raise JobDeadError when a chain is not watched any more."""
        for job in self._jobs.values():
            job.check()

    async def start(self) -> None:
        """Reach the chains, note where the watch begins (once in a ledger's life), catch up, and go on watching.

        A network whose endpoints do not answer is `missing` until they do, when the others work: their payments have
        nothing to do with it. Raises ChainUnavailableError when none can be reached, ConfigurationError.
        """
        joined = await asyncio.gather(*(self._join(chain) for chain in self._chains.values()), return_exceptions=True)
        troubles = {name: each for name, each in zip(self._chains, joined, strict=True) if each is not None}
        for trouble in troubles.values():
            if not isinstance(trouble, ChainUnavailableError) or len(troubles) == len(self._chains):
                raise trouble
        for network, trouble in troubles.items():
            log.error("the gateway starts without %s: %s", network, trouble)
            self.missing[network] = self.errors[network] = str(trouble)
        for chain in self._chains.values():
            self._jobs[chain.network].start()

    async def _join(self, chain: Chain) -> None:
        await chain.start()
        await self._open(chain)
        await self.step(chain)

    async def _come_back(self, chain: Chain) -> None:
        """Take a network up that was missing at the start."""
        await self._join(chain)
        reason = self.missing.pop(chain.network)
        try:
            for each in self.on_joined:
                await each(chain)
        except BaseException:
            self.missing[chain.network] = reason
            raise
        log.warning("%s is reached, and served from now on", chain.network)

    async def close(self) -> None:
        """Stop watching. A look that is under way may end, so that no write is torn off in the middle."""
        await asyncio.gather(*(job.close(grace=CLOSING_SECONDS) for job in self._jobs.values()))

    async def record(self, found: Sequence[Transfer]) -> None:
        """Record transfers that a direct look-up found before the watch came to their block.

        Not those of a block that another one has replaced: the endpoint that showed them lags, or is ahead of a reorg
        that the next look brings. The watch has passed that height, so nothing would ever take them back.
        """
        async with self._database.begin() as connection:
            canonical = await _canonical(connection, found)
            await record(connection, canonical, self._database.now_ms(), grace_ms=self._grace_ms)

    def wake(self, network: str) -> None:
        """Look soon: something is known to have happened on the chain, so it can be asked."""
        self._jobs[network].wake(recovered=True)

    async def newer(self, network: str, than: int, seconds: float) -> bool:
        """Wait until a block above `than` was seen, or `seconds` have passed; which of both."""
        came = self._came[network]
        if self.heads.get(network, 0) > than:
            return True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await came.wait()
        return came.is_set()

    async def _look(self, chain: Chain) -> None:
        """One turn of the watch."""
        try:
            if chain.network in self.missing:
                await self._come_back(chain)
            elif time.monotonic() >= self._check_at.setdefault(chain.network, time.monotonic() + self.check_seconds):
                del self._check_at[chain.network]
                await chain.check()
            await self.step(chain)
        except (WS402Error, OSError) as error:
            self.errors[chain.network] = str(error)
            raise

    async def _open(self, chain: Chain) -> None:
        async with self._database.begin() as connection:
            if (await _cursor(connection, chain.network)) is not None:
                return
        head = await chain.head()
        self._opened.add(chain.network)
        # Final, so that no reorg changes the opening balance; not older than state that every node still has.
        (start,) = await chain.blocks(*[max(min(head.final, head.block), head.block - OPENING_DEPTH, 0)] * 2)
        balances = [
            (address, symbol, await chain.balance(address, symbol, start.block))
            for address in sorted(self._addresses[chain.network])
            for symbol in chain.assets
        ]
        now = self._database.now_ms()
        row = {"network": chain.network, "first_block": start.block, "block": start.block}
        async with self._database.begin() as connection:
            new = await connection.execute(insert_ignore(connection, networks).returning(networks.c.network), [row])
            if new.first() is None:
                return  # another gateway was first
            await connection.execute(
                blocks.insert(), [{"network": chain.network, "block": start.block, "block_hash": start.block_hash}]
            )
            for address in sorted(self._addresses[chain.network]):
                held = {symbol: amount for owner, symbol, amount in balances if owner == address}
                await _open_account(connection, chain.network, address, held, now)
        log.info("watching %s from block %d", chain.network, start.block)

    async def adopt(self, chain: Chain, address: str, *, paid: bool) -> None:
        """Count a signing key's account among ours from here on, once: what it holds is capital, as at the opening.

        `paid`: transfers to it are payments too. Raises ChainUnavailableError, UnavailableError.
        """
        network = chain.network
        if network in self.missing:
            raise ChainUnavailableError(f"{network} was not reached since the gateway started.")
        async with self._looking[network]:
            while not await self._adopt(chain, address):
                pass
            self._addresses[network].add(address)
            if paid:
                chain.accept(address)

    async def _adopt(self, chain: Chain, address: str) -> bool:
        network = chain.network
        async with self._database.begin() as connection:
            cursor = await _cursor(connection, network)
            known = select(signers.c.address).where(signers.c.network == network, signers.c.address == address)
            counted = network in self._opened and address in self._addresses[network]
            if counted or (await connection.execute(known)).first() is not None:
                await connection.execute(insert_ignore(connection, signers), [_account(network, address)])
                return True
        assert cursor is not None  # noqa: S101 - the watch is open
        held = [(symbol, await chain.balance(address, symbol, cursor)) for symbol in chain.assets]
        now = self._database.now_ms()
        async with self._database.begin() as connection:
            locked = select(networks.c.block).where(networks.c.network == network).with_for_update()
            if (await connection.execute(locked)).scalar_one() != cursor:
                return False
            query = insert_ignore(connection, signers).returning(signers.c.address)
            if (await connection.execute(query, [_account(network, address)])).first() is not None:
                booked = await _arrived(connection, network, address, cursor)
                await _open_account(connection, network, address, {s: n - booked.get(s, 0) for s, n in held}, now)
        log.info("%s: %s is one of our accounts from block %d", network, address, cursor)
        return True

    async def accounts(self, network: str) -> list[str]:
        """Accounts of all keys that ever signed here."""
        async with self._database.begin() as connection:
            query = select(signers.c.address).where(signers.c.network == network)
            return list((await connection.execute(query)).scalars())

    async def step(self, chain: Chain) -> None:
        """Look once: bring the ledger up to the chain's head, through a reorg if there was one."""
        async with self._looking[chain.network]:
            await self._step(chain)

    async def _step(self, chain: Chain) -> None:
        head = await chain.head()
        while True:
            async with self._database.begin() as connection:
                cursor = await _cursor(connection, chain.network)
                known = await _hashes(connection, chain.network, KEEP_BLOCKS)
            if cursor is None:
                msg = f"no watch was opened for {chain.network}"
                raise RuntimeError(msg)
            if known and head.block < min(known):
                raise OtherChainError(f"{chain.network} is at block {head.block}, far below the ledger's {cursor}.")
            # A head below the cursor with a hash that we know is an endpoint that lags, not a reorg.
            forked = known.get(head.block, head.block_hash) != head.block_hash
            if cursor >= head.block and not forked:
                break
            found: Sequence[BlockTransfers] = ()
            if not forked:
                found = await chain.blocks(cursor + 1, min(cursor + chain.span, head.block))
                forked = known.get(cursor, found[0].parent_hash) != found[0].parent_hash
            ancestor = cursor
            if forked:
                ancestor = await self._ancestor(chain, known, min(cursor, head.block))
                found = (
                    await chain.blocks(ancestor + 1, min(ancestor + chain.span, head.block))
                    if ancestor < head.block
                    else ()
                )
                self.reorgs_by[chain.network] += 1
                log.warning("%s was reorganised above block %d", chain.network, ancestor)
            if not await self._apply(chain, cursor, ancestor, found):
                continue  # another gateway was faster
            if not found or found[-1].block >= head.block:
                break  # what came meanwhile is for the next look: a fast chain would keep this one for ever
            head = await chain.head()
        before = self.heads.get(chain.network, head.block)
        newer = chain.network not in self.heads or head.block > before
        if head.block > before:
            passed = head.block_time - self.head_times[chain.network]
            self.block_ms[chain.network] = max(0.0, passed / (head.block - before))
        self.heads[chain.network] = head.block
        self.finals[chain.network] = head.final
        self.head_times[chain.network] = head.block_time
        self.errors.pop(chain.network, None)
        if newer:
            came, self._came[chain.network] = self._came[chain.network], asyncio.Event()
            came.set()
            for told in self.on_block:
                told(chain.network)

    async def _ancestor(self, chain: Chain, known: Mapping[int, str], top: int) -> int:
        """The newest block that is in the ledger and still on the chain."""
        for block in sorted((each for each in known if each <= top), reverse=True):
            (canonical,) = await chain.blocks(block, block)
            if canonical.block_hash == known[block]:
                return block
        raise OtherChainError(f"{chain.network} differs from the ledger in all of its last {len(known)} blocks.")

    async def _apply(self, chain: Chain, cursor: int, ancestor: int, found: Sequence[BlockTransfers]) -> bool:
        """Write the canonical blocks above `ancestor`; False when the ledger has moved meanwhile."""
        network, now = chain.network, self._database.now_ms()
        canonical = {each.block: each.block_hash for each in found}
        last = found[-1].block if found else ancestor
        arrived = [transfer for each in found for transfer in each.transfers]
        async with self._database.begin() as connection:
            locked = select(networks.c.block).where(networks.c.network == network).with_for_update()
            if (await connection.execute(locked)).scalar_one() != cursor:
                return False
            await record(connection, arrived, now, grace_ms=self._grace_ms)
            stale = (
                select(transfers)
                .where(
                    transfers.c.network == network,
                    transfers.c.state != TransferState.ORPHANED,
                    transfers.c.block > ancestor,
                )
                .where(transfers.c.block <= max(last, cursor))
                .order_by(transfers.c.network, transfers.c.tx, transfers.c.idx)
                .with_for_update()
            )
            lost = [row for row in await connection.execute(stale) if canonical.get(row.block) != row.block_hash]
            ended = await orphan(connection, lost, now)
            await connection.execute(delete(blocks).where(blocks.c.network == network, blocks.c.block > ancestor))
            await connection.execute(
                delete(blocks).where(blocks.c.network == network, blocks.c.block < last - KEEP_BLOCKS)
            )
            if found:
                rows = [
                    {"network": network, "block": number, "block_hash": value} for number, value in canonical.items()
                ]
                await connection.execute(blocks.insert(), rows)
            await connection.execute(update(networks).where(networks.c.network == network).values(block=last))
        if ended and self.on_reorged:
            self.on_reorged(ended)
        if arrived:
            recorded = {transfer.tx for transfer in arrived}
            for told in self.on_recorded:
                told(network, recorded)
        return True


async def _canonical(connection: AsyncConnection, found: Sequence[Transfer]) -> list[Transfer]:
    """Those of blocks that the ledger has, or does not know yet. The watch waits until this transaction ends."""
    mine = {each.network for each in found}
    held = select(networks.c.network).where(networks.c.network.in_(mine)).order_by(networks.c.network)
    await connection.execute(held.with_for_update(read=True))
    numbers = blocks.c.network.in_(mine) & blocks.c.block.in_({each.block for each in found})
    query = select(*blocks.c["network", "block", "block_hash"]).where(numbers)
    known = {(row.network, row.block): row.block_hash for row in await connection.execute(query)}
    return [each for each in found if known.get((each.network, each.block), each.block_hash) == each.block_hash]


def _account(network: str, address: str) -> dict[str, object]:
    return {"network": network, "address": address, "lease_epoch": 0, "lease_until": 0, "paused": False}


async def _open_account(
    connection: AsyncConnection, network: str, address: str, held: Mapping[str, int], now: int
) -> None:
    """Book what an address holds, by asset, as the operator's."""
    entries = [
        move(*(("chain", "capital") if n > 0 else ("capital", "chain")), network, s, abs(n), "opening", subject, now)
        for subject in [f"{network}/{address}"]
        for s, n in held.items()
        if n
    ]
    if entries:
        await post(connection, entries)


async def _arrived(connection: AsyncConnection, network: str, address: str, block: int) -> dict[str, int]:
    """What is booked as arrived at an address up to a block, by asset."""
    query = select(transfers.c.asset, amount_sum(transfers.c.amount)).group_by(transfers.c.asset)
    query = query.where(transfers.c.network == network, transfers.c.recipient == address)
    query = query.where(transfers.c.block <= block, transfers.c.state != TransferState.ORPHANED)
    return {asset: total or 0 for asset, total in await connection.execute(query)}


async def _cursor(connection: AsyncConnection, network: str) -> int | None:
    return (await connection.execute(select(networks.c.block).where(networks.c.network == network))).scalar()


async def _hashes(connection: AsyncConnection, network: str, limit: int) -> dict[int, str]:
    query = select(blocks.c.block, blocks.c.block_hash).where(blocks.c.network == network)
    query = query.order_by(blocks.c.block.desc()).limit(limit)
    return {row.block: row.block_hash for row in await connection.execute(query)}
