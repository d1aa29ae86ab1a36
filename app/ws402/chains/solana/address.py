"""Addresses, transaction signatures and token accounts: one spelling each."""

from __future__ import annotations

from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.signature import Signature

from ws402.chains.solana.programs import ASSOCIATED_TOKEN
from ws402.errors import ConfigurationError, InvalidRequestError
from ws402.keys.base import Signer


def pubkey(address: str) -> Pubkey:
    """Raises InvalidRequestError for what is no address."""
    try:
        return Pubkey.from_string(address)
    except ValueError:
        raise InvalidRequestError(
            "This is no Solana address.", remedy="Send the 32 bytes of a public key in base58."
        ) from None


def normalize_address(address: str) -> str:
    """Base58 of the 32 bytes. Raises InvalidRequestError."""
    return str(pubkey(address))


def normalize_tx(tx: str) -> str:
    """Base58 of the 64 bytes of a transaction's first signature. Raises InvalidRequestError."""
    try:
        return str(Signature.from_string(tx))
    except ValueError:
        raise InvalidRequestError(
            "This is no Solana transaction.", remedy="Send the 64 bytes of its signature in base58."
        ) from None


def address_of(signer: Signer) -> str:
    """The account that a signer signs for. Raises ConfigurationError for a key of another kind."""
    if signer.algorithm != "ed25519":
        raise ConfigurationError(
            f"The key {signer.key_id} is a {signer.algorithm} key; Solana's are ed25519.", remedy="Give one of those."
        )
    return str(Pubkey.from_bytes(signer.public_key))


def token_account(owner: str, mint: str, program: str) -> str:
    """The associated token account of an owner: where wallets keep a mint's tokens (SPL associated-token-account)."""
    seeds = [bytes(Pubkey.from_string(each)) for each in (owner, program, mint)]
    return str(Pubkey.find_program_address(seeds, Pubkey.from_string(ASSOCIATED_TOKEN))[0])


def new_reference() -> str:
    """A fresh public key whose private key nobody has (Solana Pay's `reference`)."""
    return str(Keypair().pubkey())
