"""`ws402 devchain`: embedded chains over JSON-RPC."""

from __future__ import annotations

import signal
import threading

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
) -> None:
    """An EVM chain (py-evm) with funded accounts and a demo token. Ctrl-C ends it, and its state is gone."""
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
    )
    ended = threading.Event()
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda *_: ended.set())
    with chain:
        print(f"Accounts, {balance} coins each, of the mnemonic: {MNEMONIC}")
        print("Everybody knows these keys: never send real money to them.")
        for account in chain.accounts:
            print(f"  {account.address}  {account.key}")
        print(f"Token {chain.token.symbol} ({chain.token.decimals} decimals, anybody may mint): {chain.token.address}")
        print(f"Chain {chain_id} answers at {chain.rpc_url}", flush=True)
        ended.wait()
