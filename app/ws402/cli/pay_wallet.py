"""Which wallet `ws402 pay` pays from: one for EVM networks, one for Solana, chosen by what the server asks for."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from ws402.client import EvmWallet, Offer, SolanaOffer, SolanaWallet, Wallet, ask_offer
from ws402.client.policy import Policy
from ws402.errors import ConfigurationError

SOLANA: Final = "solana"
Note = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What the options and variables give to pay with; keys are read only when they are needed."""

    rpc: str | None
    key_file: Path | None
    max_fee_gwei: int
    solana_rpc: str | None
    solana_key_file: Path | None
    max_fee_lamports: int


def wallet_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that become `Means`."""
    path: Any = click.Path(path_type=Path)
    options = (
        click.option("--rpc", envvar="WS402_RPC_URL", metavar="URL", help="Your EVM node, or WS402_RPC_URL."),
        click.option("--key-file", type=path, metavar="PATH", help="File with its key in hex, or WS402_PRIVATE_KEY."),
        click.option("--max-fee-gwei", default=100, show_default=True, type=click.IntRange(1), help="Most per gas."),
        click.option(
            "--solana-rpc",
            envvar="WS402_SOLANA_RPC_URL",
            metavar="URL",
            help="Your Solana node; WS402_SOLANA_RPC_URL.",
        ),
        click.option(
            "--solana-key-file",
            type=path,
            metavar="PATH",
            help="File with its key, as the Solana CLI writes it, or base58; or WS402_SOLANA_PRIVATE_KEY.",
        ),
        click.option(
            "--max-fee-lamports",
            default=100_000,
            show_default=True,
            type=click.IntRange(1),
            help="Most that a payment's fees may be on Solana.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


async def choose(
    means: Means, note: Note, *, url: str, resource: str | None, duration: int, network: str | None, insecure: bool
) -> Wallet:
    """The wallet for the network that was named, or the only one, or the one that the server's offer is for.

    Raises ConfigurationError, and what asking for an offer raises.
    """
    if network is not None:
        solana = network.startswith(SOLANA)
    elif means.rpc and means.solana_rpc:
        offer: Offer = await ask_offer(url, resource=resource, duration=duration, allow_plaintext=insecure)
        solana = isinstance(offer, SolanaOffer)
    else:
        solana = bool(means.solana_rpc)
    if solana:
        rpc = _node(means.solana_rpc, "--solana-rpc", "WS402_SOLANA_RPC_URL")
        key = _read_key(means.solana_key_file, "--solana-key-file", "WS402_SOLANA_PRIVATE_KEY", note)
        return SolanaWallet(rpc, key, max_fee_lamports=means.max_fee_lamports)
    rpc = _node(means.rpc, "--rpc", "WS402_RPC_URL")
    key = _read_key(means.key_file, "--key-file", "WS402_PRIVATE_KEY", note)
    return EvmWallet(rpc, key, max_fee_gwei=means.max_fee_gwei)


async def units(asset: str, wallet: Wallet) -> tuple[int, str]:
    """Decimal places and name of what the cap counts: from the chain itself, not from the server."""
    token = Policy(max_amount=1, asset=asset).token(await wallet.chain())
    decimals = await wallet.decimals(token)
    if token is None:
        return decimals, "SOL" if isinstance(wallet, SolanaWallet) else "ETH"
    return decimals, "USDC" if asset.lower() == "usdc" else token[:10] + "…"


def _node(rpc: str | None, option: str, variable: str) -> str:
    if not rpc:
        raise ConfigurationError("No node to pay through.", remedy=f"Give {option} URL, or set {variable}.")
    return rpc


def _read_key(path: Path | None, option: str, variable: str, note: Note) -> str:
    """Raises ConfigurationError; its text never has the key."""
    if path is None:
        key = os.environ.get(variable, "").strip()
        if not key:
            raise ConfigurationError(
                "No key to pay with.", remedy=f"Put it into a file and give {option} PATH, or set {variable}."
            )
        return key
    if _looks_like_a_key(str(path)):
        raise ConfigurationError(
            f"{option} was given a key, not a path: other users of this machine may have seen it.",
            remedy="Move your money to a new key, and put that one into a file.",
        )
    try:
        key = path.read_text().strip()
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            note(f"Warning: other users can read {path}; make it yours alone: chmod 600 {path}")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise ConfigurationError(f"The key file {path} cannot be read: {reason}.") from None
    return key


def _looks_like_a_key(text: str) -> bool:
    digits = text.removeprefix("0x")
    if len(digits) == 64 and all(each in "0123456789abcdefABCDEF" for each in digits):
        return True
    return text.startswith("[") or (86 <= len(text) <= 88 and text.isalnum())
