"""The OpenAPI 3.1 document of a server's HTTP API, from the wire's own types."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from ws402.protocol import (
    BlockhashResponse,
    PaymentStatus,
    RefundStatusResponse,
    ResourceListing,
    SchemaResponse,
    StatusResponse,
    openapi,
)
from ws402.protocol.openapi import Operation
from ws402.server.web.answers import json
from ws402.server.web.checkout import PageSettings, PaymentQuestion
from ws402.server.web.status import GatewayHealth, Probe


class SchemaQuery(msgspec.Struct, rename="camel", kw_only=True):
    """What a price is asked for: seconds, or more of them for a session that goes on."""

    duration: Annotated[int, msgspec.Meta(ge=1, le=999_999_999, description="Seconds.")] | None = None
    unique_amount: Annotated[str, msgspec.Meta(pattern="^1$", description="1: an amount of its own.")] | None = None
    session_id: Annotated[str, msgspec.Meta(description="A session that is topped up.")] | None = None
    token: Annotated[str, msgspec.Meta(description="Its resume token.")] | None = None


class NetworkQuery(msgspec.Struct, kw_only=True):
    """Of which network."""

    network: Annotated[str, msgspec.Meta(description="Such as `solana`; the first by default.")] | None = None


class LinkQuery(msgspec.Struct, kw_only=True):
    """What a code shows."""

    text: Annotated[str, msgspec.Meta(description="A payment link.")]


OPERATIONS: Final = (
    Operation(
        "/ws402/schema/{resourceId}",
        "Price and payment details: a new invoice",
        answer=SchemaResponse,
        query=SchemaQuery,
        scope=None,
        refusals=(403, 404, 409, 429, 500, 503),
    ),
    Operation("/api/resources", "What is sold", answer=list[ResourceListing], scope=None, refusals=(429, 500, 503)),
    Operation(
        "/ws402/refund/{refundId}",
        "Where a refund is",
        answer=RefundStatusResponse,
        scope=None,
        refusals=(404, 429, 500, 503),
    ),
    Operation(
        "/ws402/payment",
        "Whether an invoice's payment has arrived",
        PaymentQuestion,
        PaymentStatus,
        scope=None,
        refusals=(400, 404, 429, 500, 503),
    ),
    Operation("/ws402/page", "What the checkout page must know", answer=PageSettings, scope=None, refusals=(429, 500)),
    Operation(
        "/blockhash",
        "A recent blockhash of Solana",
        answer=BlockhashResponse,
        query=NetworkQuery,
        scope=None,
        refusals=(429, 500, 501, 503),
    ),
    Operation(
        "/ws402/qr.svg",
        "The code of a payment link",
        query=LinkQuery,
        scope=None,
        refusals=(429, 500),
        kind="image/svg+xml",
    ),
    Operation("/status", "Live sessions", answer=StatusResponse, scope="status", refusals=(401, 403, 429, 500)),
    Operation(
        "/gateway-health",
        "Whether the gateway answers",
        answer=GatewayHealth,
        scope=None,
        refusals=(500,),
        other={503: GatewayHealth},
    ),
    *(
        Operation(
            f"/health/{name}", about, answer=Probe, scope=None, refusals=(500,), other={503: Probe} if later else None
        )
        for name, about, later in (
            ("live", "Liveness: the process answers", False),
            ("startup", "Startup: it has come up", True),
            ("ready", "Readiness: it takes new sessions", True),
        )
    ),
)
"""Besides these: resources below `/api/resource/`, whatever they are, and x402's calls (docs/x402.md)."""


def document() -> dict[str, Any]:
    """Build it."""
    return openapi.document("WS402 server", openapi.AMOUNTS, OPERATIONS, key="STATUS_KEY, for /status only.")


def openapi_handlers() -> list[HTTPRouteHandler]:
    """GET /openapi.json: for everybody, as what it describes."""

    @get("/openapi.json")
    async def described() -> Response[bytes]:
        return json(document())

    return [described]
