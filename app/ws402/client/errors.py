"""What can go wrong for a payer. Each error says whether money moved."""

from __future__ import annotations

from ws402.errors import UnavailableError, WS402Error
from ws402.protocol import Proof


class OfferError(WS402Error):
    """The server's schema cannot be read, or contradicts itself or the request. Nothing was paid."""

    code = "bad_offer"


class PolicyError(WS402Error):
    """The offer is readable, but the caller's limits forbid it. Nothing was paid.

    Codes: `network_refused`, `asset_refused`, `payee_unknown`, `payee_changed`, `payee_refused`, `over_cap`,
    `price_refused`, `plaintext_refused`.
    """

    code = "policy_refused"


class WalletError(WS402Error):
    """The wallet cannot pay: too little money, fees too high, the node refuses. Nothing was paid.

    Codes: `insufficient_funds`, `fee_too_high`, `node_refused`, `nonce_taken`, `wrong_network`; for tokens on Solana
    `unknown_token`, `refused_token`, `wrong_decimals`, `no_token_account`.
    """

    code = "wallet"


class NodeUnavailableError(UnavailableError):
    """The wallet's node does not answer. A payment that was signed is kept in the store and sent again later."""

    code = "node_unavailable"


class SocketUnavailableError(UnavailableError):
    """The server opens no socket, so no payment could open a session: nothing was paid, or nothing more."""

    code = "socket_unavailable"


class PaymentBusyError(WS402Error):
    """Another session uses this payment right now. Nothing more was paid."""

    code = "payment_busy"


class PaymentPendingError(WS402Error):
    """The payment is signed and sent, but in no block yet. Connecting again with the same store goes on with it."""

    code = "payment_pending"


class PaymentFailedError(WS402Error):
    """The transaction is on the chain but failed: only its fee is gone."""

    code = "payment_failed"


class PaymentExpiredError(PaymentFailedError):
    """The payment was in no block in time and never will be (Solana). Nothing was paid."""

    code = "payment_expired"


class PaymentRejectedError(WS402Error):
    """Money was sent, and the server opened no session for it. `proof` can be shown again: `connect(proof=…)`."""

    code = "payment_rejected"

    def __init__(self, message: str, *, proof: Proof, remedy: str | None = None, code: str | None = None) -> None:
        super().__init__(message, remedy=remedy, code=code)
        self.proof = proof


class SessionLostError(WS402Error):
    """The session cannot go on. The gateway settles it at what was proven delivered and refunds the rest."""

    code = "session_lost"


class OverchargedError(WS402Error):
    """The server's meter ran faster than the agreed price allows. The session was ended at once."""

    code = "overcharged"
