"""What chains over a pool of endpoints have in common, whatever their blocks look like."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TypeVar

from ws402.chains.base import ChainUnavailableError
from ws402.chains.rpc.endpoint import Endpoint
from ws402.chains.rpc.pool import Pool, guarded
from ws402.chains.rpc.replies import ReplyError
from ws402.errors import ConfigurationError
from ws402.money import Asset
from ws402.settings import EvmNetworkSettings, SolanaNetworkSettings

T = TypeVar("T")


class RpcChain:
    """Asks one endpoint, or two that must agree where `agree_above` says so."""

    network: str
    _pool: Pool
    _agree_above: Mapping[str, int]

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
