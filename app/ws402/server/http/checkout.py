"""What payers ask for besides the price: where a refund is, and how the checkout page of this server is set up."""

from __future__ import annotations

from typing import Final

import msgspec
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from ws402.server.addresses import PerMinute, group
from ws402.server.http.answers import AnyRequest, json
from ws402.server.http.callers import client_address
from ws402.server.qr import qr_handlers
from ws402.server.sessions import Sessions

REFUNDS_PER_MINUTE: Final = 240


class PageSettings(msgspec.Struct, rename="camel", omit_defaults=True):
    """GET /ws402/page: what the checkout page must know. `devRpcUrl` lets it pay from a development node's accounts."""

    dev_rpc_url: str | None = None


class CheckoutRoutes:
    """The routes of the checkout page; clients use the refund's too."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._asked = PerMinute(REFUNDS_PER_MINUTE)

    def handlers(self) -> list[HTTPRouteHandler]:
        """The routes."""
        sessions = self._sessions

        @get("/ws402/refund/{refund_id:str}")
        async def refund(request: AnyRequest) -> Response[bytes]:
            # The id is 96 random bits that only the payer was told.
            self._asked.take(group(client_address(sessions.proxies, request.scope)))
            return json(await sessions.provider.refund_status(request.path_params["refund_id"]))

        @get("/ws402/page")
        async def page() -> Response[bytes]:
            return json(PageSettings(dev_rpc_url=sessions.settings.dev_rpc_url))

        return [refund, page, *qr_handlers()]
