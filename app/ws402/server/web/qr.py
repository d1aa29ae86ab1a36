"""QR codes of payment links, drawn here so that the page needs nobody else."""

from __future__ import annotations

import io
from typing import Final

import segno
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from ws402.errors import InvalidRequestError
from ws402.server.web.answers import AnyRequest

MAX_TEXT: Final = 512
SCHEMES: Final = ("ethereum:", "solana:")
"""Payment links (EIP-681, Solana Pay) and nothing else: this is no drawing service."""


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


def qr_handlers() -> list[HTTPRouteHandler]:
    """GET /ws402/qr.svg?text=ethereum:…"""

    @get("/ws402/qr.svg", sync_to_thread=True)
    def qr(request: AnyRequest) -> Response[bytes]:
        return Response(
            qr_svg(request.query_params.get("text", "")),
            media_type="image/svg+xml",
            headers={
                "cache-control": "no-store",
                "x-content-type-options": "nosniff",
                "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'",
            },
        )

    return [qr]
