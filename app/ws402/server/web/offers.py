"""What an unpaid request is offered: a pure function of the terms, the settings and the resource. No row, no call."""

from __future__ import annotations

import secrets
from math import ceil, floor
from typing import Any

import msgspec

from ws402.money import parse_amount
from ws402.prices import Price
from ws402.protocol import TermsResponse, TokenTerms
from ws402.server.web.mpp_wire import charge
from ws402.server.web.x402_wire import TIMEOUT_SECONDS, Payment
from ws402.settings import ResourceSettings, X402Settings

MAX_URL = 512
"""Characters of a resource's address in an offer: the whole header has to stay below 3 KB."""


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """So many seconds of a resource for one transfer of a token. `amount` is in its smallest units."""

    token: TokenTerms
    seconds: int
    amount: int

    @property
    def network(self) -> str:
        """By CAIP-2."""
        return f"eip155:{self.token.chain_id}"

    def v2(self) -> dict[str, Any]:
        """As an entry of `accepts`."""
        token = self.token
        return {
            "scheme": "exact",
            "network": self.network,
            "asset": token.contract,
            "amount": str(self.amount),
            "payTo": token.recipient,
            "maxTimeoutSeconds": TIMEOUT_SECONDS,
            "extra": {"name": token.name, "version": token.version, "paymentFlow": "upfront"},
        }

    @property
    def charge(self) -> str:
        """As the `request` of an MPP challenge."""
        token = self.token
        return charge(token.chain_id, token.contract, token.decimals, token.recipient, self.amount)

    def v1(self, url: str, description: str) -> dict[str, Any]:
        """As version 1 has it."""
        token = self.token
        return {
            "scheme": "exact",
            "network": token.network,
            "maxAmountRequired": str(self.amount),
            "resource": url,
            "description": description,
            "mimeType": "",
            "payTo": token.recipient,
            "maxTimeoutSeconds": TIMEOUT_SECONDS,
            "asset": token.contract,
            "extra": {"name": token.name, "version": token.version},
        }

    def is_taken_by(self, payment: Payment) -> bool:
        """Whether it is what the client took, field by field; addresses by value, `extra` as a subset."""
        if payment.scheme != "exact":
            return False
        if payment.version == 1:
            return payment.network == self.token.network
        ours = self.v2()["extra"]
        return (
            payment.network == self.network
            and (payment.asset or "").lower() == self.token.contract.lower()
            and (payment.recipient or "").lower() == self.token.recipient.lower()
            and payment.amount == str(self.amount)
            and all(ours.get(name, value) == value for name, value in payment.extra.items())
        )


def offers(
    terms: TermsResponse | None, settings: X402Settings, resource: ResourceSettings, duration: int | None
) -> list[Offer]:
    """The offers of a resource, the default network's first; none where its price is in nothing that is collected.

    `duration`: the seconds that were asked for.
    """
    if terms is None or not settings.enabled:
        return []
    price = resource.terms
    if price.units or not price.time:
        return []  # nobody can say how much use to pay for ahead
    asset = resource.asset or (terms.default_asset if resource.network is None else None)
    preferred = resource.network or terms.default_network
    tokens = [each for each in terms.tokens if each.asset == asset and resource.network in (None, each.network)]
    tokens.sort(key=lambda each: each.network != preferred)
    found = []
    for token in tokens:
        if token.decimals != (price.decimals or tokens[0].decimals):
            continue  # the price is in units of another size
        seconds = _seconds(token, settings, price, duration)
        if seconds:
            found.append(Offer(token=token, seconds=seconds, amount=price.quote(seconds)))
    return found


def _seconds(token: TokenTerms, settings: X402Settings, price: Price, duration: int | None) -> int:
    """For how long an offer is; 0 where a second costs more than one may ask for."""
    least = ceil(parse_amount(token.min_amount, zero=True) / price.rate)
    if duration is not None:
        return max(duration, least)
    most = floor(settings.max_offer.get(token.asset, 10**token.decimals) / price.rate)
    return int(min(max(settings.default_seconds, least), most))


def required(found: list[Offer], *, url: str, description: str, price: Price, error: str, sessions: str) -> Any:
    """The content of PAYMENT-REQUIRED. `sessions`: where sessions can be looked at."""
    return {
        "x402Version": 2,
        "error": error,
        "resource": {"url": url[:MAX_URL], "description": description, "mimeType": ""},
        "accepts": [each.v2() for each in found],
        "extensions": {
            "ws402": {
                "info": {
                    "version": 1,
                    "pricePerSecond": str(price.per_second),
                    **({"price": price.text} if price.text else {}),
                    "durationSeconds": found[0].seconds,
                    "metering": "per_second",
                    "refund": "automatic, to the payer",
                    "sessions": sessions,
                    # Comes back with the payment: everybody can read the rest of that on the chain.
                    "offer": secrets.token_urlsafe(16),
                },
                "schema": {"type": "object"},
            }
        },
    }
