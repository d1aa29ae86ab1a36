"""Logs: one JSON object a line, lines for people on a terminal, and no secret in any, at any level."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from tests.fixtures.evm import ETHER
from tests.fixtures.processes import free_port
from tests.fixtures.stack import MakeStack, Stack
from tests.wire.peers.client import StockClient
from tests.wire.peers.wallet import Wallet

from ws402.client import EvmWallet, connect
from ws402.observability import logs, metrics
from ws402.observability.context import session_id
from ws402.settings import ServerSettings, load


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_record_is_one_json_object_with_what_is_bound() -> None:
    out = io.StringIO()
    logs.configure(load(ServerSettings, log_level="debug"), "server", out)
    before = metrics.LOG_RECORDS.value("error")
    with structlog.contextvars.bound_contextvars(session_id="ses_1"):
        try:
            int("bad\nvalue")
        except ValueError:
            logging.getLogger("ws402.test").exception("it %s", "failed", extra={"network": "base"})
    (line,) = out.getvalue().splitlines()
    record = json.loads(line)
    wanted = {"event": "it failed", "level": "error", "logger": "ws402.test", "component": "server"}
    assert wanted.items() <= record.items()
    assert record["session_id"] == "ses_1"
    assert record["network"] == "base"
    assert record["timestamp"].endswith("Z")
    assert "ValueError: invalid literal" in record["exception"]
    assert metrics.LOG_RECORDS.value("error") == before + 1


def test_a_terminal_gets_lines_for_people() -> None:
    out = Terminal()
    logs.configure(load(ServerSettings), "server", out)
    logging.getLogger("ws402.test").warning("look here")
    assert "look here" in out.getvalue()
    assert not out.getvalue().startswith("{")


def test_libraries_say_no_more_than_warnings() -> None:
    out = io.StringIO()
    logs.configure(load(ServerSettings, log_level="debug"), "server", out)
    for name in logs.TALKATIVE:
        logging.getLogger(f"{name}.part").info("chatter")
    assert out.getvalue() == ""


@pytest.fixture
def talkative(make_stack: MakeStack) -> Stack:
    loud = {"LOG_LEVEL": "debug"}
    dead = f"http://127.0.0.1:{free_port()}/v2/{'deadendpointkey' * 2}"
    stack = make_stack(gateway_settings=loud, server_settings=loud)
    stack.gateway.stop()
    stack.gateway.environment["BASE_RPC"] = f"{dead},{stack.rpc_url}"
    stack.gateway.start()
    return stack


async def test_a35_no_secret_is_in_any_log_of_a_mixed_run(talkative: Stack) -> None:
    stack = talkative
    secrets = [stack.merchant_key[2:], stack.api_key, stack.other_key, stack.admin_key, "deadendpointkey"]
    async with Wallet(stack.rpc_url) as wallet, StockClient(stack.server_url, wallet) as peer:
        stack.rpc.fund(wallet.address, ETHER)
        schema = await peer.schema("ticker", 300)
        secrets.append(schema["paymentDetails"]["reference"])
        proof = await peer.pay(schema["paymentDetails"])
        async with await peer.open("ticker") as session:
            started = await session.start(proof)
            secrets.append(started["resumeToken"])
            await session.send("hello")
            await session.expect("usage_update")
        async with await peer.open("ticker") as session:
            await session.prove(proof)
            await session.expect("payment_rejected")
        stack.rpc.fund(wallet.address, ETHER)
        async with await peer.buy("ticker", 300) as session:
            stack.gateway.kill()
            await session.expect("usage_update")
        stack.gateway.start()
    payer = EvmWallet(stack.rpc_url, stack_payer := "0x" + "42" * 32)
    secrets.append(stack_payer[2:])
    stack.rpc.fund(payer.address, ETHER)
    async with connect(
        stack.server_url, resource="ticker", wallet=payer, max_amount=ETHER, trust_first_use=True
    ) as session:
        assert session.id
    await payer.close()
    written = "".join(process.output() for process in (*stack.gateways, *stack.servers))
    lines = [line for line in written.splitlines() if line.strip()]
    assert len(lines) > 20
    for line in lines:
        assert isinstance(json.loads(line), dict)
    assert '"level": "debug"' in written
    assert [secret for secret in secrets if secret in written] == []


def test_a_task_says_which_session_it_works_for() -> None:
    out = io.StringIO()
    logs.configure(load(ServerSettings), "server", out)
    token = session_id.set("ses_7")
    logging.getLogger("ws402.test").info("settled")
    session_id.reset(token)
    assert json.loads(out.getvalue())["session_id"] == "ses_7"
