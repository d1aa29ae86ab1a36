"""A batch is one transaction, and yet each of its operations is answered on its own."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy.exc import IntegrityError

from ws402.errors import ConflictError, WS402Error
from ws402.gateway.ledger.batching import Batcher
from ws402.gateway.ledger.database import DatabaseUnavailableError

SIZE = 64
BAD = 41


class Books:
    """Runs batches of numbers; `raises` is what a batch with the number `BAD` raises, `times` how often."""

    def __init__(self, raises: Exception, times: int = 1000) -> None:
        self.raises = raises
        self.times = times
        self.runs: list[list[int]] = []

    async def run(self, numbers: list[int]) -> list[int | WS402Error]:
        self.runs.append(numbers)
        if BAD in numbers and self.times:
            self.times -= 1
            raise self.raises
        return [ConflictError("odd") if number == 13 else -number for number in numbers]


def conflict() -> IntegrityError:
    return IntegrityError("INSERT", None, Exception("UNIQUE constraint failed"))


async def answers_of(books: Books) -> list[int | BaseException]:
    batcher: Batcher[int, int] = Batcher("test", books.run)
    answers = await asyncio.gather(*(batcher.submit(number) for number in range(SIZE)), return_exceptions=True)
    await batcher.close()
    return answers


@pytest.mark.parametrize("error", [OverflowError(), TypeError(), RecursionError(), ValueError(), conflict()])
async def test_a_bad_operation_fails_alone_whatever_it_raises(error: Exception) -> None:
    books = Books(error)
    answers = await answers_of(books)
    assert answers[BAD] is error
    assert isinstance(answers[13], ConflictError)
    assert [answers[n] for n in range(SIZE) if n not in (13, BAD)] == [-n for n in range(SIZE) if n not in (13, BAD)]
    # One bad operation among 64 must not cost its neighbours a transaction each.
    assert len(books.runs) <= 14


async def test_an_outage_fails_all_at_once() -> None:
    books = Books(DatabaseUnavailableError("away"))
    answers = await answers_of(books)
    assert all(isinstance(answer, DatabaseUnavailableError) for answer in answers)
    assert len(books.runs) == 1


async def test_what_another_gateways_transaction_was_in_the_way_of_is_done_the_second_time() -> None:
    books = Books(conflict(), times=7)  # for the whole batch, its halves, and once alone
    assert (await answers_of(books))[BAD] == -BAD
    assert books.runs.count([BAD]) == 2


async def test_operations_without_an_answer_fail_and_the_queue_goes_on() -> None:
    async def run(numbers: list[int]) -> list[int | WS402Error]:
        return [] if 1 in numbers else [0 for _ in numbers]

    batcher: Batcher[int, int] = Batcher("test", run)
    with pytest.raises(ValueError, match="zip"):
        await batcher.submit(1)
    assert await batcher.submit(2) == 0
