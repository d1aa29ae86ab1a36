"""Asks a server for an offer. What passes here is safe to show and compare."""

from __future__ import annotations

import random
from typing import Final
from urllib.parse import urlsplit

import httpx
import msgspec

from ws402.client.errors import OfferError
from ws402.client.offers.base import Offer, Terms, same
from ws402.client.offers.evm import evm_offer
from ws402.client.offers.solana import solana_offer
from ws402.client.reading import CALL_SECONDS, TooLargeError, decode, read_answer
from ws402.client.target import Target, TopUp
from ws402.deadlines import nap, within
from ws402.errors import InvalidRequestError, UnavailableError
from ws402.money import MAX_JSON_INTEGER, AmountError, parse_amount
from ws402.prices import PriceError, price_of, read_written
from ws402.protocol import (
    LINK_REFUSALS,
    ErrorResponse,
    ResourceListing,
    SchemaResponse,
    SolanaPaymentDetails,
    stated_price,
)

ATTEMPTS: Final = 4
MAX_NAME: Final = 200
SALT_FRACTION: Final = 1000
"""A gateway may ask for a little more than price × time, to tell equal payments apart: at most 1/1000, and it is
credited like the rest."""


async def get_json(http: httpx.AsyncClient, url: str) -> bytes:
    """GET, at most 1 MiB within 30 s, with retries where repeating may help.

    Raises UnavailableError, InvalidRequestError; OfferError for an answer that is too large.
    """
    try:
        return await within(CALL_SECONDS, _get(http, url))
    except TimeoutError:
        raise UnavailableError(
            f"{urlsplit(url).netloc} has not answered in full within {CALL_SECONDS} s.", remedy="Try again later."
        ) from None


async def _get(http: httpx.AsyncClient, url: str) -> bytes:
    host = urlsplit(url).netloc
    problem = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            await nap(random.uniform(0, 0.3 * 2**attempt))  # noqa: S311 - spreads load, hides nothing
        try:
            answer = await read_answer(http, "GET", url)
        except TooLargeError as error:
            raise OfferError(f"{host} cannot be dealt with: {error}.", remedy="Tell its owner.") from error
        except httpx.HTTPError as error:
            problem = f"{host} does not answer ({type(error).__name__})"
            continue
        if answer.ok:
            return answer.body
        problem = f"{host} answers {answer.status}{_reason(answer.body)}"
        again = answer.status >= 500 or answer.status == httpx.codes.TOO_MANY_REQUESTS
        said = _error(answer.body)
        if not again and (said is None or said.code not in LINK_REFUSALS):
            raise InvalidRequestError(f"{problem}.", remedy="Check the address and the resource's name.")
    raise UnavailableError(f"{problem}.", remedy="Check the address, or try again later.")


async def find_resource(http: httpx.AsyncClient, target: Target) -> str:
    """The resource that the address names, or the only one that the server sells."""
    if target.resource_id:
        return target.resource_id
    body = await get_json(http, target.resources_url)
    try:
        listing = _listing(body)
    except msgspec.DecodeError as error:
        raise OfferError(f"{target.base} does not list its resources ({error}).") from error
    if len(listing) == 1:
        return listing[0].id
    names = ", ".join(each.id for each in listing[:20]) or "none"
    raise InvalidRequestError(
        f"{target.base} sells {len(listing)} resources: {names}.",
        remedy=f"Name one, such as {target.base}/#{listing[0].id if listing else 'resource'}.",
    )


def _listing(body: bytes) -> list[ResourceListing]:
    raw = decode(body, object)
    return msgspec.convert(raw.get("resources") if isinstance(raw, dict) else raw, list[ResourceListing])


async def fetch_offer(
    http: httpx.AsyncClient, target: Target, resource_id: str, duration: int, top_up: TopUp | None = None
) -> Offer:
    """Ask for an invoice and check it. Raises OfferError, UnavailableError, InvalidRequestError."""
    body = await get_json(http, target.schema_url(resource_id, duration, top_up))
    try:
        schema = decode(body, SchemaResponse)
    except msgspec.DecodeError as error:
        raise OfferError(f"The schema of '{resource_id}' cannot be read: {error}.") from error
    return check_schema(schema, resource_id, duration)


def check_schema(schema: SchemaResponse, resource_id: str, duration: int) -> Offer:
    """Turn a schema into an offer; every contradiction in it is refused, none is resolved. Raises OfferError."""
    details = schema.payment_details
    if schema.protocol != "ws402":
        raise OfferError(f"The server speaks '{schema.protocol}', not 'ws402'.")
    same("resource", schema.resource_id, resource_id)
    same("duration", schema.pricing.estimated_duration, duration)
    if not 0 <= details.expires_at <= MAX_JSON_INTEGER:
        raise OfferError("The schema's expiresAt is no time.")
    try:
        price = stated_price(schema.pricing.price_per_second, schema.pricing.price)
        amount = parse_amount(details.amount)
        invoiced = stated_price(details.price_per_second, details.price)
        if price is None or not (invoiced is None or invoiced.same(price)):
            raise OfferError("The schema's pricePerSecond is not the one of its invoice.")
        units = {unit: (schema.pricing.estimated_units or {}).get(unit, 0) for unit in price.units}
        most = price.quote(duration, units)
        if amount > most + most // SALT_FRACTION:
            raise OfferError(f"The server asks for {amount}, but {_words(duration, units)} cost {most}.")
        terms = Terms(
            resource_id=resource_id,
            socket_url=_socket(schema.websocket_endpoint),
            price=price,
            duration=duration,
            units=units,
            amount=amount,
            network=details.network,
            reference=details.reference,
            claim_token=details.claim_token,
            expires_at=details.expires_at,
            max_session_duration=schema.max_session_duration,
            name=schema.resource_info.name[:MAX_NAME] if schema.resource_info else resource_id,
            successions=tuple(details.successions or ()),
        )
        if isinstance(details, SolanaPaymentDetails):
            return _told(solana_offer(terms, details))
        return _told(evm_offer(terms, details))
    except (AmountError, PriceError) as error:
        raise OfferError(f"The schema has an impossible amount: {error.message}") from error


def _words(duration: int, units: dict[str, int]) -> str:
    return " and ".join([f"{duration} s", *(f"{count} {unit}" for unit, count in units.items())])


def _told(offer: Offer) -> Offer:
    """A price that reads otherwise than it charges is refused. Raises OfferError, PriceError."""
    price = offer.price
    if price.text:
        decimals = price.decimals if offer.decimals is None else offer.decimals
        if decimals is None or price.decimals not in (None, decimals):
            raise OfferError("The schema's price does not say for how many decimals it was counted.")
        written = read_written(price.text)
        if not price_of(written, decimals, price.text).same(price) or written[0].symbol != offer.symbol:
            raise OfferError(f"The schema's price reads '{price.text}', but charges something else.")
    return offer


def _socket(endpoint: str) -> str:
    parts = urlsplit(endpoint)
    if parts.scheme not in ("ws", "wss") or not parts.hostname or parts.username or parts.password:
        raise OfferError("The schema's websocketEndpoint is not the address of a socket.")
    return endpoint


def _error(body: bytes) -> ErrorResponse | None:
    try:
        return decode(body, ErrorResponse)
    except msgspec.DecodeError:
        return None


def _reason(body: bytes) -> str:
    """What a WS402 server says about an error, bounded: it is somebody else's text."""
    error = _error(body)
    if error is None:
        return ""
    text = " ".join(filter(None, (error.message, error.remedy)))
    return f": {text.rstrip('.')[:300]}"
