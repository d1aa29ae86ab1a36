"""A gateway built from settings: what is wired to what, and what is left behind when it cannot start."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.fixtures.evm import ETHER, Evm

from ws402.devchain.evm import EvmDevChain
from ws402.errors import ConfigurationError
from ws402.gateway.run.gateway import build
from ws402.protocol import EndReason, GenerateRequest, Proof, SettleRequest, VerifyRequest
from ws402.provider.embedded import EmbeddedPaymentProvider
from ws402.settings import GatewaySettings

KEY = "k" * 40


@pytest.fixture
def evm(shared_devchain: EvmDevChain) -> Iterator[Evm]:
    evm = Evm(shared_devchain.rpc_url, name="devchain")
    yield evm
    evm.close()


def settings(evm: Evm, folder: Path, **more: Any) -> GatewaySettings:
    merchant = evm.account(ETHER)
    values: dict[str, Any] = {
        "gateway_port": 0,
        "gateway_api_key": KEY,
        "database_url": f"sqlite:///{folder / 'ledger.db'}",
        "base_rpc": evm.url,
        "merchant_private_key": "0x" + merchant.key.hex().removeprefix("0x"),
        "refund_interval_seconds": 0.1,
    }
    return GatewaySettings(**values | more)


async def test_a_server_with_the_gateway_inside_pays_back_on_chain(evm: Evm, tmp_path: Path) -> None:
    provider = EmbeddedPaymentProvider(settings(evm, tmp_path, gateway_api_key=""))
    await provider.start()
    try:
        await _pay_and_get_back(provider, evm)
        await provider.gateway.service.watcher.step(provider.gateway.chains["base-sepolia"])
        for line in await provider.gateway.service.audit():
            assert line.clean, line
    finally:
        await provider.close()


async def _pay_and_get_back(provider: EmbeddedPaymentProvider, evm: Evm) -> None:
    details: Any = await provider.generate_payment_details(
        GenerateRequest(amount=10**16, resource_id="feed", estimated_duration=300, price_per_second=10**12)
    )
    payer = await asyncio.to_thread(evm.account, ETHER)
    data = bytes.fromhex(details.data[2:])
    tx = await asyncio.to_thread(evm.send, payer, details.recipient, value=10**16, data=data)
    before = await asyncio.to_thread(evm.balance, payer.address)
    proof = Proof(reference=details.reference, tx_hash=tx, sender_address=payer.address)
    session = await provider.verify_payment(VerifyRequest(proof=proof, server_id="s"))
    assert session.valid, session.reason
    settled = await provider.settle(
        SettleRequest(
            session_id=str(session.session_id),
            epoch=session.epoch or 0,
            elapsed_ms=0,
            bytes_transferred=0,
            message_count=0,
            reason=EndReason.CLIENT_CLOSED,
        )
    )
    assert int(settled.refund) == 10**16
    async with asyncio.timeout(20):
        while (status := await provider.refund_status(str(settled.refund_id))).state != "final":
            await asyncio.to_thread(evm.mine)
            await asyncio.sleep(0.1)
    assert status.tx_hash
    assert await asyncio.to_thread(evm.balance, payer.address) == before + 10**16


async def test_a_wallet_without_a_key_takes_payments_and_keeps_its_debts(
    evm: Evm, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cold = evm.account(0).address
    gateway = build(settings(evm, tmp_path, merchant_private_key=None, merchant_wallet=cold))
    await gateway.start()
    assert gateway.chains["base-sepolia"].recipient.lower() == cold.lower()
    assert not gateway.signers
    assert "its refunds wait" in caplog.text
    await gateway.close()


async def test_the_audit_counts_wallet_and_refund_float(evm: Evm, tmp_path: Path) -> None:
    cold = evm.account(0).address
    gateway = build(settings(evm, tmp_path, merchant_wallet=cold))
    assert len(gateway.service.addresses["base-sepolia"]) == 2
    await gateway.close()


async def test_a_start_that_fails_leaves_nothing_open(evm: Evm, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    tasks = asyncio.all_tasks()
    gateway = build(settings(evm, tmp_path, gateway_port=port, base_rpc="http://127.0.0.1:9"))
    with pytest.raises(ConfigurationError) as refused:
        await gateway.start()
    assert "BASE_RPC" in str(refused.value)
    with socket.socket() as again:
        again.bind(("127.0.0.1", port))
    assert asyncio.all_tasks() == tasks
    working = build(settings(evm, tmp_path, gateway_port=port))
    await working.start()
    await working.close()


async def test_two_gateways_share_a_key_and_one_holds_its_lease(evm: Evm, tmp_path: Path) -> None:
    common = settings(evm, tmp_path)
    first, second = build(common), build(common)
    await first.start()
    await second.start()
    async with asyncio.timeout(10):
        while not first.refunds.stats()["base-sepolia"]["holds_lease"]:
            await asyncio.sleep(0.05)
    assert not second.refunds.stats()["base-sepolia"]["holds_lease"]
    await first.close()
    async with asyncio.timeout(10):
        while not second.refunds.stats()["base-sepolia"]["holds_lease"]:
            await asyncio.sleep(0.05)
    await second.close()


async def test_closing_in_the_moment_of_a_new_debt_ends(evm: Evm, tmp_path: Path) -> None:
    gateway = build(settings(evm, tmp_path))
    await gateway.start(http=False)
    await asyncio.sleep(0.3)
    gateway.service.on_refunds()
    async with asyncio.timeout(5):
        await gateway.close()
