"""The client of programs without asyncio: what it does, and what an interruption leaves behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.client.conftest import PRICE, RESOURCES
from tests.fixtures.evm import Evm
from tests.fixtures.processes import clean_environment

from ws402.client import EvmWallet, Options, PolicyError, ask_offer
from ws402.client.sync import connect, run
from ws402.errors import ConflictError, InvalidRequestError
from ws402.money import AmountError
from ws402.testing import PaidServer

LIMITS: dict[str, Any] = {"max_amount": "0.1 ETH", "trust_first_use": True}


@pytest.fixture
def shop() -> Iterator[PaidServer]:
    with PaidServer(*RESOURCES, update_interval=100, max_session_duration=3600) as server:
        yield server


@pytest.fixture
def payer(chain: Evm) -> Iterator[EvmWallet]:
    wallet = EvmWallet(chain.url, bytes(chain.account(10**18).key))
    yield wallet
    run(wallet.close())


def test_pay_stream_top_up_and_refund_one_session_after_the_other(shop: PaidServer, payer: EvmWallet) -> None:
    for _ in range(2):
        with connect(f"{shop.url}/#ticker", wallet=payer, duration=60, **LIMITS) as session:
            assert session.live
            assert '"type":"tick"' in str(next(iter(session)))
            assert session.top_up(30) == 30 * PRICE
            assert session.top_up("0.0001 ETH") == 10 * PRICE
            settlement = session.end()
            assert list(session) == [] or not session.live
            refund = session.refund()
        assert settlement.exact
        assert settlement.paid == session.paid == 100 * PRICE == settlement.consumed + settlement.refund
        assert refund is not None
        assert refund.amount == settlement.refund
        assert len(session.payments) == 3
    assert shop.provider.audit() == 0


def test_messages_are_waited_for_and_the_end_is_told(shop: PaidServer, payer: EvmWallet) -> None:
    with connect(shop.url, resource="talk", wallet=payer, duration=60, **LIMITS) as session:
        with pytest.raises(TimeoutError):
            session.receive(0.05)
        session.send("äöü")
        assert session.receive(10) == "äöü"
        session.end()
        with pytest.raises(EOFError):
            session.receive(10)
    assert shop.provider.audit() == 0


def test_an_error_in_the_block_ends_the_session_and_comes_out(shop: PaidServer, payer: EvmWallet) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        connect(f"{shop.url}/#ticker", wallet=payer, duration=60, **LIMITS) as session,
    ):
        raise ZeroDivisionError
    assert session.settlement is not None
    assert shop.sessions[0].state == "ended"
    assert shop.provider.audit() == 0


def test_the_store_remembers_the_payee(shop: PaidServer, payer: EvmWallet, tmp_path: Path) -> None:
    store = tmp_path / "payments.db"
    with connect(f"{shop.url}/#ticker", wallet=payer, duration=60, store=store, **LIMITS):
        pass
    with connect(f"{shop.url}/#ticker", wallet=payer, duration=60, store=store, max_amount="0.1 ETH") as session:
        assert session.live


@pytest.mark.parametrize(
    ("amount", "error", "match"),
    [
        ("0.000000001 ETH", AmountError, "does not pay for a second"),
        ("5 USDC", InvalidRequestError, "not in what this session is paid in"),
        ("5 DOGE", InvalidRequestError, "0.01 ETH"),
        ("0.2 ETH", PolicyError, "above"),
        ("much", AmountError, "digits"),
    ],
)
def test_an_amount_to_top_up_that_cannot_be_is_told(
    shop: PaidServer, payer: EvmWallet, amount: str, error: type[Exception], match: str
) -> None:
    with connect(f"{shop.url}/#dear", wallet=payer, duration=2, **LIMITS) as session:
        with pytest.raises(error, match=match):
            session.top_up(amount)
        assert session.paid == 2 * 10**16


def test_an_amount_says_no_time_where_more_than_time_has_a_price(shop: PaidServer, payer: EvmWallet) -> None:
    with (
        connect(shop.url, resource="talk", wallet=payer, duration=60, **LIMITS) as session,
        pytest.raises(InvalidRequestError, match="Say seconds"),
    ):
        session.top_up("0.001 ETH")


@pytest.mark.parametrize(
    ("most", "error"),
    [
        ("0.036 ETH per hour", None),
        ("0.0359 ETH per hour", PolicyError),
        ("1 USDC per hour", InvalidRequestError),
        ("1 ETH per MB", InvalidRequestError),
    ],
)
def test_the_highest_price_is_written_in_coins(
    shop: PaidServer, payer: EvmWallet, most: str, error: type[Exception] | None
) -> None:
    limits = LIMITS | {"max_price_per_second": most}
    if error is None:
        with connect(f"{shop.url}/#ticker", wallet=payer, duration=60, **limits) as session:
            assert session.price_per_second == PRICE
        return
    with pytest.raises(error), connect(f"{shop.url}/#ticker", wallet=payer, duration=60, **limits):
        pytest.fail("it connected")
    assert shop.sessions == []


def test_a_wait_on_the_clients_own_thread_is_refused(shop: PaidServer, payer: EvmWallet) -> None:
    told: list[str] = []

    def offered(_: object) -> None:
        with pytest.raises(ConflictError, match="own thread"):
            run(ask_offer(shop.url, resource="ticker"))
        told.append(threading.current_thread().name)

    options = Options(on_offer=offered)
    with connect(f"{shop.url}/#ticker", wallet=payer, duration=60, options=options, **LIMITS):
        pass
    assert told == ["ws402 client"]


PROGRAM = """
import sys
from ws402.client import EvmWallet
from ws402.client.sync import connect, run

url, node, key = sys.argv[1:]
wallet = EvmWallet(node, key)
try:
    with connect(url, wallet=wallet, max_amount="0.1 ETH", trust_first_use=True) as session:
        for message in session:
            print("streams", flush=True)
except KeyboardInterrupt:
    settlement = session.settlement
    print("left", settlement.exact, settlement.paid == settlement.consumed + settlement.refund)
run(wallet.close())
"""


def test_ctrl_c_settles_the_session_and_ends_the_program(shop: PaidServer, chain: Evm) -> None:
    key = "0x" + bytes(chain.account(10**18).key).hex()
    command = [sys.executable, "-W", "error", "-c", PROGRAM, f"{shop.url}/#ticker", chain.url, key]
    with subprocess.Popen(
        command, env=clean_environment({}), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "streams\n"
        program.send_signal(signal.SIGINT)
        out, err = program.communicate(timeout=60)
    assert (program.returncode, err) == (0, "")
    assert out.splitlines()[-1] == "left True True"
    assert shop.provider.audit() == 0
