"""A collector whose key is at a keeper brings x402 payments to the chain; it is never a key that sends refunds."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from tests.fixtures.evm import ETHER, Evm
from tests.fixtures.keepers import Google, Keeper
from tests.gateway.collect.world import AMOUNT, Shop, running

from ws402.chains.evm import address_of
from ws402.devchain.evm import EvmDevChain
from ws402.errors import ConfigurationError
from ws402.gateway.ledger.tables import sessions
from ws402.gateway.run.gateway import build
from ws402.keys.kms.registry import key_service
from ws402.keys.kms.signer import KmsSigner

pytestmark = [pytest.mark.keys, pytest.mark.timeout(120)]


@pytest.fixture
def shop(shared_devchain: EvmDevChain, tmp_path: Path) -> Iterator[Shop]:
    evm = Evm(shared_devchain.rpc_url, name="devchain")
    yield Shop(evm, f"sqlite:///{tmp_path / 'ledger.db'}")
    evm.close()


def account(keeper: Keeper, named: str) -> str:
    signer = KmsSigner(key_service(named, keeper.settings()), timeout_seconds=10, workers=1)
    signer.close()
    return address_of(signer)


def at(keeper: Keeper, **network: object) -> dict[str, Any]:
    """A gateway's settings with keys at a keeper."""
    return {"kms": keeper.settings(), "network": {"collector_private_key": None, **network}}


async def test_a_payment_is_collected_by_a_keepers_key(keeper: Keeper, shop: Shop) -> None:
    named = keeper.make("secp256k1")
    collector, payer = account(keeper, named), await asyncio.to_thread(shop.payer)
    shop.evm.send(shop.evm.funder, collector, value=ETHER)
    async with running(shop, **at(keeper, collector_signer=named)) as gateway:
        opened = await gateway.collect(shop.sign(payer))
        assert (opened.state, opened.payer) == ("open", payer.address)
        assert await gateway.count(sessions) == 1
    assert shop.evm.balance(collector) < ETHER, "its gas"
    assert shop.held(payer.address) == 9 * AMOUNT


def test_a24_a_keepers_key_does_not_refund_and_collect(google: Google, shop: Shop) -> None:
    one, other = google.make("secp256k1"), google.make("secp256k1")
    for network in (
        {"merchant_private_key": None, "signer": one, "collector_signer": one},
        {"merchant_private_key": None, "signer": other, "earlier_signers": [one], "collector_signer": one},
    ):
        with pytest.raises(ConfigurationError, match="one key for refunds and for collecting"):
            build(shop.settings(**at(google, **network)))
    both = {"collector_private_key": SecretStr(f"0x{'11' * 32}"), "collector_signer": one}
    with pytest.raises(ValueError, match="set one of them"):
        shop.settings(**at(google, **both))
