"""Look-ups of transactions that proofs name and the ledger does not know: how often the chain is asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import select
from tests.gateway.machine.blocks import NETWORK, Tx
from tests.gateway.machine.chain import MemoryChain
from tests.gateway.machine.gateway import TENANT, Gateway

from ws402.chains.base import ChainUnavailableError, TransferLookup, TxState
from ws402.errors import RateLimitedError
from ws402.gateway.intake import lookups as module
from ws402.gateway.intake.lookups import ASKED_PER_BLOCK, AT_ONCE, PER_BLOCK, PER_INVOICE, LookUps, Sought
from ws402.gateway.ledger.database import DatabaseUnavailableError
from ws402.gateway.ledger.tables import transfers
from ws402.protocol import GenerateRequest, Proof, RejectCode, VerifyRequest

PAYER = "0x" + "a1" * 20
SOON = 0.05
"""Seconds that a test waits for what does not come."""
LATE = 30.0
"""Seconds within which something comes."""


class AskedChain(MemoryChain):
    """Notes what it is asked; `away`: it raises that instead of answering; `held`: it answers when this is set."""

    def __init__(self) -> None:
        super().__init__()
        self.questions: list[list[str]] = []
        """Of which transactions it was asked whether they are there, together."""
        self.looked: list[str] = []
        """Which it was asked to look up."""
        self.away: Exception | None = None
        self.held: asyncio.Event | None = None

    @property
    def asked(self) -> list[str]:
        return [tx for question in self.questions for tx in question]

    async def states(self, txs: Sequence[str]) -> list[TxState]:
        self.questions.append(list(txs))
        await self._ready()
        return await super().states(txs)

    async def lookup(self, tx: str, *, amount: int = 0) -> TransferLookup:
        self.looked.append(tx)
        await self._ready()
        return await super().lookup(tx, amount=amount)

    async def _ready(self) -> None:
        if self.held is not None:
            await self.held.wait()
        if self.away is not None:
            raise self.away


class Desk:
    """A gateway's look-ups, its watch and its chain."""

    def __init__(self, url: str, chain: AskedChain) -> None:
        self.url, self.chain = url, chain
        self.gateway = gateway = Gateway(url, chain, "desk")
        self.lookups = LookUps(gateway.database, {NETWORK: chain}, gateway.service.watcher)

    async def look(self) -> None:
        await self.gateway.service.watcher.step(self.chain)

    async def block(self) -> None:
        self.chain.mine()
        await self.look()

    def pay(self) -> Tx:
        return self.chain.pay(PAYER, "ETH", 300)

    async def wait(self, tx: str, seconds: float = LATE, *, agree: bool = False) -> TransferLookup | None:
        deadline = asyncio.get_running_loop().time() + seconds
        return await self.lookups.wait(Sought(NETWORK, tx, 300, agree), deadline)

    def begin(self, tx: str, **more: Any) -> asyncio.Task[TransferLookup | None]:
        return asyncio.create_task(self.wait(tx, **more))

    async def recorded(self) -> list[str]:
        async with self.gateway.database.read() as connection:
            return list((await connection.execute(select(transfers.c.tx))).scalars())


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(LATE):
        while not true():
            await asyncio.sleep(0.001)


@pytest.fixture
async def desk(database_url: str) -> AsyncIterator[Desk]:
    chain = AskedChain()
    made = Desk(database_url, chain)
    await made.gateway.database.create()
    await made.gateway.start()
    yield made
    await made.lookups.close()
    await made.gateway.close()


def test_a20_an_invoice_is_shown_a_few_different_proofs_and_no_more(desk: Desk) -> None:
    for number in range(PER_INVOICE):
        desk.lookups.spend("invoice", str(number))
    with pytest.raises(RateLimitedError, match="More than 16 different proofs"):
        desk.lookups.spend("invoice", "one more")
    desk.lookups.spend("invoice", "0")  # the same again costs nothing
    desk.lookups.spend("another invoice", "one more")


def test_what_was_shown_is_forgotten_for_invoices_that_nobody_asks_about(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 2)
    for number in range(PER_INVOICE):
        desk.lookups.spend("first", str(number))
    desk.lookups.spend("second", "x")
    with pytest.raises(RateLimitedError):
        desk.lookups.spend("first", "one more")
    desk.lookups.spend("third", "x")  # `second` was asked about least lately
    with pytest.raises(RateLimitedError):
        desk.lookups.spend("first", "one more")
    desk.lookups.spend("second", "x")  # and now `third` is newer than `first`
    desk.lookups.spend("fourth", "x")
    desk.lookups.spend("first", "one more")


