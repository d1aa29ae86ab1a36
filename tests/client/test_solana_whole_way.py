"""The client on Solana with a real gateway and server: pay, top up, leave early, and find the refund on the chain."""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import PIPE
from contextlib import suppress
from pathlib import Path

from solders.keypair import Keypair
from tests.fixtures.processes import COMMAND, clean_environment
from tests.fixtures.solana_tokens import key_file
from tests.fixtures.stack_solana import CENTS, LAMPORTS, MakeSolanaStack, SolanaStack

from ws402.client import Refund, Settlement, SolanaWallet, connect

TOKENS = 10_000_000


async def test_sol_tokens_and_the_command_all_end_in_a_refund_on_the_chain(
    make_solana_stack: MakeSolanaStack, tmp_path: Path
) -> None:
    stack = await asyncio.to_thread(make_solana_stack)
    coins, tokens, shell = [await asyncio.to_thread(stack.payer, tokens=each) for each in (0, TOKENS, 0)]
    await asyncio.gather(in_sol(stack, coins), in_a_token(stack, tokens), by_command(stack, shell, tmp_path))
    settled = await asyncio.to_thread(stack.mint.balance, str(tokens.pubkey()))
    assert settled < TOKENS, "some was used"


async def session(
    stack: SolanaStack, wallet: SolanaWallet, resource: str, price: int, asset: str, top_up: int
) -> tuple[Settlement, Refund]:
    async with connect(
        stack.server_url,
        wallet=wallet,
        resource=resource,
        duration=300,
        max_amount=1000 * price,
        asset=asset,
        payees=[stack.merchant],
    ) as live:
        await anext(live)
        if top_up:
            assert await live.top_up(top_up) == top_up * price
        settlement = await live.end()
        refund = await live.refund(60)
    assert settlement.exact
    assert settlement.paid == (300 + top_up) * price == settlement.consumed + settlement.refund
    assert refund is not None
    assert refund.seen is True
    assert refund.amount == settlement.refund
    return settlement, refund


async def in_sol(stack: SolanaStack, key: Keypair) -> None:
    wallet = SolanaWallet(stack.solana.url, key_file(key))
    before = await wallet.balance()
    settlement, _ = await session(stack, wallet, "ticker", LAMPORTS, "native", 60)
    fees = before - settlement.consumed - await wallet.balance()
    assert 10_000 <= fees < 200_000, "two payments, and one refund"
    await wallet.close()


async def in_a_token(stack: SolanaStack, key: Keypair) -> None:
    wallet = SolanaWallet(stack.solana.url, key_file(key))
    settlement, _ = await session(stack, wallet, "token", CENTS, stack.mint.address, 0)
    assert await wallet.balance(stack.mint.address) == TOKENS - settlement.consumed
    await wallet.close()


async def by_command(stack: SolanaStack, key: Keypair, folder: Path) -> None:
    """With nodes and keys for both kinds of network: the offer decides."""
    file = folder / "id.json"
    file.write_text(key_file(key))
    file.chmod(0o600)
    environment = {
        "XDG_STATE_HOME": str(folder),
        "WS402_RPC_URL": "http://127.0.0.1:9",
        "WS402_PRIVATE_KEY": "0x" + "42" * 32,
        "WS402_SOLANA_RPC_URL": stack.solana.url,
    }
    arguments = ("--max", "0.02", "--duration", "60", "--leave-after", "1", "--trust", "--json")
    process = await asyncio.create_subprocess_exec(
        COMMAND,
        "pay",
        f"{stack.server_url}/#ticker",
        "--solana-key-file",
        str(file),
        *arguments,
        env=clean_environment(environment),
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), 120)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
    assert process.returncode == 0, err.decode()
    events = {event["event"]: event for event in map(json.loads, out.decode().splitlines())}
    assert events["offer"]["network"] == "solana-localnet"
    assert events["paid"]["amount"] == 60 * LAMPORTS
    assert events["refund"]["seenOnChain"] is True
    assert str(key) not in out.decode() + err.decode()
