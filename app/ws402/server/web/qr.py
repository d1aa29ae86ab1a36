"""QR codes of payment links, drawn here so that the page needs nobody else."""

from __future__ import annotations

import asyncio
import io
from functools import lru_cache
from typing import Final

import segno
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from ws402.errors import InvalidRequestError
from ws402.limits import PerMinute
from ws402.server.addresses import TrustedProxies, group
from ws402.server.web.answers import AnyRequest
from ws402.server.web.callers import client_address

MAX_TEXT: Final = 512
KEPT: Final = 256
"""Codes that are kept drawn: one takes some 40 ms of the core that meters the sessions."""
DRAWN_PER_MINUTE: Final = 60
"""Codes that one address may have drawn in a minute."""
SCHEMES: Final = ("ethereum:", "solana:")
"""Payment links (EIP-681, Solana Pay) and nothing else: this is no drawing service."""


@lru_cache(maxsize=KEPT)
def qr_svg(text: str) -> bytes:
    """The SVG of a payment link. Raises InvalidRequestError."""
    if not text.startswith(SCHEMES) or len(text) > MAX_TEXT or not text.isascii() or not text.isprintable():
        raise InvalidRequestError(
            f"'text' is not a payment link of at most {MAX_TEXT} characters.",
            remedy=f"Send one that begins with {' or '.join(SCHEMES)}",
        )
    drawn = io.BytesIO()
    code = segno.make_qr(text, error="m")
    # Dark on white in every colour scheme: many wallets cannot read the inverse.
    code.save(
        drawn, kind="svg", border=3, dark="#000", light="#fff", omitsize=True, xmldecl=False, title="Payment link"
    )
    return drawn.getvalue()


def qr_handlers(proxies: TrustedProxies) -> list[HTTPRouteHandler]:
    """GET /ws402/qr.svg?text=ethereum:…"""
    asked = PerMinute(DRAWN_PER_MINUTE)

    @get("/ws402/qr.svg")
    async def qr(request: AnyRequest) -> Response[bytes]:
        asked.take(group(client_address(proxies, request.scope)))
        return Response(
            await asyncio.to_thread(qr_svg, request.query_params.get("text", "")),
            media_type="image/svg+xml",
            headers={
                "cache-control": "no-store",
                "x-content-type-options": "nosniff",
                "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'",
            },
        )

    return [qr]
