"""The payer's limits. They are the payer's own words; nothing that a server says can widen them.

A payee may name its successor, by its own signature: whoever trusts the one pays the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from math import floor
from typing import Final

from ws402.client.errors import PolicyError
from ws402.client.offers import Offer
from ws402.client.offers.evm import is_address
from ws402.client.offers.solana import SOLANA_CHAINS, is_key
from ws402.client.store import Payment, Store
from ws402.client.successions import follows
from ws402.errors import InvalidRequestError
from ws402.money import from_decimal, parse_amount, to_decimal
from ws402.prices import KNOWN_DECIMALS, SECONDS, PriceError, read_written

NATIVE: Final = "native"
"""The network's own coin."""

USDC: Final = {
    "eip155:8453": "0x833589fcd6edb6e08f4c7c32d4f71b54bda02913",
    "eip155:84532": "0x036cbd53842c5426634e7929541ec2318f3dcf7e",
    SOLANA_CHAINS["solana"]: "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v",
    SOLANA_CHAINS["solana-devnet"]: "4zMMC9srt5Ri5X14GAgXhaHii3GnPAERYPJgZJDncDU",
}
"""Circle's USDC by chain (https://developers.circle.com/stablecoins/usdc-contract-addresses)."""


def read_cap(amount: int | str, asset: str, chain: str) -> tuple[int, str]:
    """A cap in smallest units and the asset that it is in: a whole number of them, or coins like '5 USDC'.

    ETH, SOL and USDC may be written; a cap in another token is a whole number, beside its address as `asset`. Raises
    InvalidRequestError, AmountError.
    """
    if not isinstance(amount, str) or " " not in amount.strip():
        return parse_amount(amount, field="max_amount"), asset
    coins, _, symbol = amount.strip().partition(" ")
    meant = _meant(symbol.strip(), asset, chain, f"The cap '{amount}'")
    return parse_amount(from_decimal(coins, KNOWN_DECIMALS[symbol.strip()]), field="max_amount"), meant


def read_price_cap(price: int | str, asset: str, chain: str) -> tuple[Fraction, str]:
    """The most that a second may cost, in smallest units, and its asset: whole ones, or like '0.36 USDC per hour'.

    Raises PriceError, InvalidRequestError, AmountError.
    """
    if not isinstance(price, str):
        return Fraction(parse_amount(price, field="max_price_per_second")), asset
    written = read_written(price)
    if [each.unit for each in written] != [SECONDS]:
        raise PriceError(f"'{price}' is no price of time alone.", remedy="Write it like '0.36 USDC per hour'.")
    meant = _meant(written[0].symbol, asset, chain, f"The price '{price}'")
    return written[0].coins * 10 ** KNOWN_DECIMALS[written[0].symbol], meant