async def test_a_transfer_that_the_watch_has_not_seen_is_recorded(desk: Desk) -> None:
    tx = desk.pay()
    desk.chain.mine()
    found = await desk.wait(tx.id)
    assert found is not None
    assert [each.tx for each in found.transfers] == [tx.id]
    assert await desk.recorded() == [tx.id]
    assert desk.lookups.waiting == 0


async def test_within_one_block_the_same_question_is_asked_once(desk: Desk) -> None:
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await desk.wait("0xnever", SOON)
    assert desk.chain.asked == ["0xnever"]
    assert desk.lookups.waiting == 0


async def test_an_answer_that_stays_is_given_again_without_asking(desk: Desk) -> None:
    tx = desk.pay()
    desk.chain.mine()
    first = await desk.wait(tx.id)
    assert await desk.wait(tx.id) == first
    assert desk.chain.looked == [tx.id]


async def test_answers_are_remembered_up_to_a_bound(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 1)
    one, two = desk.pay(), desk.pay()
    desk.chain.mine()
    for tx in (one, two, two, one):
        assert await desk.wait(tx.id) is not None
    assert desk.chain.looked == [one.id, two.id, one.id]


async def test_who_waits_is_told_when_the_watch_records_it(desk: Desk) -> None:
    tx = desk.pay()
    waiting = desk.begin(tx.id)
    await until(lambda: desk.chain.asked == [tx.id])
    await desk.block()
    assert await waiting is None


async def test_a_transaction_that_waits_for_a_block_is_asked_for_at_each(desk: Desk) -> None:
    tx = desk.pay()
    waiting = desk.begin(tx.id, agree=True)
    await until(lambda: len(desk.chain.looked) == 1)
    await until(lambda: not desk.lookups._tasks)
    await desk.block()
    found = await waiting
    assert found is not None
    assert found.transfers, "endpoints were to agree, so that it is recorded does not answer"
    assert len(desk.chain.looked) == 2
    assert desk.chain.asked == []


async def test_a_transaction_that_nobody_knows_is_asked_for_more_and_more_seldom(desk: Desk) -> None:
    waiting = desk.begin("0xnever")
    asked = []
    for _ in range(9):
        await until(lambda: bool(desk.chain.asked) and not desk.lookups._tasks)
        asked.append(len(desk.chain.asked))
        await desk.block()
    waiting.cancel()
    assert asked == [1, 2, 2, 3, 3, 3, 3, 4, 4]  # after 1, 2, 4 and 8 blocks


async def test_what_another_gateway_recorded_is_found_with_the_next_block(desk: Desk) -> None:
    tx = desk.pay()
    waiting = desk.begin(tx.id)
    await until(lambda: desk.chain.asked == [tx.id] and not desk.lookups._tasks)
    desk.chain.mine()
    other = Gateway(desk.url, desk.chain, "other")
    await other.start()  # looks, and records it
    await other.close()
    await desk.look()
    assert await waiting is None
    assert desk.chain.asked == [tx.id]


async def test_a48_a_chain_that_could_not_be_asked_is_asked_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AGAIN_SECONDS", 0.01)
    tx = desk.pay()
    desk.chain.mine()
    desk.chain.away = ChainUnavailableError("no endpoint answers")
    waiting = desk.begin(tx.id)
    await until(lambda: len(desk.chain.asked) > 1)
    desk.chain.away = None
    assert await waiting is not None


@pytest.mark.parametrize(
    ("away", "told"),
    [(ChainUnavailableError("no endpoint answers"), "no endpoint answers"), (ValueError("odd"), "memory: ValueError")],
)
async def test_a48_at_the_deadline_it_says_that_the_chain_could_not_be_asked(
    desk: Desk, away: Exception, told: str
) -> None:
    desk.chain.away = away
    with pytest.raises(ChainUnavailableError, match=told):
        await desk.wait("0x1", SOON)


