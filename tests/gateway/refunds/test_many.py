"""Many refunds, many processes, one ledger, one key: each refund arrives once."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from eth_account.signers.local import LocalAccount
from sqlalchemy import func, select
from tests.fixtures.evm import ETHER, Evm
from tests.fixtures.processes import clean_environment
from tests.gateway.refunds.world import World, world

from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.tables import deliveries
from ws402.protocol import Proof

SMALL = ETHER // 1000
REFUNDS = 200
PROCESSES = 4
ROOT = Path(__file__).parents[3]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.anvil,
    pytest.mark.postgres,
    pytest.mark.timeout(600),
    pytest.mark.xdist_group("anvil"),
]
on_postgres = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@pytest.fixture
async def anvil_evm(anvil: str) -> AsyncIterator[Evm]:
    """anvil with a block every second while the refunds go out; as it was afterwards."""
    evm = Evm(anvil, name="anvil")
    yield evm
    evm.rpc("evm_setIntervalMining", 0)
    evm.automine(True)
    evm.close()


async def open_sessions(w: World, payers: list[LocalAccount]) -> list[Proof]:
    proofs = []
    for payer in payers:
        await w.pay(payer, 2 * SMALL)
        await w.claim()
        proofs.append(w.proof)
    return proofs


@asynccontextmanager
async def gateways(w: World, database_url: str) -> AsyncIterator[list[Process]]:
    """Processes that serve until they are told to end."""
    started = []
    for number in range(PROCESSES):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.gateway.refunds.process",
            stdin=PIPE,
            stdout=PIPE,
            env=clean_environment({"PYTHONPATH": str(ROOT)}),
            cwd=ROOT,
        )
        order = {
            "mode": "serve",
            "database": database_url,
            "key": w.key.key.hex(),
            "rpc": w.evm.url,
            "holder": f"gateway-{number}",
        }
        assert process.stdin is not None
        process.stdin.write(json.dumps(order).encode() + b"\n")
        started.append(process)
    try:
        for process in started:
            assert process.stdout is not None
            assert await process.stdout.readline() == b"ready\n"
        yield started
    finally:
        for process in started:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def settle_at_once(processes: list[Process], proofs: list[Proof]) -> None:
    """All processes get their share in the same moment."""
    for number, process in enumerate(processes):
        share = [(each.tx_hash, each.sender_address, SMALL) for each in proofs[number::PROCESSES]]
        assert process.stdin is not None
        process.stdin.write(json.dumps(share).encode() + b"\n")


async def until_final(w: World, count: int, seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while len(await w.refunds("final")) < count:
            await asyncio.sleep(0.2)


async def check(w: World, payers: list[LocalAccount]) -> int:
    """Every payer got its refund once, and the books agree; answers how many blocks it took."""
    payouts = w.payouts()
    assert [payouts.get(payer.address.lower()) for payer in payers] == [[SMALL]] * len(payers)
    rows = await w.deliveries()
    nonces = [row.nonce for row in rows]
    assert nonces == list(range(nonces[0], nonces[0] + len(payers)))
    w.evm.rpc("evm_setIntervalMining", 0)
    await w.audit()
    return len({row.block for row in rows})


@on_postgres
async def test_a18_four_processes_deliver_two_hundred_refunds_once_each(
    anvil_evm: Evm, database: Database, database_url: str
) -> None:
    async with world(anvil_evm, database) as w:
        payers = await w.payers(REFUNDS)
        proofs = await open_sessions(w, payers)
        async with gateways(w, database_url) as processes:
            anvil_evm.mine(2)
            anvil_evm.automine(False)
            start = time.monotonic()
            await settle_at_once(processes, proofs)
            async with asyncio.timeout(200):
                while int(anvil_evm.rpc("txpool_status")["pending"], 16) < REFUNDS:
                    await asyncio.sleep(0.1)
            print(f"{REFUNDS} refunds waited for their block after {time.monotonic() - start:.1f} s")
            anvil_evm.rpc("evm_setIntervalMining", 1)
            await until_final(w, REFUNDS, 200)
        assert await check(w, payers) == 1, "they did not fit into one block"


async def first_signed(w: World) -> int:
    """Wait until refunds are signed; answers how many."""
    signed = 0
    async with asyncio.timeout(150):
        while not signed:
            await asyncio.sleep(0.005)
            signed = (await w.all(select(func.count()).select_from(deliveries)))[0][0]
    return signed


async def lease_holder(w: World, processes: list[Process]) -> tuple[str, Process]:
    holder = (await w.signer()).lease_holder
    return holder, processes[int(holder.split("/")[0].removeprefix("gateway-"))]


@on_postgres
async def test_a19_a_lease_holder_that_is_killed_midway_leaves_no_refund_undone_or_doubled(
    anvil_evm: Evm, database: Database, database_url: str
) -> None:
    async with world(anvil_evm, database) as w:
        payers = await w.payers(REFUNDS)
        proofs = await open_sessions(w, payers)
        async with gateways(w, database_url) as processes:
            anvil_evm.automine(False)
            anvil_evm.rpc("evm_setIntervalMining", 1)
            await settle_at_once(processes, proofs)
            signed = await first_signed(w)
            holder, victim = await lease_holder(w, processes)
            os.kill(victim.pid, signal.SIGKILL)
            delivered = len(await w.refunds("final"))
            assert delivered < REFUNDS, "it was killed too late to prove anything"
            start = time.monotonic()
            await until_final(w, REFUNDS, 200)
            seconds = time.monotonic() - start
            assert (await w.signer()).lease_holder != holder
        blocks = await check(w, payers)
        print(f"{holder} was killed after signing {signed}: all {REFUNDS} final {seconds:.1f} s later, {blocks} blocks")


@on_postgres
async def test_a23_a_lease_holder_that_stalls_and_wakes_up_does_no_harm(
    anvil_evm: Evm, database: Database, database_url: str
) -> None:
    """SIGSTOP for longer than the lease, in the middle of its work: it wakes up and believes that it holds the key."""
    async with world(anvil_evm, database) as w:
        payers = await w.payers(60)
        proofs = await open_sessions(w, payers)
        async with gateways(w, database_url) as processes:
            anvil_evm.automine(False)
            anvil_evm.rpc("evm_setIntervalMining", 1)
            await settle_at_once(processes, proofs)
            await first_signed(w)
            holder, victim = await lease_holder(w, processes)
            os.kill(victim.pid, signal.SIGSTOP)
            try:
                async with asyncio.timeout(150):
                    while (await w.signer()).lease_holder == holder:
                        await asyncio.sleep(0.1)
            finally:
                os.kill(victim.pid, signal.SIGCONT)
            await until_final(w, 60, 200)
        await check(w, payers)
