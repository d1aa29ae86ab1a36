"""A ledger belongs to one chain; here is what is said when the endpoints show another one."""

from __future__ import annotations

from ws402.chains.base import ChainUnavailableError


class OtherChainError(ChainUnavailableError):
    """The endpoints show another chain than the one that the ledger knows, or one that was reset."""

    code = "other_chain"

    def __init__(self, message: str) -> None:
        super().__init__(
            message,
            remedy="Is this another chain, or was it reset? A ledger belongs to one chain: start with a new one (in a "
            "trial, delete the claim of the ledger's volume). An endpoint that lags so far comes back by itself.",
        )
