"""Delivery to real receivers: signed, at least once, at each endpoint's own pace, by one gateway at a time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import select
from standardwebhooks import WebhookVerificationError
from tests.fixtures.processes import free_port
from tests.gateway.webhooks.receiver import SECRET, Clock, Receiver, receiving
from tests.gateway.webhooks.test_events import NETWORK, session

from ws402.gateway.ledger.clock import LedgerClock
from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.event_tables import event_deliveries
from ws402.gateway.ledger.outbox import tell_opened
from ws402.gateway.ledger.transactions import Outbox
from ws402.gateway.webhooks.schedule import DELAYS, JITTER, MOST_RETRY_AFTER, next_delay, read_retry_after
from ws402.gateway.webhooks.worker import Webhooks
from ws402.settings import WebhookSettings

OTHER_SECRET = "whsec_" + "b" * 40
"""30 bytes."""


@pytest.fixture
def clock(database: Database) -> Clock:
    """The ledger's clock, in the test's hand."""
    clock = Clock()
    database.clock = LedgerClock(wall=clock.wall, monotonic=clock.monotonic)
    database.outbox = Outbox({NETWORK: {"ETH": 18}})
    return clock


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


@pytest.fixture
async def opened() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


def endpoint(receiver: Receiver, name: str = "shop", **more: Any) -> WebhookSettings:
    return WebhookSettings(name=name, url=receiver.url, **more)


async def worker(
    opened: AsyncExitStack, database: Database, *endpoints: WebhookSettings, secrets: Any = None, seconds: float = 10
) -> Webhooks:
    """Knows its endpoints and is turned by the test."""
    secrets = secrets or {each.name: [SecretStr(SECRET)] for each in endpoints}
    made = Webhooks(database, endpoints, secrets, seconds=seconds, holder="test")
    await made.store.settle_endpoints(endpoints)
    opened.push_async_callback(made.close)
    return made


async def tell(database: Database, *ids: str, **more: Any) -> None:
    rows = [session(each, **more) for each in ids]
    await database.run(lambda connection: tell_opened(connection, rows, database.now_ms()))


async def standing(database: Database) -> dict[tuple[str, str], Any]:
    """By endpoint and session's id: its row."""
    query = select(event_deliveries, event_deliveries.c.endpoint)
    async with database.read() as connection:
        return {(row.endpoint, row.event_id): row for row in await connection.execute(query)}


async def states(database: Database) -> list[tuple[str, int]]:
    return sorted((row.state, row.attempts) for row in (await standing(database)).values())


async def test_what_is_sent_verifies_and_is_sent_once(
    database: Database, clock: Clock, receiver: Receiver, opened: AsyncExitStack
) -> None:
    webhooks = await worker(opened, database, endpoint(receiver))
    await tell(database, "ses_1", "ses_2")
    assert await webhooks.turn() == 2
    assert sorted(each["data"]["sessionId"] for each in receiver.verified()) == ["ses_1", "ses_2"]
    assert {each.headers["content-type"] for each in receiver.seen} == {"application/json"}
    clock.move(86_400)
    assert await webhooks.turn() == 0
    assert await states(database) == [("delivered", 1)] * 2


async def test_a54_a_forged_or_changed_event_does_not_verify(
    database: Database, clock: Clock, receiver: Receiver, opened: AsyncExitStack
) -> None:
    webhooks = await worker(opened, database, endpoint(receiver))
    await tell(database, "ses_1")
    await webhooks.turn()
    (seen,) = receiver.seen
    seen.body = seen.body.replace(b"ses_1", b"ses_2")
    with pytest.raises(WebhookVerificationError):
        receiver.verified()
    seen.body = seen.body.replace(b"ses_2", b"ses_1")
    seen.headers["webhook-id"] += "0"
    with pytest.raises(WebhookVerificationError):
        receiver.verified()


async def test_a54_a_repeated_event_has_its_id_and_bytes_and_a_time_of_its_own(
    database: Database, clock: Clock, receiver: Receiver, opened: AsyncExitStack
) -> None:
    webhooks = await worker(opened, database, endpoint(receiver))
    receiver.answer = lambda _: 500
    await tell(database, "ses_1")
    await webhooks.turn()
    clock.move(DELAYS[0] * (1 + JITTER))
    await webhooks.turn()
    first, second = receiver.seen
    assert (first.id, first.body) == (second.id, second.body)
    assert int(second.headers["webhook-timestamp"]) >= int(first.headers["webhook-timestamp"]) + DELAYS[0]
    receiver.verified()


async def test_a_receivers_cookies_are_not_kept(
    database: Database, clock: Clock, receiver: Receiver, opened: AsyncExitStack
) -> None:
    webhooks = await worker(opened, database, endpoint(receiver))
    receiver.answer = lambda seen: (200, {"set-cookie": f"{seen.id}=1; Max-Age=3600"})
    for number in range(2):
        await tell(database, f"ses_{number}")
        await webhooks.turn()
    assert [each.headers.get("cookie") for each in receiver.seen] == [None, None]


