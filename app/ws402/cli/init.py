"""`ws402 init`: a settings file to begin with, with keys of its own."""

from __future__ import annotations

import os
import secrets
import shlex
from pathlib import Path

import click

from ws402.cli.init_text import DEV, DEV_SOLANA, NETWORKS, Float, Network, write
from ws402.errors import ConfigurationError

LEDGER = "data"
"""The folder of the ledger that the file names."""


@click.command("init")
@click.argument("path", default="ws402.toml", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--network",
    "names",
    multiple=True,
    default=(DEV,),
    show_default=True,
    type=click.Choice([DEV, DEV_SOLANA, *NETWORKS]),
    help="Where to be paid; may be given several times. dev, dev-solana: embedded chains of this machine.",
)
def command(path: Path, names: tuple[str, ...]) -> None:
    """Write a commented settings file for the gateway and a server to PATH, with keys made for it.

    Only you can read the file, and git is told to ignore it. It is never written over another one.
    """
    if {DEV, DEV_SOLANA} & set(names) and not {DEV, DEV_SOLANA} >= set(names):
        raise ConfigurationError(
            "The embedded chains go with no other network: their keys are everybody's.",
            remedy="Write two files, one for each.",
        )
    if path.exists() or path.is_symlink():
        raise ConfigurationError(f"{path} is there already.", remedy="Name another file, or move it away.")
    floats = [_float(NETWORKS[name]) for name in dict.fromkeys(names) if name in NETWORKS]
    text = write(
        path=shlex.quote(path.name),
        api_key=secrets.token_hex(32),
        admin_key=secrets.token_hex(32),
        audit_key=secrets.token_hex(32),
        floats=floats,
        dev=_dev_key() if DEV in names else None,
        dev_solana=_dev_solana_key() if DEV_SOLANA in names else None,
    )
    try:
        ignored = _ignore(path)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
    except OSError as error:
        raise ConfigurationError(
            f"{error.filename or path} cannot be written: {error.strerror}.", remedy="Name a file in another folder."
        ) from None
    click.echo(f"Wrote {path}, which only you can read{f'; {ignored} has git ignore it' if ignored else ''}.")
    for each in floats:
        coin = "SOL" if each.network.solana else "ETH"
        click.echo(f"Refunds on {each.network.name} are sent from {each.address}: it needs some {coin} for their fees.")
    for name, chain in ((DEV, "evm"), (DEV_SOLANA, "solana --slot-time 0.1")):
        if name in names:
            click.echo(f"Chain: ws402 devchain {chain}")
    named = shlex.quote(str(path))
    click.echo(f"Start: WS402_CONFIG={named} ws402 gateway, and WS402_CONFIG={named} ws402 server")


def _float(network: Network) -> Float:
    """A new account for a network's refunds."""
    if network.solana:
        from solders.keypair import Keypair  # noqa: PLC0415 - who names no such network needs no such library

        pair = Keypair()
        return Float(network, str(pair.pubkey()), str(pair))
    from ws402.chains.evm.address import address_of  # noqa: PLC0415 - likewise
    from ws402.keys.local import LocalSigner  # noqa: PLC0415

    secret = secrets.token_bytes(32)
    return Float(network, address_of(LocalSigner(secret)), "0x" + secret.hex())


def _dev_key() -> str:
    """The embedded chain's second account; the first one is the faucet's."""
    from ws402.devchain.evm.accounts import derive  # noqa: PLC0415 - likewise

    return derive(2)[1].key


def _dev_solana_key() -> str:
    from ws402.devchain.solana.accounts import derive  # noqa: PLC0415 - likewise

    return derive("account 1").key


def _ignore(path: Path) -> Path | None:
    """In a git work tree: have the file and the ledger's folder beside it ignored. Answers the file that says so."""
    folder = path.absolute().parent
    if not any((each / ".git").exists() for each in (folder, *folder.parents)):
        return None
    ignore = folder / ".gitignore"
    text = ignore.read_text() if ignore.exists() else ""
    missing = [each for each in (f"/{path.name}", f"/{LEDGER}/") if each not in text.splitlines()]
    if missing:
        start = "" if not text or text.endswith("\n") else "\n"
        with ignore.open("a") as file:
            file.write(start + "".join(f"{each}\n" for each in missing))
    return ignore
