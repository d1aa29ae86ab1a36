"""Gateways as processes: killed between a commit and its delivery, replaced by another, and asked by operators."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import httpx
from click.testing import CliRunner
from eth_account import Account
from sqlalchemy import select
from tests.fixtures.evm import ETHER, Evm
from tests.fixtures.processes import free_port
from tests.fixtures.stack import MakeStack, Stack
from tests.gateway.webhooks.receiver import SECRET, Receiver, receiving

from ws402.cli.ops import command
from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.event_tables import events

PAID = 10**16


def wait(until: Callable[[], Any], seconds: float = 60) -> Any:
    end = time.monotonic() + seconds
    while not (found := until()):
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.05)
    return found


def settings(port: int) -> dict[str, str]:
    return {
        "WEBHOOKS": json.dumps([{"name": "shop", "url": f"http://127.0.0.1:{port}/events"}]),
        "WEBHOOK_SECRETS": json.dumps({"shop": SECRET}),
        "REFUND_LEASE_SECONDS": "2",
    }


def call(stack: Stack, path: str, body: dict[str, Any], gateway: int = 0) -> Any:
    headers = {"authorization": f"Bearer {stack.api_key}"}
    answer = httpx.post(f"{stack.gateway_urls[gateway]}{path}", json=body, headers=headers, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.json()


def open_session(stack: Stack) -> dict[str, Any]:
    """Pay and open a session; answers the proof."""
    invoice = call(stack, "/api/payment/generate", {"amount": PAID, "resourceId": "film", "estimatedDuration": 60})
    payer = Account.create()
    stack.rpc.fund(payer.address, ETHER)
    evm = Evm(stack.rpc_url, name="devchain")
    try:
        data = bytes.fromhex(invoice["data"][2:])
        tx = evm.send(payer, invoice["recipient"], value=PAID, data=data)
    finally:
        evm.close()
    proof = {"reference": invoice["reference"], "txHash": tx, "senderAddress": payer.address}
    assert call(stack, "/api/payment/verify", {"proof": proof})["valid"]
    return proof


def rows(url: str) -> list[tuple[str, str]]:
    """Every event in the ledger: its type and subject."""

    async def read() -> list[tuple[str, str]]:
        database = Database(url)
        try:
            async with database.read() as connection:
                found = await connection.execute(select(events.c.type, events.c.subject).order_by(events.c.id))
                return [(row.type, row.subject) for row in found]
        finally:
            await database.close()

    return asyncio.run(read())


def ops(stack: Stack, *arguments: str) -> str:
    environment = {"GATEWAY_ADMIN_KEY": stack.admin_key}
    done = CliRunner().invoke(command, ["--url", stack.gateway_url, *arguments], env=environment)
    assert done.exit_code == 0, done.output
    return done.output


def test_a54_a_gateway_that_is_killed_before_it_delivers_tells_everything_afterwards_once(
    make_stack: MakeStack, database_url: str
) -> None:
    port = free_port()
    stack = make_stack(servers=0, database_url=database_url, gateway_settings=settings(port))
    proof = open_session(stack)
    call(stack, "/api/payment/refund", {"proof": proof, "amount": PAID // 2})
    stack.gateway.kill()
    with receiving(port) as receiver:
        stack.gateway.start()
        wait(lambda: len({each.id for each in receiver.seen}) == 4)
        told = receiver.verified()
        expected = ["refund.final", "refund.sent", "session.opened", "session.settled"]
        assert sorted({each["type"] for each in told}) == expected
        assert sorted(kind for kind, _ in rows(stack.database_url)) == expected
        check_ops(stack, receiver)


def check_ops(stack: Stack, receiver: Receiver) -> None:
    def delivered() -> Any:
        found = json.loads(ops(stack, "--json", "events", "list"))["events"]
        return found if all(each["deliveries"][0]["state"] == "delivered" for each in found) else None

    listed = wait(delivered)
    opened = next(each for each in listed if each["type"] == "session.opened")
    assert f"shop: delivered ({opened['deliveries'][0]['attempts']})" in ops(stack, "events", "list")
    assert opened["subject"] in ops(stack, "events", "show", opened["id"])
    assert "shop  all     all" in ops(stack, "events", "endpoints")
    before = len(receiver.seen)
    assert "would be done" in ops(stack, "--dry-run", "events", "replay", opened["id"])
    assert f"done: {opened['id']}" in ops(stack, "events", "replay", opened["id"], "--endpoint", "shop")
    wait(lambda: len(receiver.seen) > before)
    first, *_, again = (each for each in receiver.seen if each.id == opened["id"])
    assert first.body == again.body
    receiver.verified()
    assert "nothing to do" in ops(stack, "events", "replay", "--failed")
    assert "nothing to do" in ops(stack, "events", "enable", "shop")
