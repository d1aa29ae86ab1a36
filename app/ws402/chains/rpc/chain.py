"""What chains over a pool of endpoints have in common, whatever their blocks look like."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import Final, Protocol, TypeVar

import msgspec

from ws402.chains.base import (
    BlockTransfers,
    ChainUnavailableError,
    EndpointState,
    Head,
    Sent,
    TransferLookup,
    TxState,
    TxStatus,
)
from ws402.chains.rpc.endpoint import Endpoint
from ws402.chains.rpc.heads import Heads
from ws402.chains.rpc.pool import Pool, guarded
from ws402.chains.rpc.replies import Dialect, ReplyError
from ws402.errors import ConfigurationError
from ws402.money import Asset
from ws402.settings import EvmNetworkSettings, SolanaNetworkSettings

T = TypeVar("T")


NetworkSettings = EvmNetworkSettings | SolanaNetworkSettings

RANK: Final = {TxState.UNKNOWN: 0, TxState.PENDING: 1}
"""How much an endpoint knows of a transaction; 2 when it is in a block."""


class Reads(Protocol):
    """What a kind of chain reads from one endpoint, so that all parts of an answer are of one view.

    Each raises EndpointError for what another endpoint may do better.
    """

    async def head(self, endpoint: Endpoint) -> Head:
        """The newest and the newest final block."""

    async def blocks(self, endpoint: Endpoint, first: int, last: int) -> Sequence[BlockTransfers]:
        """Blocks in order with their transfers to us."""

    async def sends(self, endpoint: Endpoint, senders: Collection[str], first: int, last: int) -> Sequence[Sent]:
        """What accounts of ours sent in these blocks, oldest first."""

    async def lookup(self, endpoint: Endpoint, tx: str) -> TransferLookup:
        """Everything that a transaction paid us."""

    async def states(self, endpoint: Endpoint, txs: Sequence[str]) -> list[TxState]:
        """Where transactions stand: UNKNOWN, PENDING or INCLUDED."""

    async def status(self, endpoint: Endpoint, tx: str) -> tuple[TxStatus, str, int]:
        """Where a transaction of ours stands, and the asset and amount that it is about."""


class RpcChain:
    """Asks one endpoint, or two that must agree where `agree_above` says so.

    What strangers make it ask has connections of its own: however many proofs wait, watching and refunds go on.
    """

    assets: dict[str, Asset]
    _reader: Reads

    def __init__(self, settings: NetworkSettings, dialect: Dialect, lag: int) -> None:
        """`lag`: an endpoint more than this many blocks behind the others is asked last. Raises ConfigurationError."""
        self.network = settings.network
        self.poll_seconds = settings.poll_seconds
        self.reserve = 0
        self._agree_above = settings.agree_above
        self._heads = Heads(settings.network, lag)
        self._started = False
        urls = [each.get_secret_value() for each in settings.rpc]
        proxy = settings.proxy.get_secret_value() if settings.proxy is not None else None
        # Each with its own view of which endpoint fails: an overload of look-ups is no fault for the watch.
        self._pool, self._strangers = (
            Pool(self.network, urls, dialect, settings.rpc_timeout_seconds, heads=self._heads, proxy=proxy)
            for _ in range(2)
        )

    # --- Life --------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """See `Chain.start`."""
        await self._pool.verify(every=True)
        await self.head()
        await self._prepare()
        self._started = True

    async def _prepare(self) -> None:
        """Check and learn what else the chain must be asked for at the start."""

    async def close(self) -> None:
        """See `Chain.close`."""
        await self._pool.close()
        await self._strangers.close()

    async def check(self) -> None:
        """See `Chain.check`."""
        for pool in (self._pool, self._strangers):
            await pool.verify(every=False)

    def endpoints(self) -> list[EndpointState]:
        """See `Chain.endpoints`."""
        behind = self._heads.behind
        return [
            EndpointState(
                name=each.name,
                resting=each.rest > 0,
                behind=behind.get(each.name, 0),
                lagging=self._heads.lags(each.name),
            )
            for each in self._pool.endpoints
        ]

    # --- Payments ----------------------------------------------------------------------------------------------------

    async def head(self) -> Head:
        """See `Chain.head`."""
        return await self._pool.newest(guarded(self._reader.head), lambda head: head.block)

    async def blocks(self, first: int, last: int) -> Sequence[BlockTransfers]:
        """See `Chain.blocks`."""
        return await self._read(lambda endpoint: self._reader.blocks(endpoint, first, last))

    async def sends(self, senders: Collection[str], first: int, last: int) -> Sequence[Sent]:
        """See `Chain.sends`."""
        return await self._read(lambda endpoint: self._reader.sends(endpoint, senders, first, last))

    async def lookup(self, tx: str, *, amount: int = 0) -> TransferLookup:
        """See `Chain.lookup`. `amount` above the limit of any asset in question makes two endpoints agree."""
        self._must_have_started()

        async def work(endpoint: Endpoint) -> TransferLookup:
            return await self._reader.lookup(endpoint, tx)

        found = await self._strangers.search(guarded(work), lambda answer: RANK.get(answer.state, 2), 2)
        sums = [(each.asset, max(amount, each.amount)) for each in found.transfers]
        if not any(self._large(asset, worth) for asset, worth in sums or [(asset, amount) for asset in self.assets]):
            return found

        async def comparable(endpoint: Endpoint) -> TransferLookup:
            answer = await work(endpoint)
            # One endpoint may know of a block's finality before the other.
            final = answer.state is TxState.FINAL
            return msgspec.structs.replace(answer, state=TxState.INCLUDED) if final else answer

        return await self._strangers.agree(guarded(comparable))

    async def states(self, txs: Sequence[str]) -> list[TxState]:
        """See `Chain.states`."""
        self._must_have_started()
        return await states_by(self._strangers, self._reader, txs)

    def _must_have_started(self) -> None:
        if not self._started:
            raise ChainUnavailableError(f"{self.network} was not reached since the gateway started.")

    async def _standing(self, tx: str) -> TxStatus:
        """Where a transaction of ours stands; nothing is final that only one endpoint says of a large sum."""

        async def work(endpoint: Endpoint) -> tuple[TxStatus, str, int]:
            return await self._reader.status(endpoint, tx)

        status, asset, amount = await self._pool.search(guarded(work), lambda answer: RANK.get(answer[0].state, 2), 2)
        if not status.final or not self._large(asset, amount):
            return status
        try:
            status, _, _ = await self._agreed(work)
        except ChainUnavailableError:
            waiting = TxState.INCLUDED if status.state is TxState.FINAL else status.state
            return msgspec.structs.replace(status, state=waiting, final=False)
        return status

    # --- Ways of asking ----------------------------------------------------------------------------------------------

    def _large(self, asset: str, amount: int) -> bool:
        limit = self._agree_above.get(asset)
        return limit is not None and amount > limit

    async def _read(self, work: Callable[[Endpoint], Awaitable[T]]) -> T:
        return await self._pool.run(guarded(work))

    async def _agreed(self, work: Callable[[Endpoint], Awaitable[T]]) -> T:
        return await self._pool.agree(guarded(work))

    async def _sure(self, call: Awaitable[T]) -> T:
        """A call that no honest node refuses."""
        try:
            return await call
        except ReplyError as error:
            raise ChainUnavailableError(f"{self.network} answered with an error: {error.message}.") from error


async def states_by(pool: Pool, reader: Reads, txs: Sequence[str]) -> list[TxState]:
    """Where transactions stand. What one endpoint does not know is asked of all others: it may have fallen behind."""

    def about(wanted: Sequence[str]) -> Callable[[Endpoint], Awaitable[list[TxState]]]:
        async def work(endpoint: Endpoint) -> list[TxState]:
            return await reader.states(endpoint, wanted)

        return guarded(work)

    known = await pool.run(about(txs))
    missing = [tx for tx, state in zip(txs, known, strict=True) if state is TxState.UNKNOWN]
    if not missing or len(pool.endpoints) == 1:
        return known
    found = await pool.search(about(missing), _known, len(missing))
    better = dict(zip(missing, found, strict=True))
    return [better.get(tx, state) for tx, state in zip(txs, known, strict=True)]


def _known(states: Sequence[TxState]) -> int:
    return sum(state is not TxState.UNKNOWN for state in states)


def assets_of(
    settings: EvmNetworkSettings | SolanaNetworkSettings, native: Asset, tokens: Iterable[Asset], noun: str
) -> dict[str, Asset]:
    """The assets of a network by symbol. `noun`: what a token's address is called there. Raises ConfigurationError."""
    assets = {native.symbol: native}
    for token in tokens:
        if token.symbol in assets:
            raise ConfigurationError(
                f"{settings.network} has two assets named {token.symbol}.", remedy="Give each its own symbol."
            )
        if any(each.contract == token.contract for each in assets.values()):
            raise ConfigurationError(
                f"{settings.network} lists the {noun} {token.contract} twice.", remedy="Remove one."
            )
        assets[token.symbol] = token
    unknown = sorted({*settings.large_above, *settings.agree_above} - set(assets))
    if unknown:
        raise ConfigurationError(
            f"{settings.network} has limits for unknown assets: {', '.join(unknown)}.", remedy="Check the spelling."
        )
    if settings.agree_above and len({each.get_secret_value() for each in settings.rpc}) < 2:
        raise ConfigurationError(
            f"{settings.network}: agree_above needs two RPC endpoints.", remedy="Add another provider's, or unset it."
        )
    return assets
