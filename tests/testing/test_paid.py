"""The fixture that sells somebody's own resource and pays for it, in their project and here."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.fixtures.processes import clean_environment

from ws402.client import PaymentRejectedError, PolicyError
from ws402.errors import ConfigurationError
from ws402.server.resources import AsyncStream
from ws402.settings import ResourceSettings
from ws402.testing import PaidServer, sold


async def words(stream: AsyncStream) -> AsyncIterator[str]:
    """Two words, each a token; then it ends."""
    for word in ("one", "two"):
        stream.charge(1, "tokens")
        yield word


async def echo(stream: AsyncStream) -> None:
    """Sends back what it gets."""
    async for message in stream:
        await stream.send(message)


def test_a_session_is_paid_metered_and_settled(ws402_sell: Any) -> None:
    shop = ws402_sell(words, price="2 USDC per 1000 tokens", estimated_use="100 tokens")
    with shop.pay(seconds=300) as session:
        assert session.paid == 200_000
        assert list(session) == ["one", "two"]
        assert session.settlement.consumed == 4_000
        refund = session.refund(10)
    assert (refund.amount, refund.seen) == (196_000, True)
    (booked,) = shop.sessions
    assert (booked.state, booked.units, booked.refunded) == ("ended", {"tokens": 2}, 196_000)
    assert shop.provider.audit() == 0


async def test_async_tests_pay_too_and_several_resources_are_sold(ws402_sell: Any) -> None:
    film = ResourceSettings(id="film", kind="file", target=__file__, price_per_second=1)
    shop = ws402_sell(echo, film, price="0.00001 ETH per second")
    async with shop.connect("echo", seconds=60) as session:
        await session.send("hello")
        assert await anext(session) == "hello"
        assert await session.top_up(30) == 30 * 10**13
    async with shop.connect("film") as session:
        assert session.http_access is not None
    assert shop.provider.audit() == 0


def test_refusals_and_caps_are_those_of_the_client(ws402_sell: Any) -> None:
    shop = ws402_sell(echo)
    shop.provider.faults.reject("amount_short")
    with pytest.raises(PaymentRejectedError, match="less than"), shop.pay():
        pytest.fail("it opened")
    with pytest.raises(PolicyError, match="above"), shop.pay(max_amount=1):
        pytest.fail("it opened")
    assert shop.sessions == []


def test_a_function_that_cannot_be_imported_is_told() -> None:
    async def inner(stream: AsyncStream) -> None:
        pytest.fail("it is not called")

    with pytest.raises(ConfigurationError, match="top of its module"):
        sold(inner)


def test_a_server_that_cannot_start_says_why() -> None:
    missing = ResourceSettings(id="film", kind="file", target="/nowhere/film.mp4", price_per_second=1)
    with pytest.raises(ConfigurationError, match="film"):
        PaidServer(missing).start()


PROJECT = """
async def shout(stream):
    async for message in stream:
        await stream.send(message.upper())


def test_what_is_paid_for_is_given(ws402_sell):
    shop = ws402_sell(shout, price="0.36 USDC per hour")
    with shop.pay(seconds=60) as session:
        session.send("hello")
        assert session.receive(10) == "HELLO"
    assert shop.sessions[0].state == "ended"
    assert shop.provider.audit() == 0
"""


def test_it_is_found_in_a_project_without_any_configuration(tmp_path: Path) -> None:
    (tmp_path / "test_shout.py").write_text(PROJECT)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-W",
        "error",
        "-p",
        "no:asyncio",
        "-p",
        "no:cacheprovider",
        "test_shout.py",
    ]
    ended = subprocess.run(
        command, cwd=tmp_path, env=clean_environment({}), capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout
    assert "1 passed" in ended.stdout
