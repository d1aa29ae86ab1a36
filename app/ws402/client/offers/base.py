"""What all offers have, and how a contradiction is told."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any, Final

from ws402.client.errors import OfferError
from ws402.money import from_decimal
from ws402.prices import Price
from ws402.protocol import Succession

MAX_DIGITS: Final = 160
"""Of an amount in coins: more than any chain can count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a schema says on every chain. Amounts are smallest units; times milliseconds since the epoch."""

    resource_id: str
    socket_url: str
    price: Price
    duration: int
    """Seconds."""
    units: dict[str, int]
    """How much of what has a price beside time is paid for, as the server estimates it."""
    amount: int
    network: str
    reference: str
    claim_token: str | None
    expires_at: int
    max_session_duration: int
    name: str
    successions: tuple[Succession, ...] = ()
    """How the recipient came to be the payee, as the server says; unchecked."""

    @property
    def price_per_second(self) -> int:
        """Smallest units a second, rounded up; `price` is what counts."""
        return self.price.per_second

    def said(self) -> dict[str, Any]:
        """All of it, by name."""
        return {each.name: getattr(self, each.name) for each in fields(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer(Terms, ABC):
    """What to pay, to whom and for what."""

    recipient: str
    """In the chain's one spelling: EVM addresses in lower case."""
    token: str | None
    """Token contract or mint, spelled as `recipient`; None for the network's own coin."""
    symbol: str
    decimals: int | None
    """Decimal places as the server says; None when it does not. For showing only."""

    @property
    @abstractmethod
    def chain(self) -> str:
        """The chain to pay on (CAIP-2), for people where it is a private one."""

    @abstractmethod
    def is_on(self, chain: str) -> bool:
        """Whether a wallet of this chain (CAIP-2) pays on the right one."""

    @property
    def wants_signature(self) -> bool:
        """Whether the payer's signature is what ties the payment to the invoice."""
        return False


def same_coins(what: str, text: str, decimals: int, units: int) -> None:
    """Raises OfferError unless the amount in whole coins is the one in smallest units; AmountError."""
    if len(text) > MAX_DIGITS:
        raise OfferError(f"The schema's {what} has {len(text)} digits.")
    same(f"{what} in smallest units", from_decimal(text, decimals), units)


def same(what: str, got: object, wanted: object) -> None:
    """Raises OfferError unless both are equal."""
    if got != wanted:
        raise OfferError(f"The schema's {what} is {got!r}, not {wanted!r} as it must be.")
