"""What a WS402 server asks for payments. Implementations: `proxy` (HTTP), `direct` (in process), `mock`."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from ws402.errors import WS402Error
from ws402.protocol import GenerateRequest, PaymentDetails, RefundRequest, RefundResponse, VerifyRequest, VerifyResponse
from ws402.protocol.service import PaymentCalls


class PaymentProvider(PaymentCalls, Protocol):
    """The calls of a payment service, repeated safely after a lost answer."""

    name: str
    """'proxy', 'direct' or 'mock', as `/status` shows it."""
    gateway_url: str | None

    async def start(self) -> None:
        """Open connections; does not fail when the gateway is away."""

    async def close(self) -> None:
        """Finish calls under way and close connections."""


class StockNames:
    """The names by which users of JavaScript `ws402` know the calls of a `PaymentProvider`; each is an alias."""

    async def generate_payment_details(self: PaymentCalls, request: GenerateRequest) -> PaymentDetails:
        """`generate`."""
        return await self.generate(request)

    async def request_payment_details(self: PaymentCalls, request: GenerateRequest) -> PaymentDetails:
        """`generate`."""
        return await self.generate(request)

    async def verify_payment(self: PaymentCalls, request: VerifyRequest) -> VerifyResponse:
        """`verify`."""
        return await self.verify(request)

    async def issue_refund(self: PaymentCalls, request: RefundRequest) -> RefundResponse:
        """`refund`."""
        return await self.refund(request)

    async def health_check(self: PaymentCalls) -> bool:
        """Whether `ready` raises nothing."""
        try:
            await self.ready()
        except WS402Error:
            return False
        return True

    async def get_gateway_info(self: PaymentCalls) -> dict[str, Any]:
        """`stats`, as a dictionary with the wire's names."""
        info: dict[str, Any] = msgspec.to_builtins(await self.stats())
        return info
