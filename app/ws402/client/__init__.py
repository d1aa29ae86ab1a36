"""The paying client: `async with ws402.client.connect(url, wallet=…, max_amount=…) as session: …`.

Importing this package needs nothing beyond the base installation; the wallets need `pip install 'ws402[client]'`.
"""

from ws402.client.connecting import ask_offer, connect, connect_with_proof
from ws402.client.errors import (
    NodeUnavailableError,
    OfferError,
    OverchargedError,
    PaymentBusyError,
    PaymentExpiredError,
    PaymentFailedError,
    PaymentPendingError,
    PaymentRejectedError,
    PolicyError,
    SessionLostError,
    SocketUnavailableError,
    WalletError,
)
from ws402.client.evm import EvmWallet
from ws402.client.offers import EvmOffer, Offer, SolanaOffer
from ws402.client.options import Options
from ws402.client.policy import NATIVE
from ws402.client.session import Session
from ws402.client.solana import SolanaWallet
from ws402.client.store import Payment, PaymentState, Store
from ws402.client.usage import Refund, Settlement, Usage
from ws402.client.wallet import Inclusion, SignedPayment, Wallet

__all__ = [
    "NATIVE",
    "EvmOffer",
    "EvmWallet",
    "Inclusion",
    "NodeUnavailableError",
    "Offer",
    "OfferError",
    "Options",
    "OverchargedError",
    "Payment",
    "PaymentBusyError",
    "PaymentExpiredError",
    "PaymentFailedError",
    "PaymentPendingError",
    "PaymentRejectedError",
    "PaymentState",
    "PolicyError",
    "Refund",
    "Session",
    "SessionLostError",
    "Settlement",
    "SignedPayment",
    "SocketUnavailableError",
    "SolanaOffer",
    "SolanaWallet",
    "Store",
    "Usage",
    "Wallet",
    "WalletError",
    "ask_offer",
    "connect",
    "connect_with_proof",
]
