"""Payment details of the wire: what a wallet, a person or a program needs to pay."""

from __future__ import annotations

from ws402.chains.base import InvoiceTerms
from ws402.money import Asset, to_decimal, wire_amount
from ws402.protocol import EvmPaymentDetails

BINDINGS = ("tag", "signature", "legacy")
"""What can tie a payment on this kind of chain."""


def payment_details(
    terms: InvoiceTerms, asset: Asset, *, network: str, chain_id: int, recipient: str
) -> EvmPaymentDetails:
    """For an invoice in the network's coin or a token. `data` is to be appended to the payment's calldata."""
    coins = to_decimal(terms.amount, asset.decimals)
    tag = f"0x{terms.tag}"
    native = asset.contract is None
    return EvmPaymentDetails(
        network=network,
        chain_id=chain_id,
        recipient=recipient,
        amount=wire_amount(terms.amount),
        amount_wei=wire_amount(terms.amount),
        amount_eth=coins,
        currency="ETH" if native else "ERC20",
        asset=asset.symbol,
        decimals=asset.decimals,
        token_address=asset.contract,
        reference=terms.reference,
        expires_at=terms.expires_at,
        data=tag,
        eip681=payment_link(asset, terms.amount, chain_id=chain_id, recipient=recipient),
        instructions=_instructions(asset, coins, tag, network=network, recipient=recipient),
        binding=list(BINDINGS),
    )


def payment_link(asset: Asset, amount: int, *, chain_id: int, recipient: str) -> str:
    """A link that wallets open (EIP-681). The standard has no room for calldata, so a payment by link has no tag."""
    if asset.contract is None:
        return f"ethereum:{recipient}@{chain_id}?value={amount}"
    return f"ethereum:{asset.contract}@{chain_id}/transfer?address={recipient}&uint256={amount}"


def _instructions(asset: Asset, coins: str, tag: str, *, network: str, recipient: str) -> dict[str, str]:
    if asset.contract is None:
        send = f"Send {coins} {asset.symbol} to {recipient} on {network}, with this as the transaction's data: {tag}"
    else:
        send = (
            f"Send {coins} {asset.symbol} to {recipient} by transfer() of {asset.contract} on {network}, "
            f"with this appended to its calldata: {tag}"
        )
    return {
        "step1": send,
        "step2": "Wait until the transaction is in a block.",
        "step3": "Send the transaction's hash, the reference and your address as the payment proof.",
    }
