"""`ws402 devchain`: embedded chains over JSON-RPC."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import click


@click.group()
def command() -> None:
    """Serve an embedded chain over JSON-RPC, in memory, for demonstrations and tests."""


@command.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8545, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free port.")
@click.option("--chain-id", default=84532, show_default=True, type=click.IntRange(1), help="84532 is Base Sepolia's.")
@click.option(
    "--block-time", default=1.0, show_default=True, type=click.FloatRange(0), help="Seconds; 0: none by time."
)
@click.option("--automine/--no-automine", default=False, help="Also make a block at once for every transaction.")
@click.option("--final-after", default=2, show_default=True, type=click.IntRange(0), help="Blocks until finality.")
@click.option("--accounts", default=10, show_default=True, type=click.IntRange(1, 1000), help="Funded accounts.")
@click.option("--balance", default=10_000, show_default=True, type=click.IntRange(0), help="Coins of each account.")
@click.option("--state", type=click.Path(path_type=Path, dir_okay=False), help="Keep the chain in this file.")
def evm(
    *,
    host: str,
    port: int,
    chain_id: int,
    block_time: float,
    automine: bool,
    final_after: int,
    accounts: int,
    balance: int,
    state: Path | None,
) -> None:
    """An EVM chain (py-evm) with funded accounts and a demo token. Ctrl-C ends it.

    Its state is gone then, but for what --state keeps: a chain that is in that file goes on where it was.
    """
    from ws402.devchain.evm import EvmDevChain  # noqa: PLC0415 - other chains need no EVM
    from ws402.devchain.evm.accounts import MNEMONIC  # noqa: PLC0415

    chain = EvmDevChain(
        host=host,
        port=port,
        chain_id=chain_id,
        block_time=block_time,
        automine=automine,
        final_after=final_after,
        accounts=accounts,
        balance=balance * 10**18,
        state=state,
    )
    ended = _ended()
    with chain:
        print(f"Accounts, {balance} coins each, of the mnemonic: {MNEMONIC}")
        print("Everybody knows these keys: never send real money to them.")
        for account in chain.accounts:
            print(f"  {account.address}  {account.key}")
        print(f"Token {chain.token.symbol} ({chain.token.decimals} decimals, anybody may mint): {chain.token.address}")
        print(f"Chain {chain_id} answers at {chain.rpc_url}", flush=True)
        ended.wait()


@command.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    default=8899,
    show_default=True,
    type=click.IntRange(0, 65534),
    help="For HTTP; WebSocket is on the next. 0 takes a free pair.",
)
@click.option("--slot-time", default=0.4, show_default=True, type=click.FloatRange(0), help="Seconds; 0: none by time.")
@click.option("--confirm-after", default=1, show_default=True, type=click.IntRange(0), help="Slots until confirmed.")
@click.option("--finalize-after", default=32, show_default=True, type=click.IntRange(0), help="Slots until finalized.")
@click.option("--accounts", default=10, show_default=True, type=click.IntRange(1, 1000), help="Funded accounts.")
@click.option("--balance", default=10_000, show_default=True, type=click.IntRange(1), help="SOL of each account.")
def solana(
    *,
    host: str,
    port: int,
    slot_time: float,
    confirm_after: int,
    finalize_after: int,
    accounts: int,
    balance: int,
) -> None:
    """A Solana chain (LiteSVM) with funded accounts and a demo token. Ctrl-C ends it, and its state is gone."""
    from ws402.devchain.solana import SolanaDevChain  # noqa: PLC0415 - other chains need no SVM

    chain = SolanaDevChain(
        host=host,
        port=port,
        slot_time=slot_time,
        confirm_after=confirm_after,
        finalize_after=finalize_after,
        accounts=accounts,
        balance=balance * 10**9,
    )
    ended = _ended()
    with chain:
        print(f"Accounts, {balance} SOL and some {chain.token.symbol} each, and their key pairs in base58.")
        print("Everybody knows these keys: never send real money to them.")
        for account in chain.accounts:
            print(f"  {account.address}  {account.key}")
        print(f"Token {chain.token.symbol} ({chain.token.decimals} decimals): {chain.token.mint}")
        print(f"  Mint authority: {chain.token.authority.address}  {chain.token.authority.key}")
        print(f"The chain answers at {chain.rpc_url} and {chain.ws_url}", flush=True)
        ended.wait()


def _ended() -> threading.Event:
    """Set when the program is asked to end."""
    ended = threading.Event()
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda *_: ended.set())
    return ended
