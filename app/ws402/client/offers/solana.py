"""Offers on Solana: a transfer of SOL or of an SPL token that lists the invoice's reference key (Solana Pay)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl

from ws402.client.errors import OfferError
from ws402.client.offers.base import Offer, Terms, same, same_coins
from ws402.errors import ConfigurationError
from ws402.protocol import SolanaPaymentDetails
from ws402.settings import SOLANA_GENESIS

SOL_DECIMALS: Final = 9
MAX_MEMO_BYTES: Final = 256
MAX_LAMPORTS: Final = 2**64 - 1

SOLANA_CHAINS: Final = {name: f"solana:{genesis[:32]}" for name, genesis in SOLANA_GENESIS.items()}
"""CAIP-2 ids of the public networks (https://namespaces.chainagnostic.org/solana/caip2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SolanaOffer(Offer):
    """A transfer with `reference` among its accounts; a memo before it where the invoice asks for one."""

    coins: str
    """The amount in whole coins, as a Solana Pay wallet reads it: the mint's decimals must make it `amount`."""
    memo: str | None

    @property
    def chain(self) -> str:
        """CAIP-2, or words for a network that is not public."""
        return SOLANA_CHAINS.get(self.network, "a private Solana network")

    def is_on(self, chain: str) -> bool:
        """The same genesis block; a network of another name must at least be none of the public ones."""
        if known := SOLANA_CHAINS.get(self.network):
            return chain == known
        return chain.startswith("solana:") and chain not in SOLANA_CHAINS.values()


def solana_offer(terms: Terms, details: SolanaPaymentDetails) -> SolanaOffer:
    """Check what is particular to Solana. Raises OfferError, AmountError."""
    if not details.network.startswith("solana"):
        raise OfferError(f"Network '{details.network}' is not one of Solana.")
    if terms.amount > MAX_LAMPORTS:
        raise OfferError(f"The server asks for {terms.amount}, more than Solana can count.")
    recipient = _key("recipient", details.recipient)
    _key("reference", details.reference)
    token = _token(details)
    decimals = details.decimals if token else SOL_DECIMALS
    if decimals is not None:
        if not 0 <= decimals <= 255:
            raise OfferError(f"The schema's decimals are {decimals}.")
        same_coins("amountSOL", details.amount_sol, decimals, terms.amount)
    return SolanaOffer(
        **terms.said(),
        recipient=recipient,
        token=token,
        symbol=details.asset or details.currency,
        decimals=decimals,
        coins=details.amount_sol,
        memo=_check_link(details, recipient, token),
    )


def is_key(text: str) -> bool:
    """Whether this is the base58 of 32 bytes, as addresses, mints and references are."""
    try:
        from solders.pubkey import Pubkey  # noqa: PLC0415 - a server imports this package without the extra
    except ImportError:
        raise ConfigurationError("Solana is not installed.", remedy="pip install 'ws402[client]'") from None
    try:
        return str(Pubkey.from_string(text)) == text
    except ValueError:
        return False


def _key(what: str, text: str) -> str:
    if not is_key(text):
        raise OfferError(f"The schema's {what} is not a key of Solana.")
    return text


def _token(details: SolanaPaymentDetails) -> str | None:
    if details.currency not in ("SOL", "SPL") or (details.currency == "SPL") != bool(details.spl_token):
        raise OfferError(f"The schema says currency '{details.currency}' and token '{details.spl_token}'.")
    return _key("splToken", details.spl_token) if details.spl_token else None


def _check_link(details: SolanaPaymentDetails, recipient: str, token: str | None) -> str | None:
    """The Solana Pay link, which people pay by QR, must ask for exactly what the details ask for; answers its memo."""
    scheme, _, rest = details.solana_pay_url.partition(":")
    path, _, query = rest.partition("?")
    fields = parse_qsl(query, keep_blank_values=True)
    found = dict(fields)
    allowed = {"amount", "spl-token", "reference", "label", "message", "memo"}
    if (
        scheme != "solana"
        or path != recipient
        or len(found) != len(fields)
        or not found.keys() <= allowed
        or found.get("amount") != details.amount_sol
        or found.get("reference") != details.reference
        or found.get("spl-token") != token
    ):
        raise OfferError("The schema's Solana Pay link asks for something else than its payment details.")
    memo = found.get("memo")
    same("memo", details.memo or memo, memo)
    if memo and len(memo.encode()) > MAX_MEMO_BYTES:
        raise OfferError("The schema's memo is too long.")
    return memo or None
