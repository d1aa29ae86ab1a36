"""With AMOUNT_SALT, a plain transfer names its invoice by its amount."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from tests.fixtures.evm import ETHER
from tests.fixtures.stack import PRICE, Stack
from tests.wire.peers.client import StockClient
from tests.wire.peers.provider import StockProvider
from tests.wire.peers.wallet import Wallet

DEPOSIT = 300 * PRICE
SALT = 10_000


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    settings = {"AMOUNT_SALT": str(SALT), "VERIFY_WAIT_SECONDS": "3"}
    with ExitStack() as opened:
        made = Stack(tmp_path_factory.mktemp("salted"), gateway_settings=settings)
        opened.callback(made.stop)
        made.start(servers=0)
        yield made


async def test_a03_a_seen_plain_transfer_fits_no_other_invoice_when_amounts_are_salted(stack: Stack) -> None:
    async with (
        Wallet(stack.rpc_url) as wallet,
        StockClient("http://unused", wallet) as victim,
        StockProvider(stack.gateway_url, stack.api_key) as provider,
    ):
        stack.rpc.fund(wallet.address, ETHER)
        details = await provider.generate_payment_details(DEPOSIT, "films", 300)
        assert DEPOSIT < details["amount"] <= DEPOSIT + SALT
        proof = await victim.pay(details)
        for _ in range(5):
            thiefs = await provider.generate_payment_details(DEPOSIT, "films", 300)
            answer = await provider.verify_payment({**proof, "reference": thiefs["reference"]})
            assert not answer["valid"]
        answer = await provider.verify_payment(proof)
        assert answer["valid"]
        assert answer["amount"] == details["amount"]
