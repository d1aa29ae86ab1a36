"""Many paid sessions from one process; run inside the cluster by `fixtures.Load`, with the image that has the client.

    load.py URL RPC FIRST_ACCOUNT COUNT SECONDS

Opens COUNT sessions from the development chain's accounts and keeps them, over any number of resumes, until the file
/tmp/leave is there. One JSON line for each thing that happens; the last has the sums.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from pathlib import Path

from ws402.client import EvmWallet, Options, Session, connect
from ws402.devchain.evm.accounts import derive
from ws402.errors import WS402Error
from ws402.protocol import Draining, ServerMessage, SessionStarted

LEAVE = Path("/tmp/leave")
WALLETS = 3
AT_ONCE = 16
CAP = 10**18


def say(event: str, **fields: object) -> None:
    print(json.dumps({"event": event, "at": round(time.time(), 2), **fields}), flush=True)


class Load:
    def __init__(self, url: str, rpc: str, first: int, seconds: int) -> None:
        accounts = derive(first + WALLETS)[first:]
        self.wallets = [EvmWallet(rpc, account.key) for account in accounts]
        self.url = url
        self.seconds = seconds
        self.count: Counter[str] = Counter()
        self.money: Counter[str] = Counter()
        self.opening = asyncio.Semaphore(AT_ONCE)
        self.errors: list[str] = []

    async def one(self, number: int) -> None:
        def event(message: ServerMessage) -> None:
            match message:
                case SessionStarted(resumed=True):
                    self.count["resumed"] += 1
                case Draining():
                    self.count["draining"] += 1
                case _:
                    pass

        options = Options(allow_plaintext=True, on_event=event, reconnect_seconds=90)
        opening = self.opening
        await opening.acquire()
        opened = False
        try:
            async with connect(
                self.url,
                wallet=self.wallets[number % WALLETS],
                max_amount=CAP,
                resource="ticker",
                duration=self.seconds,
                trust_first_use=True,
                options=options,
            ) as session:
                opening.release()
                opened = True
                self.count["opened"] += 1
                await self.stay(session)
                settlement = await session.end()
                self.count["exact" if settlement.exact else "estimated"] += 1
                for name in ("paid", "consumed", "refund"):
                    self.money[name] += getattr(settlement, name)
        except WS402Error as error:
            self.count["failed" if opened else "refused"] += 1
            self.errors.append(f"{type(error).__name__} {error.code}: {error.message}"[:200])
        finally:
            if not opened:
                opening.release()

    async def stay(self, session: Session) -> None:
        async def read() -> None:
            async for _ in session:
                self.count["messages"] += 1

        reading = asyncio.create_task(read())
        while not LEAVE.exists() and not reading.done():
            await asyncio.sleep(0.5)
        if reading.done():
            reading.result()
            self.count["ended_by_server"] += 1
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)

    async def tell(self, total: int) -> None:
        """Figures every second, so that who waits for them need not ask."""
        said = False
        while True:
            await asyncio.sleep(1)
            if not said and self.count["opened"] + self.count["refused"] >= total:
                said = True
                say("all", **self.count, errors=self.errors[:5])
            else:
                say("now", **self.count, errors=self.errors[:5])


async def main() -> None:
    url, rpc, first, count, seconds = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6])
    load = Load(url, rpc, first, seconds)
    telling = asyncio.create_task(load.tell(count))
    await asyncio.gather(*(load.one(number) for number in range(count)))
    telling.cancel()
    say("done", **load.count, **load.money, errors=load.errors[:5])


asyncio.run(main())
