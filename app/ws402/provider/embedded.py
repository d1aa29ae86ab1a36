"""A gateway inside a WS402 server's process (`PROVIDER=direct`): started and closed with the server, no HTTP."""

from __future__ import annotations

from ws402.gateway.run.gateway import build
from ws402.provider.direct import DirectPaymentProvider
from ws402.settings import GatewaySettings, load


class EmbeddedPaymentProvider(DirectPaymentProvider):
    """Owns its gateway, unlike `DirectPaymentProvider`."""

    def __init__(self, settings: GatewaySettings | None = None, tenant: str = "default") -> None:
        self.gateway = build(settings or load(GatewaySettings))
        super().__init__(self.gateway.service, tenant)

    async def start(self) -> None:
        """Start the gateway. Raises ConfigurationError."""
        await self.gateway.start(http=False)

    async def close(self) -> None:
        """Close the gateway."""
        await self.gateway.close()
