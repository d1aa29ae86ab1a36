"""Signatures of keys and of contract wallets, and wallets that make checking them costly."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from eth_account import Account
from tests.fixtures.evm import Contract
from tests.fixtures.nodes import Node
from tests.fixtures.worlds import EvmWorld

TEXT = "WS402 payment\nof something"
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
BURNER = "0x600380600b6000396000f35b5f56"
"""Creates a contract that loops for ever whatever it is asked."""
CHATTERBOX = "0x600b80600b6000396000f3620f42405f5260205ff35f"
"""Creates a contract that answers something else than the value of EIP-1271, whatever it is asked."""


def deployed(world: EvmWorld, code: str) -> Contract:
    return world.evm.deploy({"contractName": "raw", "abi": [], "bytecode": code})


async def test_a_contract_wallet_vouches_for_its_owners_signature(world: EvmWorld, contracts: Any) -> None:
    owner, other = world.payer(), world.payer()
    wallet = world.evm.deploy(contracts["SmartWallet1271"], owner.address)
    check = world.chain.check_signature
    assert await check(wallet.address, TEXT, world.sign_text(owner, TEXT))
    assert not await check(wallet.address, TEXT, world.sign_text(other, TEXT))
    assert not await check(wallet.address, TEXT + "!", world.sign_text(owner, TEXT))
    assert await check(owner.address, TEXT, world.sign_text(owner, TEXT)), "and its owner for itself"


@pytest.mark.parametrize(("mode", "valid"), [(1, True), (2, False), (3, False)])
async def test_a33_only_the_standards_answer_is_a_yes(world: EvmWorld, contracts: Any, mode: int, valid: bool) -> None:
    owner = world.payer()
    wallet = world.evm.deploy(contracts["SmartWallet1271"], owner.address)
    world.evm.send(owner, wallet.address, data=wallet.data("setMode", mode))
    assert await world.chain.check_signature(wallet.address, TEXT, "0x1234") is valid


@pytest.mark.parametrize("code", [BURNER, CHATTERBOX])
async def test_a33_a_wallet_that_burns_gas_or_babbles_is_a_no_soon(world: EvmWorld, code: str) -> None:
    wallet = deployed(world, code)
    started = time.monotonic()
    assert not await world.chain.check_signature(wallet.address, TEXT, "0x" + "11" * 65)
    assert time.monotonic() - started < 10


async def test_a33_the_check_of_a_wallet_has_a_gas_limit(
    fresh_world: EvmWorld, make_node: Callable[[str], Node]
) -> None:
    node = make_node(fresh_world.evm.url)
    asked: list[int] = []

    def note(method: str, params: list[Any], result: Any) -> Any:
        if method == "eth_call" and params[0]["to"] == wallet.address:
            asked.append(int(params[0]["gas"], 16))
        return result

    wallet = deployed(fresh_world, CHATTERBOX)
    node.change = note
    async with fresh_world.over(node.url) as chain:
        assert not await chain.check_signature(wallet.address, TEXT, "0x" + "11" * 65)
    assert asked
    assert max(asked) <= 1_000_000


async def test_a33_a_contract_that_is_no_wallet_is_a_no(world: EvmWorld, contracts: Any) -> None:
    for contract in (world.contract, world.evm.deploy(contracts["ReturnBomb"])):
        assert not await world.chain.check_signature(contract.address, TEXT, "0x" + "11" * 65)


async def test_a33_a_huge_signature_is_refused_unasked(world: EvmWorld, contracts: Any) -> None:
    wallet = world.evm.deploy(contracts["SmartWallet1271"], world.payer().address)
    owner_says_yes = wallet.data("setMode", 1)
    assert owner_says_yes
    assert not await world.chain.check_signature(wallet.address, TEXT, "0x" + "11" * 5000)


async def test_both_spellings_of_the_parity_are_read_and_the_second_of_s_is_not(world: EvmWorld) -> None:
    payer = world.payer()
    signature = bytes.fromhex(world.sign_text(payer, TEXT)[2:])
    check = world.chain.check_signature
    assert await check(payer.address, TEXT, signature.hex())
    assert await check(payer.address, TEXT, (signature[:64] + bytes([signature[64] - 27])).hex())
    high = (ORDER - int.from_bytes(signature[32:64], "big")).to_bytes(32, "big")
    flipped = bytes([55 - signature[64]])
    assert not await check(payer.address, TEXT, (signature[:32] + high + flipped).hex())


async def test_a_delegated_account_is_a_key_as_before(world: EvmWorld, contracts: Any) -> None:
    evm, account = world.evm, world.payer()
    code = evm.deploy(contracts["ForwardingWallet"])
    authorization = account.sign_authorization({"chainId": evm.chain_id, "address": code.address, "nonce": 1})
    sender = evm.account()
    evm.send(sender, account.address, type=4, gas=100_000, authorizationList=[authorization])
    # An account that has sent nothing yet has another nonce.
    if evm.rpc("eth_getCode", account.address, "latest") == "0x":
        authorization = account.sign_authorization({"chainId": evm.chain_id, "address": code.address, "nonce": 0})
        evm.send(sender, account.address, type=4, gas=100_000, authorizationList=[authorization])
    assert evm.rpc("eth_getCode", account.address, "latest").startswith("0xef0100")
    assert not await world.chain.is_contract(account.address)
    assert await world.chain.is_contract(code.address)
    assert await world.chain.check_signature(account.address, TEXT, world.sign_text(account, TEXT))
    stranger = Account.create()
    assert not await world.chain.check_signature(account.address, TEXT, world.sign_text(stranger, TEXT))
