"""Payment details of the wire, and the Solana Pay URL that wallets open."""

from __future__ import annotations

import hashlib
from typing import Final
from urllib.parse import quote, urlencode

from ws402.chains.base import InvoiceTerms
from ws402.money import Asset, to_decimal, wire_amount
from ws402.protocol import SolanaPaymentDetails

BINDINGS: Final = ("claim_token", "signature", "legacy")
"""What can tie a payment on this kind of chain. The reference alone is public once it is on chain."""


def memo_of(reference: str) -> str:
    """The memo of an invoice, where payments must carry one: anybody can tell it from the reference, on purpose."""
    return f"ws402:{hashlib.sha256(reference.encode()).hexdigest()[:16]}"


def payment_details(
    terms: InvoiceTerms, asset: Asset, *, network: str, recipient: str, program: str | None, memo: bool
) -> SolanaPaymentDetails:
    """For an invoice in SOL or an SPL token. `program`: the token's program. `memo`: payments must carry one."""
    coins = to_decimal(terms.amount, asset.decimals)
    text = memo_of(terms.reference) if memo else None
    url = payment_link(asset, coins, terms, recipient=recipient, memo=text)
    return SolanaPaymentDetails(
        network=network,
        recipient=recipient,
        amount=wire_amount(terms.amount),
        amount_sol=coins,
        currency="SPL" if asset.contract else "SOL",
        asset=asset.symbol,
        decimals=asset.decimals,
        spl_token=asset.contract,
        token_program=program,
        reference=terms.reference,
        memo=text,
        solana_pay_url=url,
        qr_code=url,
        expires_at=terms.expires_at,
        instructions=_instructions(asset, coins, terms.reference, network=network, recipient=recipient, memo=text),
        binding=list(BINDINGS),
    )


def payment_link(asset: Asset, coins: str, terms: InvoiceTerms, *, recipient: str, memo: str | None) -> str:
    """A transfer request (Solana Pay specification): `coins` is the amount in whole coins."""
    query = {"amount": coins, "reference": terms.reference, "label": "WS402", "message": terms.label}
    if memo is not None:
        query["memo"] = memo
    if asset.contract is not None:
        query["spl-token"] = asset.contract
    return f"solana:{recipient}?{urlencode(query, quote_via=quote)}"


def _instructions(
    asset: Asset, coins: str, reference: str, *, network: str, recipient: str, memo: str | None
) -> dict[str, str]:
    how = f"by TransferChecked of {asset.contract}" if asset.contract else "by a system transfer"
    send = (
        f"Send {coins} {asset.symbol} to {recipient} on {network} {how}, "
        f"with {reference} as one more read-only key of that instruction"
    )
    return {
        "step1": send + (f", and the memo {memo}." if memo else "."),
        "step2": "Wait until the transaction is confirmed.",
        "step3": "Send its signature, the reference, your wallet and the claim token as the payment proof.",
    }
