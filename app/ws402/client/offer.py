"""An offer: the schema of a resource, read and checked against itself. What passes here is safe to show and compare."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from hashlib import sha256
from typing import Final
from urllib.parse import parse_qsl, urlsplit

import httpx
import msgspec

from ws402.client.errors import OfferError
from ws402.client.target import Target, TopUp
from ws402.errors import InvalidRequestError, UnavailableError
from ws402.money import AmountError, from_decimal, parse_amount
from ws402.protocol import ErrorResponse, EvmPaymentDetails, ResourceListing, SchemaResponse, SolanaPaymentDetails
from ws402.settings import EVM_CHAIN_IDS

ATTEMPTS: Final = 4
SALT_FRACTION: Final = 1000
"""A gateway may ask for a little more than price × time, to tell equal payments apart: at most 1/1000, and it is
credited like the rest."""
NATIVE_DECIMALS: Final = 18
_TRANSFER_SELECTOR: Final = "a9059cbb"


@dataclass(frozen=True, slots=True)
class Offer:
    """What to pay, to whom and for what. Amounts are smallest units; times milliseconds since the epoch."""

    resource_id: str
    socket_url: str
    price_per_second: int
    duration: int
    """Seconds."""
    amount: int
    network: str
    chain_id: int
    recipient: str
    token: str | None
    """Token contract, lower case; None for the network's own coin."""
    symbol: str
    decimals: int | None
    """Decimal places as the server says; None when it does not. For showing only."""
    data: str
    """Calldata of the payment, with 0x."""
    to: str
    """Where the transaction goes: the recipient, or the token's contract."""
    value: int
    """Wei that the transaction carries."""
    reference: str
    claim_token: str | None
    wants_signature: bool
    expires_at: int
    max_session_duration: int
    name: str


async def get_json(http: httpx.AsyncClient, url: str) -> bytes:
    """GET with retries where repeating may help. Raises UnavailableError, InvalidRequestError."""
    problem = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            await asyncio.sleep(random.uniform(0, 0.3 * 2**attempt))  # noqa: S311 - spreads load, hides nothing
        try:
            answer = await http.get(url)
        except httpx.TransportError as error:
            problem = f"{urlsplit(url).netloc} does not answer ({type(error).__name__})"
            continue
        if answer.is_success:
            return answer.content
        problem = f"{urlsplit(url).netloc} answers {answer.status_code}{_reason(answer.content)}"
        if answer.status_code < 500 and answer.status_code != httpx.codes.TOO_MANY_REQUESTS:
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
    raw = msgspec.json.decode(body)
    return msgspec.convert(raw["resources"] if isinstance(raw, dict) else raw, list[ResourceListing])


async def fetch_offer(
    http: httpx.AsyncClient, target: Target, resource_id: str, duration: int, top_up: TopUp | None = None
) -> Offer:
    """Ask for an invoice and check it. Raises OfferError, UnavailableError, InvalidRequestError."""
    body = await get_json(http, target.schema_url(resource_id, duration, top_up))
    try:
        schema = msgspec.json.decode(body, type=SchemaResponse)
    except msgspec.DecodeError as error:
        raise OfferError(f"The schema of '{resource_id}' cannot be read: {error}.") from error
    return check_schema(schema, resource_id, duration)


def check_schema(schema: SchemaResponse, resource_id: str, duration: int) -> Offer:
    """Turn a schema into an offer; every contradiction in it is refused, none is resolved. Raises OfferError."""
    details = schema.payment_details
    if isinstance(details, SolanaPaymentDetails):
        raise OfferError("The resource is paid on Solana, which this client cannot do.", code="unsupported_network")
    if schema.protocol != "ws402":
        raise OfferError(f"The server speaks '{schema.protocol}', not 'ws402'.")
    _same("resource", schema.resource_id, resource_id)
    _same("duration", schema.pricing.estimated_duration, duration)
    try:
        price = parse_amount(schema.pricing.price_per_second, field="pricePerSecond")
        amount = parse_amount(details.amount)
        _same("amountWei", parse_amount(details.amount_wei), amount)
        if details.price_per_second is not None:
            _same("pricePerSecond", parse_amount(details.price_per_second), price)
        _check_decimal(details, amount)
    except AmountError as error:
        raise OfferError(f"The schema has an impossible amount: {error.message}") from error
    most = price * duration
    if amount > most + most // SALT_FRACTION:
        raise OfferError(f"The server asks for {amount}, but {duration} s at {price} a second cost {most}.")
    if EVM_CHAIN_IDS.get(details.network, details.chain_id) != details.chain_id:
        raise OfferError(f"Network '{details.network}' does not have the chain id {details.chain_id}.")
    recipient = _address("recipient", details.recipient)
    token = _token(details)
    tag = _tag(details, recipient, token, amount)
    call = _TRANSFER_SELECTOR + recipient[2:].rjust(64, "0") + f"{amount:064x}" if token else ""
    _check_link(details, recipient, token, amount, tag)
    return Offer(
        resource_id=resource_id,
        socket_url=_socket(schema.websocket_endpoint),
        price_per_second=price,
        duration=duration,
        amount=amount,
        network=details.network,
        chain_id=details.chain_id,
        recipient=recipient,
        token=token,
        symbol=details.asset or details.currency,
        decimals=details.decimals if token else NATIVE_DECIMALS,
        data="0x" + call + tag,
        to=token or recipient,
        value=0 if token else amount,
        reference=details.reference,
        claim_token=details.claim_token,
        wants_signature=not tag or "tag" not in (details.binding or ["tag"]),
        expires_at=details.expires_at,
        max_session_duration=schema.max_session_duration,
        name=schema.resource_info.name if schema.resource_info else resource_id,
    )


