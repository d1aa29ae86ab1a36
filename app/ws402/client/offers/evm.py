"""Offers on EVM chains: a transfer of the chain's coin, or a call of an ERC-20's transfer()."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Final
from urllib.parse import parse_qsl

from ws402.client.errors import OfferError
from ws402.client.offers.base import Offer, Terms, same, same_coins
from ws402.money import parse_amount
from ws402.protocol import EvmPaymentDetails
from ws402.settings import EVM_CHAIN_IDS

NATIVE_DECIMALS: Final = 18
_TRANSFER_SELECTOR: Final = "a9059cbb"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvmOffer(Offer):
    """A transaction to `to` that carries `value` wei and `data`."""

    chain_id: int
    data: str
    """Calldata of the payment, with 0x."""
    to: str
    """Where the transaction goes: the recipient, or the token's contract."""
    value: int
    signed: bool
    """The invoice takes the payer's signature, and nothing else ties the payment to it."""

    @property
    def chain(self) -> str:
        """CAIP-2."""
        return f"eip155:{self.chain_id}"

    def is_on(self, chain: str) -> bool:
        """The same chain id."""
        return chain == self.chain

    @property
    def wants_signature(self) -> bool:
        """An EIP-191 signature."""
        return self.signed


def evm_offer(terms: Terms, details: EvmPaymentDetails) -> EvmOffer:
    """Check what is particular to EVM chains. Raises OfferError, AmountError."""
    amount = terms.amount
    same("amountWei", parse_amount(details.amount_wei), amount)
    _check_decimal(details, amount)
    if EVM_CHAIN_IDS.get(details.network, details.chain_id) != details.chain_id:
        raise OfferError(f"Network '{details.network}' does not have the chain id {details.chain_id}.")
    recipient = _address("recipient", details.recipient)
    token = _token(details)
    tag = _tag(details, recipient, token, amount)
    call = _TRANSFER_SELECTOR + recipient[2:].rjust(64, "0") + f"{amount:064x}" if token else ""
    _check_link(details, recipient, token, amount, tag)
    return EvmOffer(
        **terms.said(),
        recipient=recipient,
        token=token,
        symbol=details.asset or details.currency,
        decimals=details.decimals if token else NATIVE_DECIMALS,
        chain_id=details.chain_id,
        data="0x" + call + tag,
        to=token or recipient,
        value=0 if token else amount,
        signed=not tag or "tag" not in (details.binding or ["tag"]),
    )


def is_address(text: str) -> bool:
    """Whether this is an EVM address, in any case."""
    return len(text) == 42 and text.startswith("0x") and all(each in "0123456789abcdefABCDEF" for each in text[2:])


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
        same_coins("amountETH", details.amount_eth, decimals, amount)


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