async def test_nothing_is_asked_for_whom_nobody_waits_any_more(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AGAIN_SECONDS", 0.01)
    desk.chain.away = ChainUnavailableError("no endpoint answers")
    waiting = desk.begin("0x1")
    await until(lambda: bool(desk.chain.asked))
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    asked = len(desk.chain.asked)
    await asyncio.sleep(5 * module.AGAIN_SECONDS)
    await desk.block()
    await until(lambda: not desk.lookups._tasks)
    assert len(desk.chain.asked) == asked


async def test_those_that_are_named_at_one_time_are_asked_for_together(desk: Desk) -> None:
    waiting = [desk.begin(f"0x{number}") for number in range(50)]
    await until(lambda: bool(desk.chain.asked) and not desk.lookups._tasks)
    await desk.block()
    await until(lambda: len(desk.chain.asked) == 100 and not desk.lookups._tasks)
    assert [len(question) for question in desk.chain.questions] == [50, 50]
    assert desk.chain.looked == []
    for each in waiting:
        each.cancel()


async def test_a20_so_many_are_asked_for_in_one_block_and_the_others_with_the_next(desk: Desk) -> None:
    many = ASKED_PER_BLOCK + 2
    waiting = [desk.begin(f"0x{number}") for number in range(many)]
    await until(lambda: desk.lookups.waiting == many and not desk.lookups._tasks)
    assert len(desk.chain.asked) == ASKED_PER_BLOCK
    await desk.block()
    await until(lambda: len(desk.chain.asked) == 2 * ASKED_PER_BLOCK and not desk.lookups._tasks)
    # Those that were never asked for come first.
    assert set(desk.chain.asked) == {f"0x{number}" for number in range(many)}
    for each in waiting:
        each.cancel()


async def test_a20_a_few_are_looked_up_at_once_and_the_others_with_the_next_blocks(desk: Desk) -> None:
    many = PER_BLOCK + AT_ONCE + 1
    paid = [desk.chain.spend(7).id for _ in range(many)]  # what is there, and pays us nothing
    waiting = [desk.begin(tx) for tx in paid]
    await until(lambda: len(desk.chain.looked) == AT_ONCE and not desk.lookups._tasks)
    await desk.block()
    await until(lambda: len(desk.chain.looked) == AT_ONCE + PER_BLOCK and not desk.lookups._tasks)
    assert len(set(desk.chain.looked)) == AT_ONCE + PER_BLOCK
    await desk.block()
    for found in await asyncio.gather(*waiting):
        assert found is not None
        assert found.other == ("recipient",)
    assert len(desk.chain.looked) == many


async def test_a_repetition_finds_no_room_and_waits_for_a_block(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(module, "ASKED_PER_BLOCK", 1)
    desk.chain.away = ChainUnavailableError("no endpoint answers")
    tx = desk.pay()
    waiting = desk.begin(tx.id)
    await until(lambda: len(desk.chain.asked) == 1)
    desk.chain.away = None
    other = desk.begin("0x1")
    await until(lambda: "0x1" in desk.chain.asked)
    await asyncio.sleep(3 * module.AGAIN_SECONDS)
    assert desk.chain.asked == [tx.id, "0x1"]
    await desk.block()
    assert await waiting is None
    other.cancel()


async def test_a_ledger_that_cannot_be_read_keeps_nobody_from_the_chain(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = desk.begin("0x1")
    await until(lambda: desk.chain.asked == ["0x1"] and not desk.lookups._tasks)

    @asynccontextmanager
    async def away() -> AsyncIterator[Any]:
        raise DatabaseUnavailableError("The ledger does not answer.")
        yield

    desk.chain.mine()
    with monkeypatch.context() as patched:
        await desk.look()
        patched.setattr(desk.gateway.database, "read", away)
        await until(lambda: desk.chain.asked == ["0x1", "0x1"])
    waiting.cancel()


async def test_a_transaction_that_pays_us_nothing_is_an_answer(desk: Desk) -> None:
    found = await desk.wait(desk.chain.spend(7).id)
    assert found is not None
    assert (found.transfers, found.other) == ((), ("recipient",))
    assert await desk.recorded() == []


async def test_a_gateway_that_closes_leaves_no_look_up_behind(desk: Desk) -> None:
    desk.chain.held = asyncio.Event()
    calls = desk.gateway.service.of(TENANT)
    invoice: Any = await calls.generate(GenerateRequest(amount=300, resource_id="film", estimated_duration=30))
    proof = Proof(reference=invoice.reference, tx_hash=desk.pay().id, sender_address=PAYER)
    looking = asyncio.create_task(calls.verify(VerifyRequest(proof=proof, server_id="server")))
    await until(lambda: len(desk.chain.asked) == 1)
    assert (await looking).code == RejectCode.TRANSFER_NOT_FOUND
    await desk.gateway.service.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}