async def test_while_a_secret_is_rotated_both_verify(
    database: Database, clock: Clock, receiver: Receiver, opened: AsyncExitStack
) -> None:
    both = {"shop": [SecretStr(OTHER_SECRET), SecretStr(SECRET)]}
    webhooks = await worker(opened, database, endpoint(receiver), secrets=both)
    await tell(database, "ses_1")
    await webhooks.turn()
    receiver.verified(SECRET)
    receiver.verified(OTHER_SECRET)
    webhooks.replace_secrets({"shop": [SecretStr(OTHER_SECRET)]})
    await tell(database, "ses_2")
    await webhooks.turn()
    receiver.verified(OTHER_SECRET)
    with pytest.raises(WebhookVerificationError):
        receiver.verified(SECRET)


async def test_a_receiver_that_is_away_for_days_gets_everything_or_is_given_up(
    database: Database, clock: Clock, receiver: Receiver, opened: AsyncExitStack
) -> None:
    port = free_port()
    nobody = WebhookSettings(name="shop", url=f"http://127.0.0.1:{port}/events")
    webhooks = await worker(opened, database, nobody)
    await tell(database, "ses_1")
    began = database.now_ms()
    for delay in DELAYS:
        assert await webhooks.turn() == 1
        assert await webhooks.turn() == 0  # not before its time
        clock.move(delay * (1 + JITTER))
    assert (database.now_ms() - began) / 1000 > 3 * 86_400
    with receiving(port) as back:
        assert await webhooks.turn() == 1
        back_ids = [each.id for each in back.seen]
    assert await states(database) == [("delivered", len(DELAYS) + 1)]
    await tell(database, "ses_2")
    for delay in (*DELAYS, 0):
        assert await webhooks.turn() == 1
        clock.move(delay * (1 + JITTER))
    clock.move(10 * 86_400)
    assert await webhooks.turn() == 0
    assert await states(database) == [("delivered", 11), ("failed", 11)]
    failed = next(row for row in (await standing(database)).values() if row.state == "failed")
    assert (failed.status, failed.error) == (None, "it cannot be reached")
    assert len(set(back_ids)) == 1


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (404, "it answered 404"),
        (500, "it answered 500"),
        ((302, {"location": "/elsewhere"}), "redirects are not followed"),
    ],
)
async def test_what_is_no_success_is_tried_again(
    database: Database, clock: Clock, receiver: Receiver, opened: AsyncExitStack, answer: Any, error: str
) -> None:
    webhooks = await worker(opened, database, endpoint(receiver))
    receiver.answer = lambda _: answer
    await tell(database, "ses_1")
    assert await webhooks.turn() == 1
    assert len(receiver.seen) == 1
    (row,) = (await standing(database)).values()
    assert (row.state, error in row.error) == ("pending", True)
    receiver.answer = lambda _: 204
    clock.move(DELAYS[0] * (1 + JITTER))
    await webhooks.turn()
    assert await states(database) == [("delivered", 2)]


async def test_gone_disables_until_it_is_enabled_or_moved(
    database: Database, clock: Clock, receiver: Receiver, opened: AsyncExitStack
) -> None:
    webhooks = await worker(opened, database, endpoint(receiver))
    receiver.answer = lambda _: 410
    await tell(database, "ses_1")
    assert await webhooks.turn() == 1
    await tell(database, "ses_2")
    clock.move(86_400)
    assert await webhooks.turn() == 0
    assert (await webhooks.standing())["shop"].disabled_at is not None
    receiver.answer = lambda _: 200
    assert await webhooks.store.disable("shop", None)
    assert await webhooks.turn() == 2
    receiver.answer = lambda _: 410
    await tell(database, "ses_3")
    await webhooks.turn()
    moved = WebhookSettings(name="shop", url=receiver.url + "/new")
    await webhooks.store.settle_endpoints([endpoint(receiver)])
    assert (await webhooks.standing())["shop"].disabled_at is not None
    await webhooks.store.settle_endpoints([moved])
    assert (await webhooks.standing())["shop"].disabled_at is None


async def test_an_endpoint_is_told_what_it_asked_for(
    database: Database, clock: Clock, receiver: Receiver, opened: AsyncExitStack
) -> None:
    with receiving() as all_of_mine, receiving() as other:
        webhooks = await worker(
            opened,
            database,
            endpoint(receiver, "refunds", events=["refund.final"]),
            endpoint(all_of_mine, "mine", tenants=["mine"]),
            endpoint(other, "all"),
        )
        await tell(database, "ses_1", tenant="mine")
        await tell(database, "ses_2", tenant="yours")
        await webhooks.turn()
        assert [each.event["data"]["tenant"] for each in all_of_mine.seen] == ["mine"]
        assert len(other.seen) == 2
        assert receiver.seen == []


