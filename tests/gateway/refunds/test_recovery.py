"""An old copy of the ledger is put back, and nothing is paid twice: on real chains, with real copies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import update
from tests.fixtures import database as database_files
from tests.fixtures.evm import ETHER, Evm
from tests.fixtures.solana_world import SolanaWorld
from tests.gateway.refunds.solana_world import SolanaGateway, solana_gateway
from tests.gateway.refunds.world import NETWORK, TENANT, World, world

from ws402.chains.base import Chain
from ws402.chains.solana import from_settings
from ws402.errors import ConflictError
from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.tables import signers
from ws402.gateway.refunds import Policy
from ws402.gateway.refunds.recovery import Reconciliation, Recovery
from ws402.protocol import RefundRequest

SMALL = ETHER // 1000


async def copied(w: World | SolanaGateway, folder: Path) -> Path:
    """A copy, made as an operator does while the gateway works."""
    return await asyncio.to_thread(database_files.back_up, w.database.name, folder)


@asynccontextmanager
async def put_back(copy: Path, url: str = "sqlite", *, at: int | None = None) -> AsyncIterator[Database]:
    """The copy, restored as an operator does. `at`: when, ms since the epoch."""
    stack = ExitStack()
    try:
        restored = await asyncio.to_thread(stack.enter_context, database_files.put_back(copy, url, at=at))
        database = Database(restored)
        try:
            yield database
        finally:
            await database.close()
    finally:
        await asyncio.to_thread(stack.close)


@asynccontextmanager
async def restored(w: World, copy: Path, url: str = "sqlite") -> AsyncIterator[World]:
    """The gateway is gone; another one starts on the copy, which was put back."""
    async with put_back(copy, url) as database, world(w.evm, database, key=w.key, holder="restored") as after:
        after.first_block = w.first_block
        yield after


@asynccontextmanager
async def empty(url: str) -> AsyncIterator[Database]:
    """A ledger with its schema."""
    database = Database(url)
    try:
        await database.create()
        yield database
    finally:
        await database.close()


async def reconcile(w: World | SolanaGateway, *, dry_run: bool = False) -> Reconciliation:
    recovery = Recovery(w.database, w.service.chains, w.service.addresses)
    while True:
        answer = await recovery.reconcile(w.chain.network, dry_run=dry_run)
        if answer.state != "looking":
            return answer


async def test_a19_what_was_paid_after_the_copy_is_not_paid_again(
    evm_and_ledger: tuple[Evm, str], tmp_path: Path
) -> None:
    evm, url = evm_and_ledger
    many = 47 if evm.name == "devchain" else 12
    async with empty(url) as database, world(evm, database) as w:
        payers = await w.payers(many + 3)
        await w.step()
        owed = [await w.owe(payer, SMALL + number) for number, payer in enumerate(payers[:many])]
        copy = await asyncio.to_thread(database_files.back_up, url, tmp_path)
        await w.finish()  # all paid after the copy
        late = await w.owe(payers[many], SMALL)
        await w.finish()  # and one that the copy knows nothing of
        await w.pay(payers[many + 1], SMALL)
        new = w.proof  # paid, and claimed by nobody yet
        evm.mine(4)
        before = w.payouts()
        assert sum(len(each) for each in before.values()) == many + 1
    async with restored(w, copy, url) as w:
        for _ in range(3):
            await w.step(1)
        assert len(await w.refunds("waiting", "due")) == many  # it does not know better, and signs nothing
        assert "ws402 ops reconcile" in w.engine.stats()[NETWORK]["paused"]
        with pytest.raises(ConflictError, match="restored from a copy"):
            await w.operator.resume(NETWORK)
        seen = await reconcile(w, dry_run=True)
        assert seen.state == "found"
        assert sorted(each for send in seen.sends for each in send.refunds) == sorted(owed)
        assert [send.recipient for send in seen.sends if not send.refunds] == [payers[many].address]
        assert len(await w.refunds("waiting", "due")) == many  # a dry run
        done = await reconcile(w)
        assert (done.state, len(done.sends), done.held) == ("done", many + 1, [])
        assert {row.id for row in await w.refunds("final")} == set(owed)
        await w.audit()
        # What arrived since was found by the watch. Its invoice was made after the copy: the operator sends it back.
        await w.service.refund_unclaimed(NETWORK, new.tx or "")
        await w.owe(payers[many + 2], SMALL)
        await w.finish()
        after = w.payouts()
        assert late not in {row.id for row in await w.refunds()}
        assert {who: sums for who, sums in after.items() if who in before} == before
        assert after.keys() - before.keys() == {payers[many + 1].address.lower(), payers[many + 2].address.lower()}
        await w.audit()


async def test_a19_a_session_that_the_copy_shows_as_live_is_not_refunded_again(
    devchain_evm: Evm, sqlite_database: Database, tmp_path: Path
) -> None:
    async with world(devchain_evm, sqlite_database) as w:
        (payer,) = await w.payers(1)
        await w.step()
        await w.pay(payer, SMALL)
        await w.claim()
        proof, copy = w.proof, await copied(w, tmp_path)
        await w.service.of(TENANT).refund(RefundRequest(proof=proof, amount=SMALL // 2))
        await w.finish()
        devchain_evm.mine(4)
        assert w.received(payer) == SMALL // 2
    async with restored(w, copy) as w:
        done = await reconcile(w)
        assert [each.refunds for each in done.sends] == [[]]
        # By what the copy knows, less was used.
        await w.service.of(TENANT).refund(RefundRequest(proof=proof, amount=SMALL))
        for _ in range(4):
            await w.step(1)
        (refund,) = await w.refunds()
        assert refund.state == "held"
        assert done.sends[0].tx in refund.reason
        assert w.received(payer) == SMALL // 2
        await w.audit()
        await w.operator.resolve(refund.id, "It was paid before the ledger was restored.")
        await w.audit()


async def test_a19_a_refund_whose_fee_was_raised_after_the_copy_is_followed(
    devchain_evm: Evm, sqlite_database: Database, tmp_path: Path
) -> None:
    eager = Policy(resend_after_ms=0, bump_after_ms=0)
    async with world(devchain_evm, sqlite_database, policy=eager) as w:
        (payer,) = await w.payers(1)
        refund_id = await w.owe(payer, SMALL)
        devchain_evm.mine(2)
        devchain_evm.automine(False)
        await w.step()
        copy = await copied(w, tmp_path)
        await w.step()
        devchain_evm.automine(True)
        await w.finish()
        assert len(await w.attempts()) == 2
        devchain_evm.mine(4)
    async with restored(w, copy) as w:
        assert len(await w.attempts()) == 1
        done = await reconcile(w)
        assert (done.sends, len(done.dearer), done.held) == ([], 1, [])
        await w.finish()
        assert (await w.refund(refund_id)).state == "final"
        assert w.received(payer) == SMALL
        await w.audit()


async def test_a19_debts_that_travelled_together_and_what_the_operator_took_are_told_apart(
    devchain_evm: Evm, sqlite_database: Database, tmp_path: Path
) -> None:
    token = await asyncio.to_thread(devchain_evm.token)
    async with world(devchain_evm, sqlite_database) as w:
        one, two = await w.payers(2)
        owed = [await w.owe(one, SMALL + number) for number in range(3)]
        held = await w.owe(two, SMALL)
        await w.operator.hold(held, "to be looked at")
        copy = await copied(w, tmp_path)
        await w.finish(passes=40)
        assert len(await w.deliveries()) == 1
        cold = devchain_evm.account(0).address
        await asyncio.to_thread(devchain_evm.send, w.key, cold, value=SMALL)
        await asyncio.to_thread(devchain_evm.send, w.key, token.address, data=token.data("mint", w.key.address, 5))
        devchain_evm.mine(4)
    async with restored(w, copy) as w:
        done = await reconcile(w)
        assert [each.refunds for each in done.sends] == [owed, [], []]
        assert [each.amount for each in done.sends] == [3 * SMALL + 3, SMALL, 0]
        await w.audit()
        assert (await w.refund(held)).state == "held"
        await w.operator.release(held)
        await w.finish()
        assert (w.received(one), w.received(two)) == (3 * SMALL + 3, SMALL)
        await w.audit()


async def test_a19_nothing_is_booked_before_it_is_final_and_known_to_be_all(
    devchain_evm: Evm, sqlite_database: Database, tmp_path: Path
) -> None:
    async with world(devchain_evm, sqlite_database) as w:
        payers = await w.payers(2)
        await w.step()
        await w.owe(payers[0], SMALL)
        devchain_evm.mine(2)
        copy = await copied(w, tmp_path)
        await w.step()
    async with restored(w, copy) as w:
        early = await reconcile(w)
        assert early.state == "waiting"
        assert "not final" in (early.reason or "")
        devchain_evm.mine(4)
        devchain_evm.automine(False)
        raw = devchain_evm.sign(w.key, payers[1].address, value=1)
        devchain_evm.submit(raw)
        pool = await reconcile(w)
        assert pool.state == "waiting"
        assert "pools" in (pool.reason or "")
        devchain_evm.mine(5)
        devchain_evm.automine(True)
        blind = Blind(w.chain)
        lost = Recovery(w.database, {NETWORK: cast("Chain", blind)}, w.service.addresses)
        with pytest.raises(ConflictError, match="show no transactions with the nonces"):
            await lost.reconcile(NETWORK, dry_run=False)
        assert len(await w.refunds("waiting", "due")) == 1
        done = await reconcile(w)
        assert (done.state, len(done.sends)) == ("done", 2)
        await w.finish()
        assert w.received(payers[0]) == SMALL
        await w.audit()


class Blind:
    """A chain whose endpoints have lost old blocks; all else is the real one."""

    def __init__(self, chain: Any) -> None:
        self._chain = chain

    def __getattr__(self, name: str) -> Any:
        return getattr(self._chain, name)

    async def sends(self, *_: Any) -> list[Any]:
        return []


async def test_a19_a_copy_that_was_put_back_by_hand_is_noticed_and_reconciled(
    devchain_evm: Evm, sqlite_database: Database, tmp_path: Path
) -> None:
    async with world(devchain_evm, sqlite_database) as w:
        payers = await w.payers(3)
        await w.owe(payers[0], SMALL)
        await w.finish()
        owed = [await w.owe(payer, SMALL) for payer in payers[1:]]
        copy = await copied(w, tmp_path)
        await w.finish()
        devchain_evm.mine(4)
    old = Database(f"sqlite:///{copy}")
    try:
        async with old.begin() as connection:
            await connection.execute(update(signers).values(lease_until=1))
        first = w.first_block
        async with world(devchain_evm, old, key=w.key, holder="by hand") as w:
            w.first_block = first
            for _ in range(3):
                await w.step(1)
            assert "ws402 ops reconcile" in (await w.signer()).pause_reason
            assert len(await w.refunds("waiting", "due")) == 2
            done = await reconcile(w)
            assert sorted(each for send in done.sends for each in send.refunds) == sorted(owed)
            assert not (await w.signer()).paused
            assert (await reconcile(w)).through == 0  # nothing more to do
            await w.finish()
            assert [w.received(payer) for payer in payers] == [SMALL] * 3
            await w.audit()
    finally:
        await old.close()


def solana_again(made: SolanaWorld, database: Database) -> AbstractAsyncContextManager[SolanaGateway]:
    """Another gateway, with connections of its own."""
    return solana_gateway(made, database, chain=from_settings(made.settings), holder="restored")


async def test_a19_on_solana_what_was_paid_after_the_copy_is_not_paid_again(
    solana_world: SolanaWorld, sqlite_database: Database, tmp_path: Path
) -> None:
    async with solana_gateway(solana_world, sqlite_database) as w:
        payers = [await w.payer() for _ in range(3)]
        owed = [await w.owe(payer, 5_000_000 + n, asset) for n, asset in enumerate(("SOL", "DUSD")) for payer in payers]
        copy = await copied(w, tmp_path)
        await w.finish()
        await w.owe(payers[0], 7_000_000)
        await w.finish()
        solana_world.finalize()
        arrived = {
            (payer.address, asset): await w.arrived(payer, asset) for payer in payers for asset in w.chain.assets
        }
    async with put_back(copy) as database, solana_again(solana_world, database) as w:
        early = await reconcile(w)
        assert early.state == "waiting"
        assert "can still land" in (early.reason or "")
        assert await w.refunds("final") == []
    copy.with_name(f"{copy.name}-restored.db").unlink()
    long_ago = sqlite_database.now_ms() - 600_000
    async with put_back(copy, at=long_ago) as database, solana_again(solana_world, database) as w:
        await w.engine.run_once()
        assert await w.refunds("in_flight", "confirmed", "final") == []
        done = await reconcile(w)
        assert done.state == "done", done.reason
        assert sorted(each for send in done.sends for each in send.refunds) == sorted(owed)
        assert [send.amount for send in done.sends if not send.refunds] == [7_000_000]
        await w.finish()
        await w.audit()
        for payer in payers:
            for asset in w.chain.assets:
                assert await w.arrived(payer, asset) == arrived[payer.address, asset]
