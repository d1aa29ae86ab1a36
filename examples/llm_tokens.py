"""A language model, paid by the token: what it reads and what it writes have prices of their own.

The model is a stand-in that says the same to the same question; put yours into `model`. Run as a program, it asks:
WS402_PRIVATE_KEY=0x… python llm_tokens.py http://127.0.0.1:4030 http://127.0.0.1:8545 "What is money?"
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from hashlib import sha256

from ws402.client import EvmWallet
from ws402.client.sync import Session, connect, run
from ws402.server.resources import AsyncStream

WORDS = ["value", "trust", "time", "debt", "coin", "ledger", "price", "promise", "use", "rest"]
END = "\n"


async def model(prompt: str) -> AsyncIterator[str]:
    """Some words that depend on nothing but the question."""
    for byte in sha256(prompt.encode()).digest()[:8]:
        yield WORDS[byte % len(WORDS)]


async def chat(stream: AsyncStream) -> None:
    """What is sold. A token is charged before it is sent: nothing is written that is not paid."""
    async for prompt in stream:
        if not stream.charge(len(str(prompt).split()), "input_tokens"):
            return
        async for token in model(str(prompt)):
            if not stream.charge(1, "output_tokens"):
                return  # all that was paid is used
            await stream.send(token)
        await stream.send(END)


def ask(session: Session, prompt: str) -> list[str]:
    """The tokens of an answer."""
    session.send(prompt)
    tokens = []
    while (token := str(session.receive(30))) != END:
        tokens.append(token)
    return tokens


def main(url: str, node: str, prompt: str) -> None:
    """Pay at most a cent of an ETH, ask, and wait for the rest."""
    wallet = EvmWallet(node, os.environ["WS402_PRIVATE_KEY"])
    with connect(url, resource="chat", wallet=wallet, max_amount="0.01 ETH", trust_first_use=True) as session:
        print(" ".join(ask(session, prompt)))
        settlement = session.end()
        print(f"paid {settlement.paid}, used {settlement.consumed}, back: {session.refund()}")
    run(wallet.close())


if __name__ == "__main__":
    main(*sys.argv[1:4])
