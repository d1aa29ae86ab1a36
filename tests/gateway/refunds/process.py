"""A gateway's core as a process of its own: `python -m tests.gateway.refunds.process`.

Configured by one line of JSON on standard input, in which `mode` says what to do. 'serve': settle what further lines
name, a list of [transaction, sender, amount], and deliver refunds until the input ends. 'crash': deliver, and kill
itself with SIGKILL at step `at`; prints 'done' when everything is delivered before that.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from typing import Any

from eth_account import Account
from tests.fixtures.evm import Evm
from tests.gateway.refunds.faults import Fuse, FusedChain, FusedDatabase
from tests.gateway.refunds.world import TENANT, UNSETTLED, World, make_chain

from ws402.gateway.ledger.database import Database
from ws402.gateway.refunds import Policy
from ws402.protocol import Proof, RefundRequest


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def lines() -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=2**24)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


async def serve(w: World, reader: asyncio.StreamReader) -> None:
    w.service.on_refunds = w.engine.wake
    await w.engine.start()
    print("ready", flush=True)
    while line := await reader.readline():
        await asyncio.gather(
            *(
                w.service.of(TENANT).refund(
                    RefundRequest(proof=Proof(tx_hash=tx, sender_address=sender), amount=amount)
                )
                for tx, sender, amount in json.loads(line)
            )
        )
        print("settled", flush=True)


async def deliver(w: World) -> None:
    while await w.refunds(*UNSETTLED):
        await w.step(1)
    print("done", flush=True)


async def main() -> None:
    reader = await lines()
    given: dict[str, Any] = json.loads(await reader.readline())
    database: Any = Database(given["database"])
    key = Account.from_key(given["key"])
    evm = Evm(given["rpc"], name="process")
    chain: Any = make_chain(given["rpc"], key.address)
    if given["mode"] == "crash":
        fuse = Fuse(given["at"], die)
        chain, database = FusedChain(chain, fuse), FusedDatabase(database, fuse)
        await chain._chain.start()
        w = World(evm, chain, database, key, holder=given["holder"], policy=Policy(resend_after_ms=0))
        await deliver(w)
        return
    w = World(evm, chain, database, key, holder=given["holder"], refund_lease_seconds=2)
    await w.service.start()
    await serve(w, reader)
    await w.engine.close()
    await w.service.close()
    await database.close()


if __name__ == "__main__":
    asyncio.run(main())
