"""EVM chains (Base and its kin): native coin and ERC-20 tokens over JSON-RPC."""

from __future__ import annotations

from ws402.chains.evm.address import address_of
from ws402.chains.evm.chain import EvmChain
from ws402.errors import ConfigurationError, InvalidRequestError
from ws402.keys.local import LocalSigner
from ws402.settings import EvmNetworkSettings

__all__ = ["EvmChain", "address_of", "from_settings"]


def from_settings(settings: EvmNetworkSettings) -> EvmChain:
    """The chain of a network's settings, not started. Raises ConfigurationError."""
    recipient = settings.merchant_wallet
    if recipient is None:
        if settings.merchant_private_key is None:
            raise ConfigurationError(
                f"{settings.network} has no address to be paid at.",
                remedy="Set MERCHANT_WALLET, or MERCHANT_PRIVATE_KEY, whose address is then used.",
            )
        recipient = address_of(LocalSigner.from_hex(settings.merchant_private_key))
    try:
        return EvmChain(settings, recipient)
    except InvalidRequestError as error:
        raise ConfigurationError(f"{settings.network}: {error.message}", remedy=error.remedy) from error
