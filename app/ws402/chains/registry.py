"""Which module makes the chain of which settings. Adding a kind of chain: its folder, and a line here."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Any, Final

from ws402.chains.base import Chain
from ws402.errors import ConfigurationError
from ws402.keys.base import Signer
from ws402.keys.local import LocalEd25519Signer, LocalSigner

KINDS: Final = {"EvmNetworkSettings": "ws402.chains.evm", "SolanaNetworkSettings": "ws402.chains.solana"}
"""By the settings' class: the module whose `from_settings` makes the chain; imported only when used."""


def chain_for(settings: Any) -> Chain:
    """The chain of one network's settings, not started. Raises ConfigurationError."""
    chain: Chain = import_module(KINDS[type(settings).__name__]).from_settings(settings)
    return chain


def account_of(settings: Any, signer: Signer) -> str:
    """The account of a signer on a network of these settings."""
    address: str = import_module(KINDS[type(settings).__name__]).address_of(signer)
    return address


def account_of_key(network: str, private_key: str) -> str:
    """The account of a private key as text, on a network of this name. Raises ConfigurationError when it is none."""
    if network.startswith("solana"):
        signer: Signer = LocalEd25519Signer.from_text(private_key)
        kind = "ws402.chains.solana"
    else:
        signer, kind = LocalSigner.from_hex(private_key), "ws402.chains.evm"
    address: str = import_module(kind).address_of(signer)
    return address


def account_of_public_key(public_key: bytes) -> str:
    """The account of an ed25519 public key, as Solana's networks write it."""
    return str(import_module("solders.pubkey").Pubkey.from_bytes(public_key))


async def sign_text(signer: Signer, text: str) -> str:
    """A text signed as wallets do: EIP-191 personal_sign in hex, ed25519 in base58. Raises SignerUnavailableError."""
    if signer.algorithm == "ed25519":
        signed = await signer.sign(text.encode())
        return str(import_module("solders.signature").Signature.from_bytes(signed))
    signed = await signer.sign(import_module("ws402.chains.evm.signatures").text_digest(text))
    return "0x" + (signed[:64] + bytes([27 + signed[64]])).hex()


def chains_for(networks: Iterable[Any]) -> dict[str, Chain]:
    """All chains by network. Raises ConfigurationError, also when two have the same name or are the same chain."""
    chains: dict[str, Chain] = {}
    for settings in networks:
        chain = chain_for(settings)
        if chain.network in chains or any(each.caip2 == chain.caip2 for each in chains.values()):
            raise ConfigurationError(
                f"The network {chain.network} ({chain.caip2}) is configured twice.", remedy="Remove one of them."
            )
        chains[chain.network] = chain
    return chains