async def test_a55_a_receiver_that_hangs_holds_up_nobody_else(
    database: Database, clock: Clock, receiver: Receiver, opened: AsyncExitStack
) -> None:
    with receiving() as hanging:
        hanging.hold = threading.Event()
        webhooks = await worker(opened, database, endpoint(hanging, "slow"), endpoint(receiver), seconds=120)
        await tell(database, *(f"ses_{number}" for number in range(12)))
        turn = asyncio.create_task(webhooks.turn())
        while len(receiver.seen) < 12:
            assert not turn.done()
            await asyncio.sleep(0.01)
        assert len(hanging.seen) <= 4
        turn.cancel()
        hanging.hold.set()


async def test_an_event_is_tried_once_a_turn_however_long_the_turn_is(
    database: Database, clock: Clock, receiver: Receiver, opened: AsyncExitStack
) -> None:
    webhooks = await worker(opened, database, endpoint(receiver))

    def slowly(_: Any) -> int:
        clock.move(DELAYS[0] * 2)
        return 500

    receiver.answer = slowly
    await tell(database, *(f"ses_{number}" for number in range(9)))
    assert await webhooks.turn() == 9
    assert len({each.id for each in receiver.seen}) == len(receiver.seen) == 9
    assert await states(database) == [("pending", 1)] * 9


async def test_a55_an_answer_that_never_ends_is_read_for_its_time_only(
    database: Database, clock: Clock, opened: AsyncExitStack
) -> None:
    left = asyncio.Event()

    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        try:
            while True:
                writer.write(b".")
                await writer.drain()
                await asyncio.sleep(0.02)
        except ConnectionError:
            writer.close()
            left.set()

    async with await asyncio.start_server(drip, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        webhooks = await worker(opened, database, WebhookSettings(name="shop", url=url), seconds=0.3)
        await tell(database, "ses_1")
        async with asyncio.timeout(30):
            assert await webhooks.turn() == 1
            await left.wait()
    (row,) = (await standing(database)).values()
    assert (row.state, row.error) == ("pending", "no answer within 0.3 s")


async def test_one_gateway_delivers_and_another_one_takes_over(
    database: Database, database_url: str, clock: Clock, receiver: Receiver, opened: AsyncExitStack
) -> None:
    other_database = Database(database_url)
    opened.push_async_callback(other_database.close)
    first = await worker(opened, database, endpoint(receiver))
    second = await worker(opened, other_database, endpoint(receiver))
    await tell(database, "ses_1")
    assert await first.turn() == 1
    await tell(database, "ses_2")
    assert await second.turn() == 0
    await first.lease.release()
    assert await second.turn() == 1
    assert sorted(each["data"]["sessionId"] for each in receiver.verified()) == ["ses_1", "ses_2"]


async def test_two_gateways_that_work_at_once_leave_no_event_out(
    database: Database, database_url: str, clock: Clock, receiver: Receiver, opened: AsyncExitStack
) -> None:
    other_database = Database(database_url)
    other_database.outbox = database.outbox
    opened.push_async_callback(other_database.close)
    both = [await worker(opened, each, endpoint(receiver)) for each in (database, other_database)]
    ids = {f"ses_{number:03}" for number in range(60)}

    async def write(database: Database, mine: list[str]) -> None:
        for each in mine:
            await tell(database, each)

    async def deliver(webhooks: Webhooks) -> None:
        while len(receiver.seen) < len(ids):
            await webhooks.turn()
            await webhooks.lease.release()
            await asyncio.sleep(0.01)

    halves = sorted(ids)[::2], sorted(ids)[1::2]
    async with asyncio.timeout(60):
        await asyncio.gather(
            *(write(each, half) for each, half in zip((database, other_database), halves, strict=True)),
            *map(deliver, both),
        )
    assert {each["data"]["sessionId"] for each in receiver.verified()} == ids
    assert {state for state, _ in await states(database)} == {"delivered"}


def test_delays_grow_for_days_and_a_receivers_wish_counts_within_bounds() -> None:
    assert [next_delay(number, None) is None for number in (1, len(DELAYS), len(DELAYS) + 1)] == [False, False, True]
    for number, delay in enumerate(DELAYS, 1):
        assert delay <= (next_delay(number, None) or 0) <= delay * (1 + JITTER)
    assert next_delay(1, 120) == 120
    assert next_delay(1, 10**9) == MOST_RETRY_AFTER
    assert (next_delay(9, 1) or 0) >= DELAYS[8]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120.0),
        ("Wed, 15 Nov 2023 00:00:10 GMT", 10.0),
        ("Tue, 14 Nov 2023 23:59:00 GMT", 0.0),
        ("soon", None),
        ("-5", None),
        ("9" * 5000, 999_999_999.0),
        (f"Wed, 15 Nov {'9' * 20} 00:00:10 GMT", None),
        (f"Wed, 15 Nov 2023 00:00:10 +{'9' * 20}", None),
        (None, None),
    ],
)
def test_retry_after_is_a_number_or_a_date(header: str | None, seconds: float | None) -> None:
    assert read_retry_after(header, 1_700_006_400_000) == seconds
