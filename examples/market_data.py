"""Market data, paid by the hour and by the message: who asks for less pays less.

The prices are made up, and the same in every run; put your feed into `price`. Run as a program, it watches:
WS402_PRIVATE_KEY=0x… python market_data.py http://127.0.0.1:4030 http://127.0.0.1:8545 ETH SOL
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from itertools import count
from math import sin

from ws402.client import EvmWallet
from ws402.client.sync import Session, connect, run
from ws402.server.resources import AsyncStream

SYMBOLS = {"ETH": 3000.0, "SOL": 150.0, "BTC": 90_000.0}
SECONDS = 0.1


def price(symbol: str, at: int) -> float:
    """A price at a step of time."""
    return round(SYMBOLS[symbol] * (1 + sin(at / 10) / 100), 2)


async def quotes(stream: AsyncStream) -> None:
    """What is sold: the client says {"subscribe": ["ETH"]}, and gets a message for each symbol and step."""
    wanted: set[str] = set()

    async def listen() -> None:
        async for message in stream:
            try:
                asked = set(json.loads(message)["subscribe"])
            except (ValueError, TypeError, KeyError):
                await stream.send(json.dumps({"error": 'send {"subscribe": [symbols]}'}))
                continue
            wanted.clear()
            wanted.update(asked & set(SYMBOLS))

    listening = asyncio.create_task(listen())
    try:
        for at in count():
            for symbol in sorted(wanted):
                await stream.send(json.dumps({"symbol": symbol, "price": price(symbol, at)}))
            await asyncio.sleep(SECONDS)
    finally:
        listening.cancel()


def watch(session: Session, symbols: list[str], number: int) -> list[dict[str, object]]:
    """So many messages about these symbols."""
    session.send(json.dumps({"subscribe": symbols}))
    return [json.loads(session.receive(30)) for _ in range(number)]


def main(url: str, node: str, *symbols: str) -> None:
    """Watch twenty messages, and get the rest back."""
    wallet = EvmWallet(node, os.environ["WS402_PRIVATE_KEY"])
    with connect(url, resource="quotes", wallet=wallet, max_amount="0.01 ETH", trust_first_use=True) as session:
        for quote in watch(session, list(symbols), 20):
            print(quote)
        settlement = session.end()
        print(f"paid {settlement.paid}, used {settlement.consumed}, back: {session.refund()}")
    run(wallet.close())


if __name__ == "__main__":
    main(*sys.argv[1:])
