"""One holder per key, by the database's clock, and nobody writes after losing it."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import select, update

from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.tables import signers
from ws402.gateway.refunds.lease import Lease, LeaseLostError


def lease(database: Database, holder: str, seconds: float = 30) -> Lease:
    return Lease(database, "base-sepolia", "0xkey", holder, seconds)


async def row(database: Database) -> tuple[int, int | None]:
    async with database.begin() as connection:
        found = (await connection.execute(select(signers))).one()
    return found.lease_epoch, found.next_nonce


async def run_out(database: Database) -> None:
    """As if the holder had not renewed for long."""
    async with database.begin() as connection:
        await connection.execute(update(signers).values(lease_until=1))


async def test_a23_of_many_that_ask_at_once_one_gets_the_lease(database: Database) -> None:
    leases = [lease(database, f"gateway-{number}") for number in range(8)]
    answers = await asyncio.gather(*(each.acquire() for each in leases))
    assert sorted(answers) == [False] * 7 + [True]
    assert [each.held for each in leases] == answers
    assert await row(database) == (1, None)


async def test_a_free_lease_is_taken_at_once_and_a_held_one_only_when_it_ran_out(database: Database) -> None:
    first, second = lease(database, "first"), lease(database, "second")
    assert await first.hold()
    assert not await second.hold()
    await first.release()
    assert not first.held
    assert await second.hold()
    assert not await first.hold()
    await run_out(database)
    assert await first.hold()


async def test_a_process_that_restarts_under_its_name_waits_like_the_others(database: Database) -> None:
    assert await lease(database, "gateway-0").acquire()
    assert not await lease(database, "gateway-0").acquire()


async def test_a23_who_lost_the_lease_cannot_write_although_it_believes_to_hold_it(database: Database) -> None:
    stalled, heir = lease(database, "stalled"), lease(database, "heir")
    assert await stalled.acquire()
    await run_out(database)
    assert await heir.acquire()
    assert stalled.held
    with pytest.raises(LeaseLostError):
        async with database.begin() as connection:
            await stalled.fence(connection)
    assert not stalled.held
    async with database.begin() as connection:
        assert (await heir.fence(connection)).lease_epoch == 2


async def test_a23_two_that_take_the_same_nonces_do_not_both_get_them(database: Database) -> None:
    holder = lease(database, "holder")
    await holder.acquire()
    async with database.begin() as connection:
        await connection.execute(update(signers).values(next_nonce=7))

    async def take() -> bool:
        try:
            async with database.begin() as connection:
                await holder.advance(connection, 7, 10)
        except LeaseLostError:
            return False
        return True

    assert sorted(await asyncio.gather(take(), take(), take())) == [False, False, True]
    assert await row(database) == (1, 10)


async def test_a_lease_that_nobody_took_is_renewed_even_late(database: Database) -> None:
    holder = lease(database, "holder")
    await holder.acquire()
    await run_out(database)
    assert await holder.renew()
    assert not await lease(database, "other").acquire()


async def test_it_is_kept_in_the_background_and_lost_without_renewal(database: Database) -> None:
    holder, other = lease(database, "holder", 0.6), lease(database, "other", 0.6)
    assert await holder.acquire()
    keeper = asyncio.create_task(holder.keep())
    for _ in range(6):
        await asyncio.sleep(0.2)
        assert not await other.acquire()
    keeper.cancel()
    await asyncio.sleep(0.7)
    assert not holder.held
    assert await other.acquire()
    with pytest.raises(LeaseLostError):
        holder.require()


async def test_the_keeper_ends_when_another_took_over(database: Database) -> None:
    holder = lease(database, "holder", 0.6)
    await holder.acquire()
    keeper = asyncio.create_task(holder.keep())
    await run_out(database)
    assert await lease(database, "heir").acquire()
    async with asyncio.timeout(5):
        await keeper
    assert not holder.held
