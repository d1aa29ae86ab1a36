"""Two gateways on one ledger, one chain and one key: what races between them is decided once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack

import pytest
from tests.fixtures.evm import ETHER
from tests.fixtures.stack import PRICE, Stack, postgres_ledger
from tests.wire.peers.client import StockClient
from tests.wire.peers.provider import ProviderError, StockProvider
from tests.wire.peers.wallet import Wallet

pytestmark = pytest.mark.postgres

SECONDS = 300
DEPOSIT = SECONDS * PRICE


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with ExitStack() as opened:
        url = opened.enter_context(postgres_ledger())
        stack = Stack(tmp_path_factory.mktemp("replicas"), database_url=url)
        opened.callback(stack.stop)
        stack.start(gateways=2, servers=0)
        for gateway in (0, 1):
            stack.add_server(gateway=gateway)
        yield stack


@pytest.fixture
async def providers(replicas: Stack) -> AsyncIterator[list[StockProvider]]:
    async with (
        StockProvider(replicas.gateway_urls[0], replicas.api_key) as first,
        StockProvider(replicas.gateway_urls[1], replicas.api_key) as second,
    ):
        yield [first, second]


@pytest.fixture
async def peer(replicas: Stack) -> AsyncIterator[StockClient]:
    async with Wallet(replicas.rpc_url) as wallet, StockClient(replicas.server_url, wallet) as made:
        replicas.rpc.fund(wallet.address, ETHER)
        yield made


async def once(peer: StockClient, before: int, refund: int) -> None:
    assert await peer.wallet.wait_for_balance(before + refund) == before + refund
    await asyncio.sleep(2)
    assert await peer.wallet.balance() == before + refund


async def test_a02_a_proof_raced_on_two_gateways_is_valid_once(
    providers: list[StockProvider], peer: StockClient
) -> None:
    for _ in range(5):
        details = await providers[0].generate_payment_details(DEPOSIT, "films", SECONDS)
        proof = await peer.pay(details)
        answers = await asyncio.gather(*(providers[turn % 2].verify_payment(proof) for turn in range(8)))
        assert sum(answer["valid"] for answer in answers) == 1


async def test_a02_a_transaction_raced_for_two_invoices_pays_one(
    providers: list[StockProvider], peer: StockClient
) -> None:
    for _ in range(5):
        invoices = [await each.generate_payment_details(DEPOSIT, "films", SECONDS) for each in providers]
        proof = await peer.pay(invoices[0], mode="legacy")
        other = {**proof, "reference": invoices[1]["reference"]}
        answers = await asyncio.gather(providers[0].verify_payment(proof), providers[1].verify_payment(other))
        assert sum(answer["valid"] for answer in answers) == 1


async def test_a18_refunds_asked_for_at_two_gateways_are_delivered_once(
    providers: list[StockProvider], peer: StockClient
) -> None:
    details = await providers[0].generate_payment_details(DEPOSIT, "films", SECONDS)
    proof = await peer.pay(details)
    assert (await providers[0].verify_payment(proof))["valid"]
    before = await peer.wallet.balance()
    calls = [providers[turn % 2].issue_refund(proof, DEPOSIT // 2) for turn in range(10)]
    answers = await asyncio.gather(*calls)
    assert {answer["refundId"] for answer in answers} == {answers[0]["refundId"]}
    await once(peer, before, DEPOSIT // 2)


async def test_a18_refunds_of_two_amounts_at_two_gateways_are_one_refund(
    providers: list[StockProvider], peer: StockClient
) -> None:
    details = await providers[0].generate_payment_details(DEPOSIT, "films", SECONDS)
    proof = await peer.pay(details)
    assert (await providers[0].verify_payment(proof))["valid"]
    before = await peer.wallet.balance()
    calls = [providers[turn].issue_refund(proof, DEPOSIT - turn) for turn in (0, 1)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    refused = [each for each in answers if isinstance(each, ProviderError)]
    granted = [each for each in answers if isinstance(each, dict)]
    assert [each.status for each in refused] == [409]
    await once(peer, before, granted[0]["amount"])


async def test_a23_many_refunds_through_two_gateways_with_one_key_all_arrive_once(
    replicas: Stack, providers: list[StockProvider], peer: StockClient
) -> None:
    proofs = []
    for turn in range(20):
        details = await providers[turn % 2].generate_payment_details(DEPOSIT, "films", SECONDS)
        proofs.append(await peer.pay(details))
    answers = await asyncio.gather(*(providers[turn % 2].verify_payment(proof) for turn, proof in enumerate(proofs)))
    assert all(answer["valid"] for answer in answers)
    before = await peer.wallet.balance()
    await asyncio.gather(*(providers[turn % 2].issue_refund(proof, DEPOSIT) for turn, proof in enumerate(proofs)))
    await once(peer, before, 20 * DEPOSIT)


async def test_a01_a_session_of_one_gateways_server_is_known_to_the_others(replicas: Stack, peer: StockClient) -> None:
    schema = await peer.schema("ticker")
    proof = await peer.pay(schema["paymentDetails"])
    before = await peer.wallet.balance()
    async with StockClient(replicas.server_urls[1], peer.wallet) as elsewhere, await peer.open("ticker") as session:
        await session.start(proof)
        async with await elsewhere.open("ticker") as second:
            await second.prove(proof)
            assert (await second.expect("payment_rejected"))["reason"]
    assert before < await peer.wallet.wait_for_balance(before + 1) < before + DEPOSIT
