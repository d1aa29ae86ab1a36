"""What payers ask for besides the price: where a refund is, and how the checkout page of this server is set up."""

from __future__ import annotations

from functools import partial
from typing import Final

import msgspec
from litestar import Response, get, post
from litestar.handlers import HTTPRouteHandler

from ws402.errors import InvalidRequestError, NoSolanaError
from ws402.limits import PerMinute
from ws402.protocol import BlockhashResponse, InvoiceSecret
from ws402.server.addresses import group
from ws402.server.sessions.service import Sessions
from ws402.server.web.answers import AnyRequest, json
from ws402.server.web.callers import client_address
from ws402.server.web.qr import qr_handlers
from ws402.server.web.rates import FiatRates, Rates
from ws402.server.web.shared import Shared
from ws402.settings.networks import SOLANA_NETWORKS

CALLS_PER_MINUTE: Final = 240
WAITS_PER_MINUTE: Final = 600
"""Questions for payments that one address may ask in a minute: a page asks three, and is answered late."""
MAX_SECRET_BYTES: Final = 2048
BLOCKHASH_SECONDS: Final = 2.0
"""How long a blockhash (or that there is none) is given out again: it is good for a minute."""


class PageSettings(msgspec.Struct, rename="camel", omit_defaults=True):
    """GET /ws402/page: what the checkout page must know.

    `devRpcUrl` lets it pay from a development node's accounts, `devSolanaRpcUrl` from a key that it makes and funds.
    """

    dev_rpc_url: str | None = None
    dev_solana_rpc_url: str | None = None
    max_session_duration: int | None = None
    """Seconds."""
    fiat: FiatRates | None = None


class PaymentQuestion(InvoiceSecret, kw_only=True):
    """POST /ws402/payment: `wait` False wants an answer at once."""

    wait: bool = True


class CheckoutRoutes:
    """The routes of the checkout page; clients use the refund's too."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._rates = Rates(sessions.settings.checkout)
        self._asked = PerMinute(CALLS_PER_MINUTE)
        self._waited = PerMinute(WAITS_PER_MINUTE)
        self._blockhashes: dict[str | None, Shared[BlockhashResponse]] = {
            network: Shared(partial(sessions.provider.blockhash, network), BLOCKHASH_SECONDS)
            for network in (None, *SOLANA_NETWORKS)
        }

    def handlers(self) -> list[HTTPRouteHandler]:
        """The routes."""
        sessions, settings = self._sessions, self._sessions.settings

        @get("/ws402/refund/{refund_id:str}")
        async def refund(request: AnyRequest) -> Response[bytes]:
            # The id has 80 random bits that only the payer was told.
            self._asked.take(group(client_address(sessions.proxies, request.scope)))
            return json(await sessions.provider.refund_status(request.path_params["refund_id"]))

        @post("/ws402/payment", status_code=200)
        async def payment(request: AnyRequest) -> Response[bytes]:
            # The secret comes in the body: addresses are kept in logs and histories.
            self._waited.take(group(client_address(sessions.proxies, request.scope)))
            asked = await _question(request)
            arrivals = sessions.arrivals
            return json(await (arrivals.wait(asked) if asked.wait else arrivals.now(asked)))

        @get("/ws402/page")
        async def page(request: AnyRequest) -> Response[bytes]:
            self._asked.take(group(client_address(sessions.proxies, request.scope)))
            return json(
                PageSettings(
                    settings.dev_rpc_url,
                    settings.dev_solana_rpc_url,
                    settings.max_session_duration,
                    await self._rates.latest(),
                )
            )

        @get("/blockhash")
        async def blockhash(request: AnyRequest) -> Response[bytes]:
            self._asked.take(group(client_address(sessions.proxies, request.scope)))
            latest = self._blockhashes.get(request.query_params.get("network") or None)
            if latest is None:
                raise NoSolanaError(
                    "There is no such network of Solana.", remedy=f"Ask for one of {', '.join(SOLANA_NETWORKS)}."
                )
            return json(await latest())

        return [refund, payment, page, blockhash, *qr_handlers(sessions.proxies)]


async def _question(request: AnyRequest) -> PaymentQuestion:
    """The invoice that somebody waits for. Raises InvalidRequestError."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_SECRET_BYTES:
            break
    try:
        secret = _questions.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        secret = None
    if secret is None or not secret.reference or len(body) > MAX_SECRET_BYTES:
        raise InvalidRequestError(
            "The body is not an invoice's secret.",
            remedy='Send {"reference": …, "claimToken": …} as the payment details have them, within 2048 bytes.',
        )
    return secret


_questions: Final = msgspec.json.Decoder(PaymentQuestion)
