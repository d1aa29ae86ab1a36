"""The runbook, played: an operator finds a refund that is stuck and mends it with nothing but `ws402 ops`."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from tests.cli.test_ops import ADMIN_KEY, SERVER_KEY, ops, owe, state_of
from tests.fixtures.evm import ETHER, Evm

from ws402.devchain.evm import EvmDevChain
from ws402.gateway.run.gateway import Gateway, build
from ws402.settings import GatewaySettings


async def until(gateway: Gateway, evm: Evm, word: str, *command: str) -> str:
    """What a command shows once the word is in it; blocks go on meanwhile."""
    for _ in range(200):
        shown = await ops(gateway, *command)
        if word in shown.output:
            return shown.output
        await asyncio.to_thread(evm.mine, 1)
        await asyncio.sleep(0.1)
    raise AssertionError(f"'{word}' is not in:\n{shown.output}")


async def test_a_stuck_refund_is_found_and_mended_by_the_runbook(shared_devchain: EvmDevChain, tmp_path: Path) -> None:
    evm = Evm(shared_devchain.rpc_url, name="devchain")
    cold = await asyncio.to_thread(evm.account, 0)
    key = await asyncio.to_thread(evm.account, 10**12)  # noticed, and not enough to pay a refund
    await asyncio.to_thread(evm.mine, 70)  # the books open at a block that is final
    values: dict[str, Any] = {
        "gateway_port": 0,
        "gateway_api_key": SERVER_KEY,
        "gateway_admin_key": ADMIN_KEY,
        "database_url": f"sqlite:///{tmp_path / 'ledger.db'}",
        "base_rpc": evm.url,
        "merchant_wallet": cold.address,
        "merchant_private_key": "0x" + key.key.hex().removeprefix("0x"),
        "refund_interval_seconds": 0.1,
    }
    gateway = build(GatewaySettings(**values))
    await gateway.start()
    try:
        refund_id = await owe(gateway, evm)
        await asyncio.to_thread(evm.mine, 80)
        # WS402RefundStuck 1: which, how many, since when.
        assert refund_id in await until(gateway, evm, refund_id, "refunds", "list", "--state", "due")
        # 2: its transactions. There are none: the key waits for something that the status names.
        shown = json.loads((await ops(gateway, "refunds", "show", refund_id)).output)
        assert shown["attempts"] == []
        told = await until(gateway, evm, "short of", "status")
        # WS402FloatShort: send the key's account the asset, and book it.
        address = next(word for word in told.split() if word.lower() == key.address.lower())
        tx = await asyncio.to_thread(evm.send, evm.funder, address, value=ETHER)
        tried = await ops(gateway, "--dry-run", "signers", "deposit", "base-sepolia", "ETH", str(ETHER), tx)
        assert tried.output == f"would be done: {tx}\n"
        assert (await ops(gateway, "signers", "deposit", "base-sepolia", "ETH", str(ETHER), tx)).exit_code == 0
        assert (await ops(gateway, "refunds", "retry", refund_id)).exit_code == 0
        await until(gateway, evm, refund_id, "refunds", "list", "--state", "final")
        assert await state_of(gateway, refund_id) == "final"
        booked_at = int(evm.receipt(tx)["blockNumber"], 16)
        async with asyncio.timeout(30):  # the audit reads the chain where the watcher stands
            while gateway.service.watcher.heads["base-sepolia"] < booked_at:
                await asyncio.sleep(0.1)
        audit = await ops(gateway, "audit")
        assert audit.exit_code == 0, audit.output
    finally:
        await gateway.close()
        evm.close()
