"""One turn of the watch beside those of other gateways, at endpoints that come and go, and for accounts that join."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest
from tests.gateway.machine.blocks import FLOAT, NETWORK, US
from tests.gateway.machine.chain import MemoryChain

from ws402.chains.base import BlockTransfers, Chain, ChainUnavailableError, Head
from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.entries import balances
from ws402.gateway.watch.other_chain import OtherChainError
from ws402.gateway.watch.watcher import Watcher

JOINED = "0x" + "22" * 20
HOLDS = 12


class BusyChain(MemoryChain):
    """`meanwhile`: by call, what happens before it is answered, once. `away`: nothing is answered."""

    def __init__(self, network: str = NETWORK) -> None:
        super().__init__()
        self.network = network
        self.away = False
        self.meanwhile: dict[str, Callable[[], Awaitable[object]]] = {}
        self.accepted: list[str] = []

    async def _happens(self, call: str) -> None:
        if (happens := self.meanwhile.pop(call, None)) is not None:
            await happens()

    async def head(self) -> Head:
        if self.away:
            raise ChainUnavailableError("no endpoint answers")
        return await super().head()

    async def blocks(self, first: int, last: int) -> Sequence[BlockTransfers]:
        await self._happens("blocks")
        return await super().blocks(first, last)

    async def balance(self, address: str, asset: str, block: int | None = None) -> int:
        await self._happens("balance")
        return await super().balance(address, asset, block) if address == US else HOLDS * (asset == "ETH")

    def accept(self, address: str) -> None:
        self.accepted.append(address)


def watcher(database: Database, *chains: BusyChain) -> Watcher:
    return Watcher(database, {each.network: each for each in chains}, {each.network: {US} for each in chains})


async def books(database: Database, network: str = NETWORK) -> dict[str, int]:
    async with database.read() as connection:
        found = await balances(connection)
    return {account: held for (account, of, asset), held in found.items() if (of, asset) == (network, "ETH") and held}


async def test_a_network_that_was_away_is_served_when_all_that_needs_it_is_ready(database: Database) -> None:
    here, other = BusyChain(), BusyChain("other")
    other.away = True
    watch = watcher(database, here, other)
    await watch.start()
    try:
        assert set(watch.missing) == {"other"}
        with pytest.raises(ChainUnavailableError, match="not reached since"):
            await watch.adopt(other, JOINED, paid=False)
        with pytest.raises(ChainUnavailableError):
            await watch._look(other)
        other.away, ready = False, False

        async def joined(chain: Chain) -> None:
            if not ready:
                raise ChainUnavailableError(f"{chain.network} is not ready")

        watch.on_joined.append(joined)
        with pytest.raises(ChainUnavailableError, match="not ready"):
            await watch._look(other)
        assert (set(watch.missing), watch.errors["other"]) == ({"other"}, "other is not ready")
        ready = True
        await watch._look(other)
        assert watch.missing == {}
        assert await books(database, "other") == {"chain": FLOAT, "capital": FLOAT}
    finally:
        await watch.close()


async def test_another_gateway_may_be_faster(database: Database) -> None:
    chain = BusyChain()
    one, two = watcher(database, chain), watcher(database, chain)
    chain.meanwhile["balance"] = lambda: two._open(chain)
    await one._open(chain)
    assert await books(database) == {"chain": FLOAT, "capital": FLOAT}
    chain.pay("0x" + "a1" * 20, "ETH", 300)
    chain.mine(3)
    chain.meanwhile["blocks"] = lambda: two.step(chain)
    await one.step(chain)
    assert await books(database) == {"chain": FLOAT + 300, "capital": FLOAT, "unclaimed": 300}
    assert one.heads == two.heads == {NETWORK: chain.height}


async def test_what_an_account_holds_that_joins_is_capital_once(database: Database) -> None:
    chain = BusyChain()
    one, two = watcher(database, chain), watcher(database, chain)
    await one._open(chain)
    chain.mine()

    async def passes_on() -> None:
        await two.step(chain)

    chain.meanwhile["balance"] = passes_on  # the block at which it was asked is not the newest any more
    await one.adopt(chain, JOINED, paid=True)
    await two.adopt(chain, JOINED, paid=False)
    await one.adopt(chain, JOINED, paid=True)
    assert await books(database) == {"chain": FLOAT + HOLDS, "capital": FLOAT + HOLDS}
    assert chain.accepted == [JOINED, JOINED]
    assert await one.accounts(NETWORK) == [JOINED]


async def test_a_ledger_of_another_chain_is_refused(database: Database) -> None:
    chain = BusyChain()
    chain.mine(200)
    watch = watcher(database, chain)
    with pytest.raises(RuntimeError, match="no watch was opened for memory"):
        await watch.step(chain)
    await watch._open(chain)
    await watch.step(chain)
    before = await books(database)
    chain.pay("0x" + "a1" * 20, "ETH", 300)
    chain.forget(lambda tx: False)
    with pytest.raises(ChainUnavailableError, match="differs from the ledger in all of its last"):
        await watch.step(chain)
    assert await books(database) == before


async def test_a_chain_that_was_reset_is_told_apart_from_one_that_lags(database: Database) -> None:
    chain = BusyChain()
    chain.mine(2000)
    watch = watcher(database, chain)
    await watch._open(chain)
    chain.mine(1200)
    await watch.step(chain)
    fresh = BusyChain()
    fresh.mine(3)
    again = watcher(database, fresh)
    with pytest.raises(OtherChainError, match="at block 9, far below the ledger's") as refused:
        await again.step(fresh)
    assert "delete the claim of the ledger's volume" in (refused.value.remedy or "")


async def test_a_block_is_waited_for_no_longer_than_asked(database: Database) -> None:
    chain = BusyChain()
    watch = watcher(database, chain)
    await watch._open(chain)
    await watch.step(chain)
    assert await watch.newer(NETWORK, chain.height - 1, 0)
    assert not await watch.newer(NETWORK, chain.height, 0)
    waiting = asyncio.create_task(watch.newer(NETWORK, chain.height, 30))
    await asyncio.sleep(0)
    chain.mine()
    await watch.step(chain)
    assert await waiting
