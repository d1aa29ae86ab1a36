"""What things are paid in, before anybody asks for an invoice: the settings say it, or the gateway's own defaults."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from ws402.errors import WS402Error
from ws402.protocol import AssetInfo, StatsResponse
from ws402.provider.base import PaymentProvider
from ws402.server.web.shared import Shared
from ws402.settings import ResourceSettings

KEPT_SECONDS: Final = 60.0
"""How long what the gateway said is good."""

ASK_SECONDS: Final = 3.0
"""How long a list waits for a gateway that is slow; then it tells what was known before."""

logger = logging.getLogger(__name__)


class Currencies:
    """Those of one server's resources."""

    def __init__(self, provider: PaymentProvider) -> None:
        self._ask = Shared(provider.stats, KEPT_SECONDS)
        self._known: StatsResponse | None = None

    async def refresh(self) -> None:
        """Ask the gateway if that is due; what it said last is kept while it is away."""
        try:
            async with asyncio.timeout(ASK_SECONDS):
                self._known = await self._ask()
        except (WS402Error, TimeoutError) as error:
            logger.debug("the gateway does not say what it takes: %s", error)

    def of(self, settings: ResourceSettings) -> AssetInfo | None:
        """What an invoice for this resource will ask for; None when that is not known."""
        known = self._known
        if known is None or not known.assets:
            return None
        network = settings.network or known.network
        symbol = settings.asset or (known.default_asset if settings.network is None else None)
        return next(
            (
                each
                for each in known.assets
                if each.network == network and (each.asset == symbol if symbol else each.native)
            ),
            None,
        )
