"""What the gateway collects, asked in the background: an unpaid request makes no call."""

from __future__ import annotations

import logging
from typing import Final

from ws402.errors import WS402Error
from ws402.jobs import Job
from ws402.protocol import TermsResponse
from ws402.provider.base import PaymentProvider

REFRESH_SECONDS: Final = 30.0
"""How often; a gateway that was away, or older, is asked again this much later."""

logger = logging.getLogger(__name__)


class Terms:
    """The newest terms. `current` is None until a gateway has told any, and for gateways that know of none."""

    def __init__(self, provider: PaymentProvider) -> None:
        self._provider = provider
        self.current: TermsResponse | None = None
        self.job = Job("x402 terms", self.refresh, REFRESH_SECONDS, delay=0)

    async def refresh(self) -> None:
        """Ask once. What was told before stays true while the gateway does not answer."""
        try:
            self.current = await self._provider.terms()
        except WS402Error as error:
            logger.debug("the gateway tells no x402 terms: %s", error.code)