def is_address(text: str) -> bool:
    """Whether this is an EVM address, in any case."""
    return len(text) == 42 and text.startswith("0x") and all(each in "0123456789abcdefABCDEF" for each in text[2:])


def _same(what: str, got: object, wanted: object) -> None:
    if got != wanted:
        raise OfferError(f"The schema's {what} is {got!r}, not {wanted!r} as it must be.")


def _address(what: str, text: str) -> str:
    """Lower case. A mixed-case spelling's checksum (EIP-55) is not checked: all addresses here come by program."""
    if not is_address(text):
        raise OfferError(f"The schema's {what} is not an EVM address.")
    if int(text, 16) == 0:
        raise OfferError(f"The schema's {what} is the zero address.")
    return text.lower()


def _token(details: EvmPaymentDetails) -> str | None:
    if details.currency == "ERC20" or details.token_address:
        if not details.token_address or details.currency == "ETH":
            raise OfferError(f"The schema says currency '{details.currency}' and token '{details.token_address}'.")
        return _address("tokenAddress", details.token_address)
    if details.currency != "ETH":
        raise OfferError(f"The schema's currency '{details.currency}' is neither 'ETH' nor 'ERC20'.")
    return None


def _check_decimal(details: EvmPaymentDetails, amount: int) -> None:
    """The amount in whole coins must be the same amount, or a person would see another than is paid."""
    decimals = details.decimals if details.decimals is not None else None if details.token_address else NATIVE_DECIMALS
    if decimals is not None:
        if not 0 <= decimals <= 77:
            raise OfferError(f"The schema's decimals are {decimals}.")
        _same("amountETH in smallest units", from_decimal(details.amount_eth, decimals), amount)


def _tag(details: EvmPaymentDetails, recipient: str, token: str | None, amount: int) -> str:
    """Hex of the 32 bytes that tie the payment to the invoice, or '' (stock gateways).

    They must be the reference's hash: free calldata could call a function of whatever contract the 'recipient' is.
    """
    if not details.data or details.data == "0x":
        return ""
    data = details.data.removeprefix("0x").lower()
    if token:
        data = data.removeprefix(_TRANSFER_SELECTOR + recipient[2:].rjust(64, "0") + f"{amount:064x}")
    if data and data != sha256(details.reference.encode()).hexdigest():
        raise OfferError("The schema's calldata is not the hash of its reference.")
    return data


def _check_link(details: EvmPaymentDetails, recipient: str, token: str | None, amount: int, tag: str) -> None:
    """The EIP-681 link, which people pay by QR, must ask for exactly what the details ask for."""
    if not details.eip681:
        return
    scheme, _, rest = details.eip681.partition(":")
    path, _, query = rest.partition("?")
    address, _, function = path.partition("/")
    address, _, chain = address.removeprefix("pay-").partition("@")
    fields = [(name, value.lower()) for name, value in parse_qsl(query, keep_blank_values=True)]
    wanted = {"address": recipient, "uint256": str(amount)} if token else {"value": str(amount)}
    allowed = wanted | ({} if token or not tag else {"data": f"0x{tag}"})
    if (
        scheme != "ethereum"
        or address.lower() != (token or recipient)
        or chain != str(details.chain_id)
        or function != ("transfer" if token else "")
        or len(dict(fields)) != len(fields)
        or any(dict(fields).get(name) != value for name, value in wanted.items())
        or any(name not in ("gas", "gasLimit", "gasPrice") and allowed.get(name) != value for name, value in fields)
    ):
        raise OfferError("The schema's EIP-681 link asks for something else than its payment details.")


def _socket(endpoint: str) -> str:
    parts = urlsplit(endpoint)
    if parts.scheme not in ("ws", "wss") or not parts.hostname or parts.username or parts.password:
        raise OfferError("The schema's websocketEndpoint is not the address of a socket.")
    return endpoint


def _reason(body: bytes) -> str:
    """What a WS402 server says about an error, bounded: it is somebody else's text."""
    try:
        error = msgspec.json.decode(body, type=ErrorResponse)
    except msgspec.DecodeError:
        return ""
    text = " ".join(filter(None, (error.message, error.remedy)))
    return f": {text.rstrip('.')[:300]}"
