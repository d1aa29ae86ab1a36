"""An idempotency key gets its first answer: twice in one batch, and at two gateways at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import select
from tests.fixtures.evm import Evm
from tests.gateway.till import TENANT, Till, open_till
from tests.gateway.usage.test_batches import until_waiting

from ws402.errors import ConflictError
from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.tables import sessions, transfers
from ws402.gateway.usage.settlement import lock_sessions
from ws402.protocol import Proof, RejectCode, ResumeRequest


@pytest.fixture
async def till(evm: Evm, database: Database) -> AsyncIterator[Till]:
    async with open_till(evm, database) as made:
        yield made


async def recorded(till: Till) -> Proof:
    """A proof whose transfer the ledger has: it is judged at once."""
    proof = await till.send(await till.payer(), await till.invoice())
    while not await till.rows(select(transfers).where(transfers.c.tx == proof.tx)):
        await asyncio.sleep(0.02)
    return proof


async def test_the_same_key_twice_in_a_batch_gets_the_first_ones_answer(till: Till) -> None:
    proof = await recorded(till)
    first, second = await asyncio.gather(till.verify(proof, key="k"), till.verify(proof, key="k"))
    assert first.valid
    assert second == first
    assert await till.verify(proof, key="k") == first
    assert len(await till.rows(select(sessions))) == 1


async def test_the_same_key_with_another_request_in_a_batch_is_refused(till: Till) -> None:
    one, other = await recorded(till), await recorded(till)
    answers = await asyncio.gather(
        till.verify(one, key="k"), till.verify(other, key="k"), till.verify(other), return_exceptions=True
    )
    assert isinstance(answers[1], ConflictError)
    assert answers[1].code == "key_reused"
    assert [not isinstance(each, BaseException) and each.valid for each in answers] == [True, False, True]


async def test_a_refusal_is_the_answer_of_both(till: Till) -> None:
    proof = await recorded(till)
    assert (await till.verify(proof)).valid
    refused = await asyncio.gather(till.verify(proof, key="k"), till.verify(proof, key="k"))
    assert [each.code for each in refused] == [RejectCode.ALREADY_CLAIMED] * 2


async def test_the_same_resume_key_twice_in_a_batch_gets_the_first_ones_answer(till: Till) -> None:
    opened = await till.open()
    request = ResumeRequest(token=opened.resume_token or "", server_id="s")
    calls = till.service.of(TENANT)
    first, second = await asyncio.gather(calls.resume(request, key="k"), calls.resume(request, key="k"))
    assert second == first
    assert first.epoch == 1


@pytest.fixture
async def rival(till: Till, database_url: str) -> AsyncIterator[Till]:
    """A second gateway of the same ledger."""
    database = Database(database_url)
    other = Till(till.money, till.chain, database, till.service.settings)
    other.service.watcher.heads[till.chain.network] = 2**60  # it does not watch by itself here
    yield other
    await database.close()


@pytest.mark.postgres
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_the_same_key_at_two_gateways_at_once_gets_one_answer(till: Till, rival: Till) -> None:
    proof = await recorded(till)
    async with till.database.begin() as connection:
        await connection.execute(select(transfers).where(transfers.c.tx == proof.tx).with_for_update())
        both = [asyncio.ensure_future(each.verify(proof, key="k")) for each in (till, rival)]
        await until_waiting(till.database, 2)
    first, second = await asyncio.gather(*both)
    assert first.valid, first.reason
    assert second == first


@pytest.mark.postgres
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_the_same_resume_key_at_two_gateways_at_once_gets_one_answer(till: Till, rival: Till) -> None:
    opened = await till.open()
    request = ResumeRequest(token=opened.resume_token or "", server_id="s")
    async with till.database.begin() as connection:
        await lock_sessions(connection, {opened.session_id or ""})
        both = [asyncio.ensure_future(each.service.of(TENANT).resume(request, key="k")) for each in (till, rival)]
        await until_waiting(till.database, 2)
    first, second = await asyncio.gather(*both)
    assert second == first
    assert first.epoch == 1
