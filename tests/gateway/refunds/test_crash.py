"""Whatever step a process dies at, the next one goes on, and every refund arrives exactly once."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

import pytest
from eth_account.signers.local import LocalAccount
from sqlalchemy import update
from tests.fixtures.evm import ETHER, Evm
from tests.fixtures.processes import clean_environment
from tests.gateway.refunds.faults import Crash, Fuse, FusedChain, FusedDatabase
from tests.gateway.refunds.world import UNSETTLED, World, world

from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.tables import signers
from ws402.gateway.refunds import Policy

SMALL = ETHER // 1000
QUICK = Policy(resend_after_ms=0)
ROOT = Path(__file__).parents[3]


async def lease_runs_out(database: Database) -> None:
    async with database.begin() as connection:
        await connection.execute(update(signers).values(lease_until=1))


async def new_debts(w: World, count: int = 2) -> list[LocalAccount]:
    payers = await w.payers(count)
    for payer in payers:
        await w.owe(payer, SMALL)
    return payers


async def run_until_crash(w: World, fuse: Fuse) -> bool:
    """A process that delivers, and dies when the fuse blows; whether it did."""
    chain = FusedChain(w.chain, fuse)
    doomed = World(w.evm, chain, FusedDatabase(w.database, fuse), w.key, holder="doomed", policy=QUICK)  # type: ignore[arg-type]
    try:
        while await w.refunds(*UNSETTLED):
            await doomed.step(1)
    except Crash:
        return True
    return False


async def crash_and_go_on(w: World, at: int) -> bool:
    payers = await new_debts(w)
    fuse = Fuse(at)
    crashed = await run_until_crash(w, fuse)
    await lease_runs_out(w.database)
    await w.finish()
    payouts = w.payouts()
    for payer in payers:
        assert payouts[payer.address.lower()] == [SMALL], f"died at step {at}, {fuse.steps[-1]}"
    await w.engine.close()  # lets go of the lease for the next round
    return crashed


@pytest.mark.parametrize("at", [5, 17, 29])
async def test_a19_a_crash_at_some_steps_loses_and_doubles_nothing(
    devchain_evm: Evm, sqlite_database: Database, at: int
) -> None:
    async with world(devchain_evm, sqlite_database, policy=QUICK) as w:
        assert await crash_and_go_on(w, at)
        await w.audit()


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_a19_a_crash_at_every_step_loses_and_doubles_nothing(devchain_evm: Evm, database: Database) -> None:
    async with world(devchain_evm, database, policy=QUICK, float_wei=10 * ETHER) as w:
        at = 1
        while await crash_and_go_on(w, at):
            await w.audit()
            at += 1
        assert at > 40, "the sweep saw far fewer steps than a delivery has"
        print(f"swept {at - 1} steps")


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_a19_a_killed_process_loses_and_doubles_nothing(
    devchain_evm: Evm, database: Database, database_url: str
) -> None:
    """SIGKILL: no clean-up of any kind runs."""
    async with world(devchain_evm, database, policy=QUICK, float_wei=10 * ETHER) as w:
        for at in range(3, 75, 6):
            payers = await new_debts(w)
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "tests.gateway.refunds.process",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env=clean_environment({"PYTHONPATH": str(ROOT)}),
                cwd=ROOT,
            )
            order = {
                "mode": "crash",
                "at": at,
                "database": database_url,
                "key": w.key.key.hex(),
                "rpc": devchain_evm.url,
                "holder": "doomed",
            }
            output, _ = await process.communicate(json.dumps(order).encode() + b"\n")
            if process.returncode == 0:
                assert b"done" in output
            else:
                assert process.returncode == -signal.SIGKILL
            await lease_runs_out(database)
            await w.finish()
            payouts = w.payouts()
            assert [payouts[payer.address.lower()] for payer in payers] == [[SMALL]] * 2, f"killed at step {at}"
            await w.engine.close()
            await w.audit()
            if process.returncode == 0:
                break
        assert at > 40, "no process was killed late enough"
