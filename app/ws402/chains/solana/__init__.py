"""Solana: SOL and SPL tokens over JSON-RPC."""

from __future__ import annotations

from ws402.chains.solana.address import address_of
from ws402.chains.solana.chain import SolanaChain
from ws402.errors import ConfigurationError, InvalidRequestError
from ws402.keys.local import LocalEd25519Signer
from ws402.settings import SolanaNetworkSettings

__all__ = ["SolanaChain", "address_of", "from_settings"]


def from_settings(settings: SolanaNetworkSettings) -> SolanaChain:
    """The chain of a network's settings, not started. Raises ConfigurationError."""
    recipient = settings.merchant_wallet
    if recipient is None:
        if settings.private_key is None:
            raise ConfigurationError(
                f"{settings.network} has no address to be paid at.",
                remedy="Set SOLANA_WALLET, or SOLANA_PRIVATE_KEY, whose address is then used.",
            )
        recipient = address_of(LocalEd25519Signer.from_text(settings.private_key))
    try:
        return SolanaChain(settings, recipient)
    except InvalidRequestError as error:
        raise ConfigurationError(f"{settings.network}: {error.message}", remedy=error.remedy) from error