def _meant(symbol: str, asset: str, chain: str, what: str) -> str:
    """What a symbol that somebody wrote means as an `asset`. Raises InvalidRequestError."""
    native = "SOL" if chain.startswith("solana:") else "ETH"
    meant = {native: NATIVE, "USDC": "usdc"}.get(symbol)
    if meant is None or asset.lower() not in (NATIVE, meant):
        raise InvalidRequestError(
            f"{what} is in no asset that it can be written in here.",
            remedy=f"Write '0.01 {native}' or '5 USDC', for example; of another token, smallest units and its address.",
        )
    return meant


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a session may cost, in what, and who may be paid."""

    max_amount: int
    """Smallest units of `asset` for the whole session, top-ups included."""
    asset: str = NATIVE
    """'native', 'usdc', or a token's contract or mint: a cap means nothing without its unit."""
    network: str | None = None
    """Name of the only network to pay on; by default the one that the wallet is on."""
    payees: frozenset[str] = field(default_factory=frozenset)
    """Addresses that may be paid, EVM's in lower case. Empty: `trust_first_use` decides."""
    trust_first_use: bool = False
    """Pay a server's payee at the first meeting, remember it, and refuse another one later."""
    max_price_per_second: Fraction | None = None
    """Smallest units, exactly: a price in coins an hour need not be a whole number of them a second."""

    def check(self, offer: Offer, *, origin: str, chain: str, spent: int, store: Store) -> None:
        """Refuse an offer that breaks a limit. `spent` is what this session has cost already. Raises PolicyError."""
        if not offer.is_on(chain) or self.network not in (None, offer.network):
            raise PolicyError(
                f"The server wants to be paid on {offer.network} ({offer.chain}).",
                remedy=f"Your wallet is on {chain}{f', limited to {self.network}' if self.network else ''}.",
                code="network_refused",
            )
        if offer.token != self.token(chain):
            raise PolicyError(
                f"The server wants {offer.symbol} ({offer.token or 'the network coin'}).",
                remedy=f"You allow only '{self.asset}'.",
                code="asset_refused",
            )
        if self.max_price_per_second is not None and offer.price.rate > self.max_price_per_second:
            raise PolicyError(
                f"The price is {_coins(offer.price_per_second, offer.symbol, offer.decimals)} a second, above "
                f"{_coins(floor(self.max_price_per_second), offer.symbol, offer.decimals)}.",
                code="price_refused",
            )
        if spent + offer.amount > self.max_amount:
            raise PolicyError(
                f"This would make {_coins(spent + offer.amount, offer.symbol, offer.decimals)}, above your cap of "
                f"{_coins(self.max_amount, offer.symbol, offer.decimals)}.",
                remedy="Ask for a shorter time, or raise the cap.",
                code="over_cap",
            )
        self._check_payee(offer, origin, chain, store)

    def check_again(self, payment: Payment) -> None:
        """Before a payment from earlier is sent again: today's limits count. Raises PolicyError."""
        if payment.amount > self.max_amount or payment.token != self.token(payment.chain):
            raise PolicyError(
                f"A payment of {_coins(payment.amount, payment.asset)} from before is not sent yet.",
                remedy="Your limits forbid it now: allow it, or use another store or payment id.",
                code="over_cap",
            )

    def token(self, chain: str) -> str | None:
        """The contract that `asset` means on a chain. Raises PolicyError where it means none, InvalidRequestError."""
        if self.asset.lower() == NATIVE:
            return None
        if self.asset.lower() == "usdc":
            if chain not in USDC:
                raise PolicyError(f"USDC is not known on {chain}.", remedy="Give the token's address.")
            return USDC[chain]
        if not (is_key(self.asset) if chain.startswith("solana:") else is_address(self.asset)):
            raise InvalidRequestError(
                f"'{self.asset}' is no asset of {chain}.", remedy="Use 'native', 'usdc' or the token's address."
            )
        return normal_address(self.asset)

    def _check_payee(self, offer: Offer, origin: str, chain: str, store: Store) -> None:
        if self.payees:
            if not _leads(self.payees, offer, chain):
                raise PolicyError(
                    f"The server wants the money sent to {offer.recipient}, which is not among your payees, and none of"
                    " them has signed that it comes after them.",
                    code="payee_refused",
                )
            return
        known = store.payee(origin, offer.network)
        if known is None and not self.trust_first_use:
            raise PolicyError(
                f"{origin} wants the money sent to {offer.recipient}, which you have not approved.",
                remedy="Name it among the payees, or allow trust on first use.",
                code="payee_unknown",
            )
        if known is not None and not _leads([known], offer, chain):
            raise PolicyError(
                f"{origin} was paid at {known} before, and now names {offer.recipient}, without a chain of signatures"
                " from the one to the other.",
                remedy="Ask its owner. To accept, name the new address among the payees.",
                code="payee_changed",
            )
        store.remember_payee(origin, offer.network, offer.recipient)


def _leads(payees: Iterable[str], offer: Offer, chain: str) -> bool:
    """Whether one of these payees is the recipient, or has named it."""
    return follows(offer.network, chain, payees, offer.recipient, offer.successions)


def _coins(amount: int, symbol: str, decimals: int | None = None) -> str:
    """As people write it; a token of which nobody says how many places it has is counted."""
    places = KNOWN_DECIMALS.get(symbol, decimals)
    return f"{amount} units of {symbol}" if places is None else f"{to_decimal(amount, places)} {symbol}"


def normal_address(address: str) -> str:
    """One spelling: EVM's in lower case; base58 means another key in another case."""
    return address.lower() if is_address(address) else address
