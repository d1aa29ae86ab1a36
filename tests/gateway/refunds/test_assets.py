"""Refunds in tokens, and from a key that is not the one that is paid."""

from __future__ import annotations

import asyncio

import pytest
from eth_account.signers.local import LocalAccount
from tests.fixtures.evm import ETHER, Contract, Evm
from tests.gateway.refunds.world import World, world

from ws402.errors import ConflictError
from ws402.gateway.ledger.database import Database
from ws402.gateway.refunds import Policy

DOLLAR = 10**6
SMALL = ETHER // 1000


def mint(token: Contract, account: str, amount: int) -> None:
    """Make coins of the demo token."""
    token.evm.send(token.evm.funder, token.address, data=token.data("mint", account, amount))


async def payer_with(w: World, token: Contract, amount: int) -> LocalAccount:
    (payer,) = await w.payers(1)
    await asyncio.to_thread(mint, token, payer.address, amount)
    return payer


async def test_a_token_is_refunded_in_the_token(devchain_evm: Evm, database: Database) -> None:
    token = devchain_evm.token()
    async with world(devchain_evm, database, network={"token": token}) as w:
        payer = await payer_with(w, token, 5 * DOLLAR)
        refund_id = await w.owe(payer, 2 * DOLLAR, paid=5 * DOLLAR, token=token)
        await w.finish()
        assert (await w.refund(refund_id)).state == "final"
        assert token.read("balanceOf", payer.address) == 2 * DOLLAR
        await w.audit()


async def test_refunds_in_two_assets_share_the_keys_nonces(devchain_evm: Evm, database: Database) -> None:
    token = devchain_evm.token()
    async with world(devchain_evm, database, network={"token": token}) as w:
        payer = await payer_with(w, token, DOLLAR)
        await w.owe(payer, DOLLAR, token=token)
        await w.owe(payer, SMALL)
        await w.finish()
        assert token.read("balanceOf", payer.address) == DOLLAR
        assert w.received(payer) == SMALL
        first, second = await w.deliveries()
        assert (first.nonce + 1, {first.asset, second.asset}) == (second.nonce, {"ETH", "DUSD"})
        await w.audit()


async def test_a_token_waits_for_gas_and_says_so(devchain_evm: Evm, database: Database) -> None:
    token = devchain_evm.token()
    async with world(devchain_evm, database, float_wei=0, network={"token": token}) as w:
        payer = await payer_with(w, token, DOLLAR)
        await w.owe(payer, DOLLAR, token=token)
        for _ in range(4):
            await w.step(1)
        short = w.engine.stats()["base-sepolia"]["short"]
        assert short["ETH"] > 0
        assert "DUSD" not in short
        await asyncio.to_thread(devchain_evm.send, devchain_evm.funder, w.key.address, value=SMALL)
        await w.finish()
        assert token.read("balanceOf", payer.address) == DOLLAR
        await w.audit()


async def test_a20_a_payers_stream_of_small_token_refunds_travels_together(
    devchain_evm: Evm, database: Database
) -> None:
    token = devchain_evm.token()
    policy = Policy(small_burst=2)
    async with world(devchain_evm, database, network={"token": token}, policy=policy) as w:
        payer = await payer_with(w, token, DOLLAR)
        for _ in range(5):
            await w.owe(payer, 1, paid=2, token=token)
            await w.step(3)
        assert len(await w.deliveries()) == 2
        assert len(await w.refunds("due")) == 3
        assert w.engine.stats()["base-sepolia"]["deferred"] == 1
        await w.audit()


async def test_a24_refunds_leave_from_the_float_and_the_cold_wallet_needs_no_key(
    devchain_evm: Evm, database: Database
) -> None:
    cold, key = devchain_evm.account(0).address, devchain_evm.account(ETHER)
    devchain_evm.mine(2)  # the ledger opens on the newest final block
    async with world(devchain_evm, database, cold_wallet=cold, key=key) as w:
        (payer,) = await w.payers(1)
        await w.owe(payer, SMALL, paid=3 * SMALL)
        await w.finish()
        assert devchain_evm.balance(cold) == 3 * SMALL
        assert w.received(payer) == SMALL
        await w.audit()


async def test_a24_a_float_that_is_used_up_waits_although_the_cold_wallet_is_rich(
    devchain_evm: Evm, database: Database
) -> None:
    cold, key = devchain_evm.account(ETHER).address, devchain_evm.account(SMALL)
    devchain_evm.mine(2)
    async with world(devchain_evm, database, cold_wallet=cold, key=key) as w:
        (payer,) = await w.payers(1)
        await w.owe(payer, 2 * SMALL)
        for _ in range(4):
            await w.step(1)
        assert len(await w.refunds("due")) == 1
        assert w.engine.stats()["base-sepolia"]["short"]["ETH"] > SMALL
        await w.audit()
        tx = await asyncio.to_thread(devchain_evm.send, devchain_evm.funder, w.key.address, value=2 * SMALL)
        await w.operator.deposit("base-sepolia", "ETH", 2 * SMALL, tx)
        with pytest.raises(ConflictError):
            await w.operator.deposit("base-sepolia", "ETH", 2 * SMALL, tx)
        await w.finish()
        assert w.received(payer) == 2 * SMALL
        await w.audit()
