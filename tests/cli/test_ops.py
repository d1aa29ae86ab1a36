"""`ws402 ops` as an operator uses it, against a running gateway."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.fixtures.evm import ETHER, Evm

from ws402.cli import cli
from ws402.devchain.evm import EvmDevChain
from ws402.errors import WS402Error
from ws402.gateway.runtime import Gateway, build
from ws402.protocol import GenerateRequest, Proof, RefundRequest, VerifyRequest
from ws402.settings import GatewaySettings

ADMIN_KEY, SERVER_KEY = "a" * 40, "s" * 40


@pytest.fixture
async def gateway(shared_devchain: EvmDevChain, tmp_path: Path) -> AsyncIterator[tuple[Gateway, Evm]]:
    evm = Evm(shared_devchain.rpc_url, name="devchain")
    merchant = await asyncio.to_thread(evm.account, ETHER)
    values: dict[str, Any] = {
        "gateway_port": 0,
        "gateway_api_key": SERVER_KEY,
        "gateway_admin_key": ADMIN_KEY,
        "database_url": f"sqlite:///{tmp_path / 'ledger.db'}",
        "base_rpc": evm.url,
        "merchant_private_key": "0x" + merchant.key.hex().removeprefix("0x"),
        "refund_interval_seconds": 0.1,
    }
    made = build(GatewaySettings(**values))
    await made.start()
    yield made, evm
    await made.close()
    evm.close()


async def ops(gateway: Gateway, *arguments: str, key: str = ADMIN_KEY) -> Result:
    """Run the command in a thread, for the gateway answers in this one."""
    environment = {"GATEWAY_ADMIN_KEY": key, "GATEWAY_URL": gateway.url}
    return await asyncio.to_thread(CliRunner().invoke, cli, ["ops", *arguments], env=environment)


async def owe(gateway: Gateway, evm: Evm) -> str:
    """A refund that is due; answers its id."""
    payer = await asyncio.to_thread(evm.account, ETHER)
    details: Any = await gateway.service.generate(
        "default", GenerateRequest(amount=10**15, resource_id="feed", estimated_duration=60)
    )
    data = bytes.fromhex(details.data[2:])
    tx = await asyncio.to_thread(evm.send, payer, details.recipient, value=10**15, data=data)
    proof = Proof(reference=details.reference, tx_hash=tx, sender_address=payer.address)
    assert (await gateway.service.verify("default", VerifyRequest(proof=proof))).valid
    answer = await gateway.service.refund("default", RefundRequest(proof=proof, amount=4 * 10**14))
    assert answer.refund_id
    return answer.refund_id


async def test_the_audit_is_clean_and_says_so(gateway: tuple[Gateway, Evm]) -> None:
    running, evm = gateway
    await owe(running, evm)
    result = await ops(running, "audit")
    assert result.exit_code == 0, result.output
    assert "difference" in result.output
    assert json.loads((await ops(running, "--json", "audit")).output)["clean"] is True


async def test_a_difference_ends_with_status_3(gateway: tuple[Gateway, Evm]) -> None:
    running, evm = gateway
    chain = next(iter(running.chains.values()))
    running.service.addresses[chain.network].add(chain.normalize_address(evm.funder.address))
    assert (await ops(running, "audit")).exit_code == 3


async def test_a_refund_is_held_and_released(gateway: tuple[Gateway, Evm]) -> None:
    running, evm = gateway
    refund_id = await owe(running, evm)
    assert (await ops(running, "hold", refund_id, "--reason", "asked by the payer")).exit_code == 0
    listed = await ops(running, "pending")
    assert refund_id in listed.output
    assert "asked by the payer" in listed.output
    assert (await ops(running, "release", refund_id)).exit_code == 0
    assert "asked by the payer" not in (await ops(running, "pending")).output
    unknown = await ops(running, "release", "ref_unknown")
    assert isinstance(unknown.exception, WS402Error)
    assert "There is no refund 'ref_unknown'" in str(unknown.exception)


async def test_a44_money_without_an_invoice_is_seen_and_sent_back(gateway: tuple[Gateway, Evm]) -> None:
    running, evm = gateway
    chain = next(iter(running.chains.values()))
    giver = await asyncio.to_thread(evm.account, ETHER)
    tx = await asyncio.to_thread(evm.send, giver, chain.recipient, value=5 * 10**15)
    for _ in range(100):
        if tx in (await ops(running, "unclaimed")).output:
            break
        await asyncio.sleep(0.1)
    assert (await ops(running, "refund-unclaimed", "base-sepolia", tx)).exit_code == 0
    assert tx not in (await ops(running, "unclaimed")).output
    again = await ops(running, "refund-unclaimed", "base-sepolia", tx)
    assert "no unclaimed money" in str(again.exception)
    for _ in range(150):
        if evm.balance(giver.address) > ETHER - 10**15:
            break
        await asyncio.to_thread(evm.mine, 1)
        await asyncio.sleep(0.1)
    assert evm.balance(giver.address) > ETHER - 10**15, "the money did not come back"
    assert (await ops(running, "audit")).exit_code == 0


async def test_a46_an_operator_stops_a_key_at_once(gateway: tuple[Gateway, Evm]) -> None:
    running, evm = gateway
    for _ in range(100):
        if "base-sepolia" in (await ops(running, "keys")).output:
            break
        await asyncio.sleep(0.1)
    assert (await ops(running, "pause", "base-sepolia", "--reason", "key seen elsewhere")).exit_code == 0
    assert "key seen elsewhere" in (await ops(running, "keys")).output
    refund_id = await owe(running, evm)
    await asyncio.to_thread(evm.mine, 80)
    await asyncio.sleep(1)
    assert refund_id in (await ops(running, "pending")).output, "a paused key has sent a refund"
    assert (await ops(running, "resume", "base-sepolia")).exit_code == 0
    for _ in range(100):
        if refund_id not in (await ops(running, "pending")).output:
            return
        await asyncio.to_thread(evm.mine, 1)
        await asyncio.sleep(0.1)
    pytest.fail("the refund was not sent after the key was resumed")


async def test_a38_a_servers_key_is_no_operators_key(gateway: tuple[Gateway, Evm]) -> None:
    running, _ = gateway
    refused = await ops(running, "audit", key=SERVER_KEY)
    assert isinstance(refused.exception, WS402Error)
    short = await ops(running, "audit", key="short")
    assert "GATEWAY_ADMIN_KEY" in str(short.exception)


async def test_no_gateway_is_said_with_the_remedy() -> None:
    result = await asyncio.to_thread(
        CliRunner().invoke, cli, ["ops", "--url", "http://127.0.0.1:9", "audit"], env={"GATEWAY_ADMIN_KEY": ADMIN_KEY}
    )
    assert "No gateway answers at http://127.0.0.1:9" in str(result.exception)
    assert "Check GATEWAY_URL" in str(result.exception)
