"""A gateway and chains that are away, come back, or turn into others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from tests.fixtures.evm import ETHER, Evm
from tests.fixtures.faults import line_to
from tests.fixtures.nodes import Node

from ws402.chains.base import ChainUnavailableError
from ws402.devchain.evm import EvmDevChain
from ws402.errors import ConfigurationError
from ws402.gateway.run.gateway import Gateway, build
from ws402.protocol import GenerateRequest, Proof, VerifyRequest
from ws402.settings import EvmNetworkSettings, GatewaySettings

KEY = "k" * 40


@pytest.fixture
def evm(shared_devchain: EvmDevChain) -> Iterator[Evm]:
    evm = Evm(shared_devchain.rpc_url, name="devchain")
    yield evm
    evm.close()


def network(name: str, chain_id: int, url: str, key: Any) -> EvmNetworkSettings:
    secret = SecretStr("0x" + key.key.hex().removeprefix("0x"))
    return EvmNetworkSettings(
        network=name, chain_id=chain_id, rpc=[SecretStr(url)], merchant_private_key=secret, poll_seconds=0.1
    )


def settings(folder: Path, *networks: EvmNetworkSettings) -> GatewaySettings:
    return GatewaySettings(
        gateway_port=0,
        gateway_api_key=[SecretStr(KEY)],
        database_url=SecretStr(f"sqlite:///{folder / 'ledger.db'}"),
        evm_networks=list(networks),
        refund_interval_seconds=0.1,
    )


async def ready(gateway: Gateway) -> httpx.Response:
    async with httpx.AsyncClient() as http:
        return await http.get(f"{gateway.url}/health/ready")


async def until(question: Callable[[], Awaitable[bool]]) -> None:
    end = time.monotonic() + 60
    while not await question():
        assert time.monotonic() < end
        await asyncio.sleep(0.1)


async def test_a_network_that_is_away_at_the_start_joins_when_it_is_back(evm: Evm, tmp_path: Path) -> None:
    with EvmDevChain(block_time=0, chain_id=1337) as second:
        other = Evm(second.rpc_url, name="devchain")
        async with line_to(second.rpc_url) as (url, line):
            await line.cut()
            merchants = evm.account(ETHER), other.account(ETHER)
            gateway = build(
                settings(
                    tmp_path,
                    network("base-sepolia", 84532, evm.url, merchants[0]),
                    network("other", 1337, url, merchants[1]),
                )
            )
            await gateway.start()
            try:
                await _serves_without(gateway)
                await line.mend()
                await until(lambda: _joined(gateway))
                await _is_paid(gateway, other)
            finally:
                await gateway.close()
        other.close()


async def _serves_without(gateway: Gateway) -> None:
    answer = await ready(gateway)
    assert (answer.status_code, answer.json()["away"]) == (200, ["other"])
    calls = gateway.service.of("default")
    request = GenerateRequest(amount=1000, resource_id="r", estimated_duration=1, network="base-sepolia")
    assert (await calls.generate(request)).network == "base-sepolia"
    async with httpx.AsyncClient() as http:
        refused = await http.post(
            f"{gateway.url}/api/payment/generate",
            headers={"authorization": f"Bearer {KEY}"},
            json={"amount": 1000, "resourceId": "r", "estimatedDuration": 1, "network": "other"},
        )
    assert (refused.status_code, refused.json()["code"]) == (503, "chain_unavailable")
    assert "The network other cannot be reached now" in refused.json()["message"]
    with pytest.raises(ChainUnavailableError):
        await gateway.chains["other"].lookup("0x" + "12" * 32)


async def _joined(gateway: Gateway) -> bool:
    return not gateway.service.watcher.missing and "away" not in (await ready(gateway)).json()


async def _is_paid(gateway: Gateway, evm: Evm) -> None:
    calls = gateway.service.of("default")
    details: Any = await calls.generate(
        GenerateRequest(amount=1000, resource_id="r", estimated_duration=1, network="other")
    )
    payer = await asyncio.to_thread(evm.account, ETHER)
    tx = await asyncio.to_thread(evm.send, payer, details.recipient, value=1000, data=bytes.fromhex(details.data[2:]))
    proof = Proof(reference=details.reference, tx_hash=tx, sender_address=payer.address)
    answer = await calls.verify(VerifyRequest(proof=proof, server_id="s"))
    assert answer.valid, answer.reason
    for line in await gateway.service.audit():
        assert line.clean, line


async def test_a_gateway_that_reaches_no_network_does_not_start(evm: Evm, tmp_path: Path) -> None:
    nowhere = network("base-sepolia", 84532, "http://127.0.0.1:9", evm.account(0))
    with pytest.raises(ConfigurationError, match="cannot start"):
        await build(settings(tmp_path, nowhere)).start()


async def test_a12_an_endpoint_that_changes_its_chain_fails_the_gateways_readiness(
    evm: Evm, make_node: Callable[[str], Node], tmp_path: Path
) -> None:
    node = make_node(evm.url)
    gateway = build(settings(tmp_path, network("base-sepolia", 84532, node.url, evm.account(ETHER))))
    await gateway.start()
    try:
        gateway.service.watcher.check_seconds = 0
        assert (await ready(gateway)).status_code == 200
        node.change = lambda method, _, result: "0x1" if method == "eth_chainId" else result

        async def unready() -> bool:
            answer = await ready(gateway)
            return answer.status_code == 503 and answer.json()["code"] == "chain_unavailable"

        await until(unready)
        assert "serves chain 1, not 84532" in gateway.service.watcher.errors["base-sepolia"]
    finally:
        await gateway.close()


async def test_a46_an_endpoint_whose_url_is_none_is_refused_without_being_quoted(evm: Evm, tmp_path: Path) -> None:
    key = evm.account(0)
    for url in (
        "https://user:zebra/giraffe@host.example/v2",
        "https://user:zebra#giraffe@host.example",
        "https://user:12?zebra@host.example/giraffe",
        "wss://host.example/zebra",
        "host.example/zebra",
        "https://host.example:zebra/giraffe",
        "https:///zebra",
    ):
        with pytest.raises(ConfigurationError, match="RPC endpoint 1 of base-sepolia is no URL") as caught:
            build(settings(tmp_path, network("base-sepolia", 84532, url, key)))
        assert not [word for word in ("zebra", "giraffe") if word in str(caught.value)]
