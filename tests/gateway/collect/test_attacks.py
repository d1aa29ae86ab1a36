"""What collecting opens to attackers, and what they get of it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import select
from tests.fixtures.evm import Evm
from tests.gateway.collect.world import AMOUNT, ETHER, TENANT, Shop, deliveries, running, sessions

from ws402.devchain.evm import EvmDevChain
from ws402.errors import ConfigurationError, ConflictError, RateLimitedError
from ws402.gateway.ledger.tables import authorizations, entries
from ws402.gateway.run.gateway import build
from ws402.protocol import GenerateRequest
from ws402.settings import TokenSettings


@pytest.fixture
def shop(shared_devchain: EvmDevChain, tmp_path: Path) -> Iterator[Shop]:
    evm = Evm(shared_devchain.rpc_url, name="devchain")
    yield Shop(evm, f"sqlite:///{tmp_path / 'ledger.db'}")
    evm.close()


async def test_a08_a_transfer_that_somebody_else_brings_to_the_chain_opens_its_session(shop: Shop) -> None:
    payer = await asyncio.to_thread(shop.payer)
    async with running(shop) as gateway:
        transfer = shop.sign(payer)
        await asyncio.to_thread(shop.bring, transfer)
        opened = await gateway.collect(transfer)
        assert (opened.state, opened.payer, opened.paid) == ("open", payer.address, AMOUNT)
        await gateway.settle(opened, 0)
        await gateway.refunded(opened.session_id or "")
        assert shop.held(payer.address) == 10 * AMOUNT
        await gateway.check()


async def test_a08_who_is_overtaken_in_the_pool_is_not_called_unpaid(shop: Shop) -> None:
    payer, rival = await asyncio.to_thread(shop.payer), await asyncio.to_thread(shop.evm.account)
    async with running(shop) as gateway:
        transfer = shop.sign(payer)
        shop.evm.automine(False)
        try:
            asking = asyncio.create_task(gateway.collect(transfer))
            while not await gateway.count(deliveries):
                await asyncio.sleep(0.02)
            raw = await asyncio.to_thread(shop.bring_later, transfer, rival)
            shop.evm.submit(raw)
            shop.evm.mine()
        finally:
            shop.evm.automine(True)
        opened = await asking
        assert (opened.state, opened.payer) == ("open", payer.address)
        assert await gateway.count(sessions) == 1
        assert shop.held(payer.address) == 9 * AMOUNT


async def test_a24_one_key_does_not_refund_and_collect(shop: Shop) -> None:
    key = SecretStr("0x" + bytes(shop.keys.refunds.key).hex())
    with pytest.raises(ConfigurationError, match="one key for refunds and for collecting"):
        build(shop.settings(network={"collector_private_key": key}))


async def test_a32_what_was_signed_for_another_domain_chain_or_contract_is_refused(shop: Shop) -> None:
    payer = await asyncio.to_thread(shop.payer)
    other = "0x" + "77" * 20
    async with running(shop) as gateway:
        for wrong in ({"name": "USD Coin"}, {"chain_id": 1}, {"contract": other}, {"claims_to_be": other}):
            refused = await gateway.collect(shop.sign(payer, **wrong))
            assert (refused.state, refused.reason) == ("refused", "invalid_exact_evm_payload_signature"), wrong
        assert (await gateway.count(authorizations), await gateway.sent()) == (0, 0)


async def test_a32_a_wrong_domain_in_the_settings_is_told_with_the_right_one(shop: Shop) -> None:
    token = TokenSettings(
        symbol="DUSD", contract=shop.token.address, decimals=6, eip712_name="USD Coin", eip712_version="2"
    )
    with pytest.raises(ConfigurationError, match="does not sign as 'USD Coin'") as refused:
        async with running(shop, network={"tokens": [token]}):
            pass
    assert refused.value.remedy == "Set eip712_name = 'Demo Dollar', eip712_version = '1'."


async def test_a49_a_nonce_that_another_payer_used_first_blocks_nobody(shop: Shop) -> None:
    payer, rival = [await asyncio.to_thread(shop.payer) for _ in range(2)]
    nonce = secrets.token_bytes(32)
    async with running(shop) as gateway:
        first = await gateway.collect(shop.sign(rival, nonce=nonce))
        second = await gateway.collect(shop.sign(payer, nonce=nonce))
        assert (first.state, second.state, second.payer) == ("open", "open", payer.address)
        assert first.session_id != second.session_id


async def test_a50_payments_that_cannot_come_cost_no_gas(shop: Shop) -> None:
    poor = await asyncio.to_thread(shop.payer, AMOUNT - 1)
    payer = await asyncio.to_thread(shop.payer)
    async with running(shop) as gateway:
        reasons = [
            (await gateway.collect(transfer)).reason
            for transfer in (
                shop.sign(poor),
                shop.sign(payer, valid_before=1),
                shop.sign(payer, valid_before=2**48),
                shop.sign(payer, valid_after=2**48),
                shop.sign(payer, amount=AMOUNT - 1),
                shop.sign(payer, recipient="0x" + "77" * 20),
            )
        ]
        assert reasons == [
            "insufficient_funds",
            "invalid_exact_evm_payload_authorization_valid_before",
            "invalid_exact_evm_payload_authorization_valid_before",
            "invalid_exact_evm_payload_authorization_valid_after",
            "invalid_exact_evm_payload_authorization_value_mismatch",
            "invalid_exact_evm_payload_recipient_mismatch",
        ]
        assert (await gateway.count(authorizations), await gateway.sent()) == (0, 0)


async def test_a50_who_makes_us_pay_for_nothing_is_served_no_more(shop: Shop) -> None:
    payer = await asyncio.to_thread(shop.payer, AMOUNT)
    await asyncio.to_thread(shop.evm.send, shop.evm.funder, payer.address, value=ETHER)
    away = shop.token.data("transfer", "0x" + "77" * 20, AMOUNT)
    async with running(shop) as gateway:
        for _ in range(3):
            shop.evm.automine(False)
            try:
                before = await gateway.count(deliveries)
                asking = asyncio.create_task(gateway.show(shop.sign(payer)))
                while await gateway.count(deliveries) == before:
                    await asyncio.sleep(0.02)
                shop.evm.submit(shop.evm.sign(payer, shop.token.address, data=away, gas=100_000, **DEAR))
                shop.evm.mine()
            finally:
                shop.evm.automine(True)
            assert (await asking).state == "pending"
            await asyncio.to_thread(
                shop.evm.send, shop.evm.funder, shop.token.address, data=shop.token.data("mint", payer.address, AMOUNT)
            )
            await gateway.until(select(deliveries.c.id).where(deliveries.c.state == "failed"), before + 1)
        with pytest.raises(RateLimitedError, match="failed on the chain"):
            await gateway.show(shop.sign(payer))
        gas = select(entries.c.id).where(entries.c.debit == "gas")
        await gateway.until(gas, 3)
        await gateway.check()


DEAR = {"maxPriorityFeePerGas": 50 * 10**9, "maxFeePerGas": 200 * 10**9}
"""Before what others sent."""


async def test_a51_a_payment_that_was_read_on_the_chain_opens_nothing_for_the_reader(shop: Shop) -> None:
    payer = await asyncio.to_thread(shop.payer)
    async with running(shop) as gateway:
        transfer = shop.sign(payer)
        opened = await gateway.collect(transfer)
        for guess in ("another-offer-01", None):
            with pytest.raises(ConflictError) as refused:
                await gateway.collect(transfer, server_id="server-2", secret=guess)
            assert refused.value.code == "payment_used"
        with pytest.raises(ConflictError):
            await gateway.collect(transfer, tenant="rival")
        assert (await gateway.collect(transfer)).session_id == opened.session_id


async def test_a51_a_payment_without_a_secret_is_given_out_once(shop: Shop) -> None:
    payer = await asyncio.to_thread(shop.payer)
    async with running(shop) as gateway:
        while True:  # what a busy machine does not tell in time is not given out any more
            transfer = shop.sign(payer)
            opened = await gateway.show(transfer, secret=None, mode="session")
            if opened.state != "pending":
                break
        again = await gateway.collect(transfer, secret=None, mode="session")
        assert (opened.state, again.state) == ("open", "known")
        assert again.resume_token is None


async def test_a51_what_pays_an_invoice_of_ours_is_not_collected(shop: Shop) -> None:
    payer = await asyncio.to_thread(shop.payer)
    async with running(shop) as gateway:
        request = GenerateRequest(
            amount=AMOUNT, resource_id="film", estimated_duration=60, network="base-sepolia", asset="DUSD"
        )
        invoice = await gateway.gateway.service.of(TENANT).generate(request)
        tag = bytes.fromhex((getattr(invoice, "data", "") or "")[-64:])
        refused = await gateway.collect(shop.sign(payer, nonce=tag))
        assert (refused.state, refused.reason) == ("refused", "invalid_transaction_state")


async def test_a06_a_payment_for_one_resource_opens_no_other(shop: Shop) -> None:
    payer = await asyncio.to_thread(shop.payer)
    async with running(shop) as gateway:
        transfer = shop.sign(payer)
        await gateway.collect(transfer)
        with pytest.raises(ConflictError):
            await gateway.collect(transfer, resource_id="dear")
