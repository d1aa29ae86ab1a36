"""What is told of real sessions on a real chain: each event once, in the transaction of what it tells."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import select
from tests.fixtures.evm import Evm
from tests.gateway.refunds.world import NETWORK, TENANT, world

from ws402.devchain.evm import EvmDevChain
from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.event_tables import events
from ws402.gateway.ledger.outbox import tell_opened
from ws402.gateway.ledger.transactions import Outbox
from ws402.protocol.events import EVENTS

PAID = 10**16


@pytest.fixture
def evm(shared_devchain: EvmDevChain) -> Iterator[Evm]:
    evm = Evm(shared_devchain.rpc_url, name="devchain")
    yield evm
    evm.close()


@pytest.fixture
def told(database: Database) -> Database:
    """A ledger to whose events somebody listens."""
    database.outbox = Outbox({NETWORK: {"ETH": 18}})
    return database


async def read(database: Database) -> dict[str, list[dict[str, Any]]]:
    """Every event's data, by type; the rows and their bodies agree."""
    found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in EVENTS}
    async with database.read() as connection:
        for row in await connection.execute(select(events).order_by(events.c.id)):
            event = json.loads(row.body)
            assert event["type"] == row.type
            assert event["timestamp"].endswith("Z")
            found[row.type].append(event["data"])
    return found


async def test_a_sessions_whole_way_is_told_once_each(evm: Evm, told: Database) -> None:
    async with world(evm, told) as made:
        (payer,) = await made.payers(1)
        refund_id = await made.owe(payer, PAID // 4, paid=PAID)
        await made.finish()
        await made.engine.run_once()  # nothing is told again
        tx = (await made.deliveries())[0].tx
        await made.audit()
    found = await read(told)
    assert {kind: len(each) for kind, each in found.items()} == {
        "session.opened": 1,
        "session.settled": 1,
        "refund.sent": 1,
        "refund.final": 1,
        "payment.unclaimed": 0,
    }
    opened, settled = found["session.opened"][0], found["session.settled"][0]
    money = {"network": NETWORK, "asset": "ETH", "decimals": 18}
    assert opened == money | {
        "sessionId": opened["sessionId"],
        "tenant": TENANT,
        "resourceId": "film",
        "payer": made.chain.normalize_address(payer.address),
        "paid": str(PAID),
        "openedAt": opened["openedAt"],
    }
    assert settled == opened | {
        "consumed": str(PAID - PAID // 4),
        "refund": str(PAID // 4),
        "refundId": refund_id,
        "reason": "refund_requested",
        "endedAt": settled["endedAt"],
    }
    sent = found["refund.sent"][0]
    assert sent == money | {
        "refundId": refund_id,
        "sessionId": opened["sessionId"],
        "tenant": TENANT,
        "recipient": opened["payer"],
        "amount": str(PAID // 4),
        "tx": tx,
    }
    assert found["refund.final"] == [sent]


async def test_money_that_opens_nothing_is_told_when_it_is_owed_back(evm: Evm, told: Database) -> None:
    async with world(evm, told) as made:
        (payer,) = await made.payers(1)
        tx = await made.pay(payer, PAID)
        await made.service.watcher.step(made.chain)
        assert (await read(told))["payment.unclaimed"] == []
        (refund_id,) = await made.service.refund_unclaimed(NETWORK, tx)
        await made.finish()
    found = await read(told)
    (unclaimed,) = found["payment.unclaimed"]
    assert unclaimed["tx"] == tx
    assert (unclaimed["amount"], unclaimed["refundId"], unclaimed["tenant"]) == (str(PAID), refund_id, TENANT)
    assert unclaimed["invoiceId"].startswith("inv_")
    assert unclaimed["sender"] == made.chain.normalize_address(payer.address)
    (sent,) = found["refund.sent"]
    assert (sent["refundId"], sent["sessionId"], sent["tenant"]) == (refund_id, None, TENANT)
    assert len(found["refund.final"]) == 1
    assert found["session.opened"] == found["session.settled"] == []


async def test_nothing_is_written_while_nobody_listens(evm: Evm, database: Database) -> None:
    async with world(evm, database) as made:
        (payer,) = await made.payers(1)
        await made.owe(payer, PAID)
        await made.finish()
    assert not any((await read(database)).values())


async def test_an_event_is_gone_with_the_transaction_that_fails(told: Database) -> None:
    async def fail(connection: Any) -> None:
        await tell_opened(connection, [session("ses_1")], told.now_ms())
        raise LookupError

    with pytest.raises(LookupError):
        await told.run(fail)
    with pytest.raises(LookupError):
        async with told.begin() as connection:
            await fail(connection)
    assert (await read(told))["session.opened"] == []


async def test_two_gateways_that_tell_the_same_at_once_leave_one_event(told: Database, database_url: str) -> None:
    other = Database(database_url)
    other.outbox = told.outbox
    ids = [f"ses_{number}" for number in range(20)]

    async def tell(database: Database, order: list[str]) -> None:
        await database.run(lambda connection: tell_opened(connection, list(map(session, order)), database.now_ms()))

    try:
        await asyncio.gather(*(tell(each, order) for each in (told, other) for order in (ids, ids[::-1])))
    finally:
        await other.close()
    assert sorted(each["sessionId"] for each in (await read(told))["session.opened"]) == sorted(ids)


def session(session_id: str, **more: Any) -> dict[str, Any]:
    """What is known of a session when it is opened."""
    row = {"id": session_id, "tenant": TENANT, "network": NETWORK, "asset": "ETH", "resource_id": "film"}
    return row | {"payer": "0x1", "paid": 2**70, "opened_at": 1_700_000_000_000} | more


async def test_money_of_an_asset_that_is_not_configured_any_more_is_owed_back_and_told(
    evm: Evm, told: Database
) -> None:
    told.outbox = Outbox({})
    async with world(evm, told) as made:
        (payer,) = await made.payers(1)
        await made.owe(payer, PAID // 4, paid=PAID)
        tx = await made.pay(payer, PAID)
        await made.service.watcher.step(made.chain)
        assert await made.service.refund_unclaimed(NETWORK, tx)
    found = await read(told)
    for kind in ("session.opened", "session.settled", "payment.unclaimed"):
        assert [each["decimals"] for each in found[kind]] == [None]


async def test_large_amounts_and_times_survive_every_reader(told: Database) -> None:
    await told.run(lambda connection: tell_opened(connection, [session("ses_1")], 1_700_000_000_123))
    async with told.read() as connection:
        body = (await connection.execute(select(events.c.body))).scalar_one()
    event = json.loads(body, parse_float=pytest.fail)
    assert event["data"]["paid"] == str(2**70)
    assert event["timestamp"] == "2023-11-14T22:13:20.123Z"
    assert event["data"]["openedAt"] == "2023-11-14T22:13:20.000Z"
