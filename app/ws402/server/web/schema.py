"""What things cost and how to pay: a resource's schema (with an invoice from the gateway) and the list of all."""

from __future__ import annotations

import logging
from typing import Final
from urllib.parse import quote

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from ws402.errors import CALLER_REFUSED, InvalidRequestError, NotFoundError, UnavailableError
from ws402.limits import PerMinute
from ws402.money import wire_amount
from ws402.prices import Price
from ws402.protocol import (
    VERSION,
    GenerateRequest,
    Pricing,
    ResourceInfo,
    ResourceListing,
    SchemaResponse,
    price_terms,
    stated_price,
)
from ws402.server.addresses import group
from ws402.server.resources.base import Resource
from ws402.server.sessions.service import Sessions
from ws402.server.web.answers import AnyRequest, json, packed_json
from ws402.server.web.callers import base_url, bearer, client_address
from ws402.server.web.currencies import Currencies
from ws402.settings import ResourceSettings

logger = logging.getLogger(__name__)

DEFAULT_SECONDS: Final = 300
LISTS_PER_MINUTE: Final = 600
"""Lists of what is sold that one address may have in a minute."""


class SchemaRoutes:
    """Everything with a price in it."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._settings = sessions.settings
        self._asked = PerMinute(sessions.settings.schema_per_minute)
        self._listed = PerMinute(LISTS_PER_MINUTE)
        self._currencies = Currencies(sessions.provider)
        self._symbols: dict[ResourceSettings, str] = {}
        """What the gateway asks to be paid in, where the settings do not say it."""

    def handlers(self) -> list[HTTPRouteHandler]:
        """The routes."""

        @get("/ws402/schema/{resource_id:str}")
        async def schema(request: AnyRequest) -> Response[bytes]:
            return json(await self._schema(request, request.path_params["resource_id"]))

        @get("/api/resources")
        async def resources(request: AnyRequest) -> Response[bytes]:
            self._listed.take(group(client_address(self._sessions.proxies, request.scope)))
            await self._currencies.refresh()
            listed = [self._listing(each.settings) for each in self._sessions.resources.values()]
            return packed_json(listed, request.headers.get("accept-encoding", ""))

        return [schema, resources]

    async def describe(self, request: AnyRequest, resource_id: str) -> SchemaResponse:
        """The schema with what the resource is."""
        answer = await self._schema(request, resource_id)
        settings = self.resource(resource_id).settings
        answer.resource_info = ResourceInfo(
            name=settings.name or settings.id, type=settings.kind, estimated_time=settings.estimated_seconds
        )
        return answer

    def resource(self, resource_id: str) -> Resource:
        """One by its id. Raises NotFoundError."""
        resource = self._sessions.resources.get(resource_id)
        if resource is None:
            raise NotFoundError("There is no such resource here.", remedy="GET /api/resources lists them.")
        return resource

    async def _schema(self, request: AnyRequest, resource_id: str) -> SchemaResponse:
        sessions = self._sessions
        settings = self.resource(resource_id).settings
        seconds = self._duration(request.query_params.get("duration"))
        self._asked.take(group(client_address(sessions.proxies, request.scope)))
        sessions.admission.check_room()
        price, units = settings.terms, settings.units(seconds)
        session_id, token = self._session(request)
        asked = GenerateRequest(
            amount=wire_amount(price.quote(seconds, units)),
            resource_id=settings.id,
            estimated_duration=seconds,
            network=settings.network,
            asset=settings.asset,
            price_per_second=wire_amount(price.per_second),
            price=None if price.plain else price_terms(price),
            estimated_units=units,
            session_id=session_id,
            resume_token=token,
            unique_amount=request.query_params.get("uniqueAmount") == "1" or None,
        )
        try:
            details = await sessions.provider.generate(asked)
        except CALLER_REFUSED as error:
            logger.warning("the gateway does not take this server: %s", error)
            told = "This server's payment gateway does not take it now."
            raise UnavailableError(told, remedy="Ask again; another server may answer.", code=error.code) from error
        invoiced = stated_price(details.price_per_second, details.price)
        if session_id is not None:
            price = invoiced or price
            units = {unit: (units or {}).get(unit, 0) for unit in price.units}
        elif not (price.whole if invoiced is None else invoiced.same(price)):
            raise UnavailableError("The gateway is too old for this price.", remedy="Upgrade the gateway first.")
        symbol = self._symbols[settings] = details.asset or details.currency
        base = self._settings.public_url or base_url(sessions.proxies, request.scope)
        return SchemaResponse(
            protocol="ws402",
            version=VERSION,
            resource_id=settings.id,
            websocket_endpoint=_websocket(base, settings.id),
            pricing=_pricing(price, seconds, units, symbol),
            payment_details=details,
            max_session_duration=self._settings.max_session_duration,
        )

    def _session(self, request: AnyRequest) -> tuple[str | None, str | None]:
        """The session that is to be topped up, if one is, and its token.

        A session keeps the price that it began with; the gateway knows it, and checks the token: the session may live
        on another server.
        """
        session_id = request.query_params.get("sessionId")
        if session_id is None:
            return None, None
        return session_id, request.query_params.get("token") or bearer(request.scope) or ""

    def _duration(self, text: str | None) -> int:
        if text is None:
            return min(DEFAULT_SECONDS, self._settings.max_session_duration)
        longest = self._settings.max_session_duration
        if not (text.isascii() and text.isdigit()) or len(text) > 9 or not 1 <= int(text) <= longest:
            raise InvalidRequestError(
                f"'duration' is not a whole number of seconds from 1 to {longest}.",
                remedy=f"Ask for at most {longest} seconds; top the session up, or open another, for more.",
            )
        return int(text)

    def _listing(self, settings: ResourceSettings) -> ResourceListing:
        paid_in = self._currencies.of(settings)
        symbol = settings.asset or (paid_in.asset if paid_in else self._symbols.get(settings, ""))
        return ResourceListing(
            id=settings.id,
            name=settings.name or settings.id,
            type=settings.kind,
            pricing=_pricing(settings.terms, settings.estimated_seconds, settings.use or None, symbol),
            network=paid_in.network if paid_in else settings.network,
            decimals=paid_in.decimals if paid_in else None,
        )


def _pricing(price: Price, seconds: int, units: dict[str, int] | None, currency: str) -> Pricing:
    return Pricing(
        price_per_second=wire_amount(price.per_second),
        currency=currency,
        estimated_duration=seconds,
        total_price=wire_amount(price.quote(seconds, units)),
        estimated_units=units if price.units else None,
        price=None if price.plain else price_terms(price),
    )


def _websocket(base: str, resource_id: str) -> str:
    """Clients add `?userId=…&resourceId=…` themselves; one that adds nothing still names the resource by the path."""
    return f"ws{base.removeprefix('http').rstrip('/')}/{quote(resource_id)}"
