"""What operators change about events: which are sent again, and to whom."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest
from tests.gateway.webhooks.receiver import Clock, Receiver, receiving
from tests.gateway.webhooks.test_delivery import clock, endpoint, opened, receiver, standing, tell, worker

from ws402.errors import InvalidRequestError
from ws402.gateway.ledger.database import Database
from ws402.gateway.webhooks.records import Records
from ws402.gateway.webhooks.schedule import DELAYS, JITTER

__all__ = ["clock", "opened", "receiver"]  # fixtures


async def test_an_event_is_sent_again_to_nobody_who_is_not_told_of_it(
    database: Database, clock: Clock, receiver: Receiver, opened: AsyncExitStack
) -> None:
    with receiving() as everything:
        mine, whole = endpoint(receiver, "mine", tenants=["mine"]), endpoint(everything, "all")
        webhooks = await worker(opened, database, mine, whole)
        records = Records(database, webhooks)
        await tell(database, "ses_1", tenant="yours")
        await webhooks.turn()
        (seen,) = everything.seen
        assert await records.replay([seen.id], None) == [seen.id]
        with pytest.raises(InvalidRequestError, match="'mine' is not told of event"):
            await records.replay([seen.id], "mine")
        await webhooks.turn()
        assert receiver.seen == []
        assert [each.id for each in everything.seen] == [seen.id] * 2
        assert [name for name, _ in await standing(database)] == ["all"]
        refunds = await worker(opened, database, endpoint(receiver, "refunds", events=["refund.final"]))
        with pytest.raises(InvalidRequestError, match="webhooks are not told of event"):
            await Records(database, refunds).replay([seen.id], None)


async def test_all_that_was_given_up_is_sent_again_and_nothing_else(
    database: Database, clock: Clock, receiver: Receiver, opened: AsyncExitStack
) -> None:
    webhooks = await worker(opened, database, endpoint(receiver))
    records = Records(database, webhooks)
    await tell(database, "ses_1")
    await webhooks.turn()
    receiver.answer = lambda _: 500
    await tell(database, "ses_2")
    for delay in (*DELAYS, 0):
        await webhooks.turn()
        clock.move(delay * (1 + JITTER))
    receiver.answer = lambda _: 200
    before = len(receiver.seen)
    given_up = receiver.seen[-1].id
    assert await records.replay([], "shop", failed=True, dry_run=True) == [given_up]
    assert await webhooks.turn() == 0
    assert await records.replay([], "shop", failed=True) == [given_up]
    assert await webhooks.turn() == 1
    assert [each.id for each in receiver.seen[before:]] == [given_up]
    assert await records.replay([], None, failed=True) == []
