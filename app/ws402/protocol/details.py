"""Payment details: what to pay."""

from __future__ import annotations

import msgspec

from ws402.money import WireAmount
from ws402.protocol.base import Count, Message
from ws402.protocol.prices import PriceTerms


class Succession(Message, kw_only=True):
    """A payee names the one after it, and signs that (see `succession_message`)."""

    payee: str
    successor: str
    signature: str
    """Of the payee's key: EIP-191 personal_sign in hex (EVM), ed25519 in base58 (Solana)."""


class Details(Message, kw_only=True):
    """What every kind of payment details has."""

    network: str
    recipient: str
    amount: WireAmount
    currency: str
    reference: str
    expires_at: Count
    instructions: dict[str, str]
    asset: str | None = None
    claim_token: str | None = None
    binding: list[str] | None = None
    resource_id: str | None = None
    estimated_duration: Count | None = None
    price_per_second: WireAmount | None = None
    price: PriceTerms | None = None
    gateway: str | None = None
    timestamp: Count | None = None
    successions: list[Succession] | None = None
    """How the recipient came to be the payee, for those who paid one before it."""
    unique_amount: bool | None = None
    """A payment of exactly this amount is known as this invoice's, whatever else it carries."""


class EvmPaymentDetails(Details, kw_only=True, tag_field="type", tag="base"):
    """Payment details of an EVM chain. `data`: the calldata that ties the payment to its invoice (EIP-681 link too)."""

    chain_id: Count
    amount_wei: WireAmount
    amount_eth: str = msgspec.field(name="amountETH")
    decimals: Count | None = None
    token_address: str | None = None
    data: str | None = None
    eip681: str | None = None


class SolanaPaymentDetails(Details, kw_only=True, tag_field="type", tag="solana"):
    """Payment details of Solana; `reference` is a base58 public key that the transfer instruction must list.

    `amount_sol` is the amount in whole coins of whatever is asked for, as the link has it.
    """

    amount_sol: str = msgspec.field(name="amountSOL")
    solana_pay_url: str = msgspec.field(name="solanaPayURL")
    qr_code: str
    """What a QR code must hold: the Solana Pay URL."""
    spl_token: str | None = None
    token_program: str | None = None
    decimals: Count | None = None
    memo: str | None = None
    """Set when the payment must carry exactly this memo."""


PaymentDetails = EvmPaymentDetails | SolanaPaymentDetails


def succession_message(network: str, payee: str, successor: str) -> str:
    """The text by which a payee names its successor; addresses in the spelling in which they are sent.

    It begins unlike what a payer signs (`payer_message`): neither can be shown as the other.
    """
    return f"WS402 payee\nnetwork: {network}\npayee: {payee}\nsuccessor: {successor}"
