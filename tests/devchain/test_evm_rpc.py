"""The embedded chain speaks JSON-RPC as nodes do, so that what works on it works on a real one."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest
from tests.fixtures.evm import ETHER, Evm, RpcFailedError

from ws402.devchain.evm import EvmDevChain, load_artifact
from ws402.errors import ConfigurationError, WS402Error


def refused(evm: Evm, raw: bytes) -> dict[str, Any]:
    with pytest.raises(RpcFailedError) as caught:
        evm.submit(raw)
    return caught.value.error


def test_a_payment_lands_in_a_block_with_receipt_and_fee(evm: Evm) -> None:
    payer, payee = evm.account(), evm.account(0)
    tx = evm.send(payer, payee.address, value=12345, data=b"\x01" * 32)
    receipt = evm.receipt(tx)
    block = evm.rpc("eth_getBlockByNumber", receipt["blockNumber"], True)
    mine = block["transactions"][int(receipt["transactionIndex"], 16)]
    assert (mine["hash"], mine["from"], mine["to"]) == (tx, payer.address.lower(), payee.address.lower())
    assert (int(mine["value"], 16), mine["input"]) == (12345, "0x" + "01" * 32)
    assert (receipt["status"], receipt["blockHash"], receipt["type"]) == ("0x1", block["hash"], "0x2")
    fee = int(receipt["gasUsed"], 16) * int(receipt["effectiveGasPrice"], 16)
    assert evm.balance(payer.address) == ETHER - 12345 - fee
    assert evm.balance(payee.address) == 12345
    assert evm.rpc("eth_getTransactionByHash", tx) | {"blockTimestamp": 0} == mine | {"blockTimestamp": 0}
    assert receipt in evm.rpc("eth_getBlockReceipts", receipt["blockNumber"])


def test_a_block_names_its_parent_and_shares_no_hash(evm: Evm) -> None:
    evm.mine(3)
    head = evm.rpc("eth_getBlockByNumber", "latest", False)
    parent = evm.rpc("eth_getBlockByHash", head["parentHash"], False)
    assert int(parent["number"], 16) == int(head["number"], 16) - 1
    assert parent["hash"] != head["hash"]


def test_wrong_transactions_are_refused_in_the_words_that_nodes_use(evm: Evm) -> None:
    payer, payee = evm.account(), evm.account(0)
    evm.send(payer, payee.address, value=1)
    assert "nonce too low" in refused(evm, evm.sign(payer, payee.address, value=1, nonce=0))["message"]
    low = evm.sign(payer, payee.address, value=1, gas=20_000)
    assert "intrinsic gas too low" in refused(evm, low)["message"].replace(
        "call gas cost exceeds the gas limit", "intrinsic gas too low"
    )
    poor = evm.account(0)
    broke = refused(evm, evm.sign(poor, payee.address, value=ETHER, gas=21_000))
    assert "insufficient funds" in broke["message"].lower()
    assert "invalid chain id" in refused(evm, evm.sign(payer, payee.address, chainId=1, gas=21_000))["message"]
    with pytest.raises(RpcFailedError):
        evm.submit(b"\x02\x01\x02")


def test_a_waiting_transaction_is_replaced_only_for_a_higher_fee(devchain_evm: Evm) -> None:
    evm = devchain_evm
    payer, payee = evm.account(), evm.account(0)
    evm.automine(False)
    fees = {"nonce": 0, "gas": 21_000, "maxPriorityFeePerGas": 10**9, "maxFeePerGas": 4 * 10**9}
    first = evm.sign(payer, payee.address, value=1, **fees)
    old = evm.submit(first)
    assert refused(evm, first)["message"] == "already known"
    slightly = fees | {"maxPriorityFeePerGas": 109 * 10**7, "maxFeePerGas": 5 * 10**9}
    underpriced = refused(evm, evm.sign(payer, payee.address, value=2, **slightly))
    assert underpriced == {"code": -32000, "message": "replacement transaction underpriced"}
    enough = fees | {"maxPriorityFeePerGas": 11 * 10**8, "maxFeePerGas": 44 * 10**8}
    new = evm.submit(evm.sign(payer, payee.address, value=3, **enough))
    assert evm.rpc("eth_getTransactionByHash", old) is None
    assert evm.rpc("eth_getTransactionByHash", new)["blockHash"] is None
    evm.mine()
    assert evm.receipt(new)["status"] == "0x1"
    assert evm.balance(payee.address) == 3


def test_a_gap_of_nonces_waits_until_it_is_filled(devchain_evm: Evm) -> None:
    evm = devchain_evm
    payer, payee = evm.account(), evm.account(0)
    later = evm.submit(evm.sign(payer, payee.address, value=1, nonce=1))
    evm.mine(2)
    assert evm.rpc("eth_getTransactionReceipt", later) is None
    assert evm.rpc("eth_getTransactionCount", payer.address, "pending") == "0x0"
    assert evm.rpc("txpool_status") == {"pending": "0x0", "queued": "0x1"}
    evm.automine(False)
    evm.submit(evm.sign(payer, payee.address, value=1, nonce=0))
    assert evm.rpc("eth_getTransactionCount", payer.address, "pending") == "0x2"
    pending = evm.rpc("eth_getBlockByNumber", "pending", True)
    assert (pending["hash"], [each["nonce"] for each in pending["transactions"]]) == (None, ["0x0", "0x1"])
    evm.mine()
    assert evm.receipt(later)["status"] == "0x1"


def test_many_transactions_share_a_block_and_the_dearer_come_first(devchain_evm: Evm) -> None:
    evm = devchain_evm
    payers = [evm.account() for _ in range(5)]
    payee = evm.account(0)
    evm.automine(False)
    for tip, payer in enumerate(payers, start=1):
        fees = {"maxPriorityFeePerGas": tip * 10**8, "maxFeePerGas": 5 * 10**9}
        evm.submit(evm.sign(payer, payee.address, value=1, **fees))
    evm.mine()
    senders = [each["from"] for each in evm.rpc("eth_getBlockByNumber", "latest", True)["transactions"]]
    assert senders == [payer.address.lower() for payer in reversed(payers)]


def test_a_reverting_call_tells_why(evm: Evm) -> None:
    token = evm.token()
    call = {
        "from": evm.account(0).address,
        "to": token.address,
        "data": "0x" + token.data("transfer", evm.funder.address, 1).hex(),
    }
    for method in ("eth_call", "eth_estimateGas"):
        with pytest.raises(RpcFailedError) as caught:
            evm.rpc(method, call, "latest")
        assert caught.value.error["code"] == 3
        assert "execution reverted: DUSD: balance too small" in caught.value.error["message"]
        assert caught.value.error["data"].startswith("0x08c379a0")


def test_a_failing_transaction_is_in_a_block_and_costs_its_gas(evm: Evm) -> None:
    token, payer = evm.token(), evm.account()
    tx = evm.send(payer, token.address, data=token.data("transfer", evm.funder.address, 1), gas=100_000)
    receipt = evm.receipt(tx)
    assert (receipt["status"], receipt["logs"]) == ("0x0", [])
    assert evm.balance(payer.address) == ETHER - int(receipt["gasUsed"], 16) * int(receipt["effectiveGasPrice"], 16)


def test_an_estimate_is_enough_and_not_much_more(evm: Evm) -> None:
    token, payer = evm.token(), evm.account()
    mint = token.data("mint", payer.address, 5)
    call = {"from": payer.address, "to": token.address, "data": "0x" + mint.hex()}
    estimate = int(evm.rpc("eth_estimateGas", call), 16)
    receipt = evm.receipt(evm.send(payer, token.address, data=mint, gas=estimate))
    assert receipt["status"] == "0x1"
    assert estimate <= int(receipt["gasUsed"], 16) * 1.05
    plain = {"from": payer.address, "to": evm.account(0).address, "value": "0x1"}
    assert evm.rpc("eth_estimateGas", plain) == hex(21_000)


def test_logs_are_found_by_contract_topic_and_block(evm: Evm) -> None:
    token, other = evm.token(), evm.token()
    holder = evm.account()
    before = int(evm.rpc("eth_blockNumber"), 16)
    first = evm.send(holder, token.address, data=token.data("mint", holder.address, 5))
    evm.send(holder, other.address, data=other.data("mint", holder.address, 6))
    transfer = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
    to_holder = "0x" + "00" * 12 + holder.address[2:].lower()
    query = {"fromBlock": hex(before + 1), "toBlock": "latest", "topics": [transfer, None, to_holder]}
    assert len(evm.rpc("eth_getLogs", query)) == 2
    found = evm.rpc("eth_getLogs", query | {"address": [token.address]})
    assert [(each["transactionHash"], int(each["data"], 16), each["removed"]) for each in found] == [(first, 5, False)]
    assert evm.rpc("eth_getLogs", {"blockHash": found[0]["blockHash"], "address": other.address}) == []


def test_old_state_can_be_asked_for(evm: Evm) -> None:
    payee = evm.account(0)
    payer = evm.account()
    number = evm.rpc("eth_blockNumber")
    evm.send(payer, payee.address, value=7)
    assert evm.rpc("eth_getBalance", payee.address, number) == "0x0"
    assert evm.rpc("eth_getBalance", payee.address, "latest") == "0x7"


def test_an_internal_payment_shows_in_the_trace(evm: Evm, contracts: dict[str, Any]) -> None:
    wallet = evm.deploy(contracts["ForwardingWallet"])
    payer, payee = evm.account(), evm.account(0)
    evm.send(payer, wallet.address, value=100, gas=100_000)
    tx = evm.send(payer, wallet.address, data=wallet.data("send", payee.address, 40))
    trace = evm.rpc("debug_traceTransaction", tx, {"tracer": "callTracer"})
    inner = [(each["from"], each["to"], int(each["value"], 16)) for each in trace["calls"]]
    assert inner == [(wallet.address.lower(), payee.address.lower(), 40)]


def test_finality_follows_the_head_at_a_distance(devchain: EvmDevChain) -> None:
    devchain.mine(5)
    head = int(devchain.rpc("eth_blockNumber"), 16)
    for tag in ("safe", "finalized"):
        assert int(devchain.rpc("eth_getBlockByNumber", tag, False)["number"], 16) == head - 2


def test_a_reorg_replaces_blocks_and_loses_or_keeps_their_transactions(
    devchain: EvmDevChain, devchain_evm: Evm
) -> None:
    evm = devchain_evm
    payer, payee = evm.account(), evm.account(0)
    tx = evm.send(payer, payee.address, value=5)
    old = evm.receipt(tx)
    devchain.reorg(1, keep=True)
    new = evm.receipt(tx)
    assert new["blockNumber"] == old["blockNumber"]
    assert new["blockHash"] != old["blockHash"]
    evm.rpc("anvil_reorg", 1, [])
    assert evm.rpc("eth_getTransactionReceipt", tx) is None
    assert evm.balance(payee.address) == 0
    assert evm.rpc("eth_getBlockByHash", old["blockHash"], False) is None


def test_blocks_come_by_time_and_never_run_ahead_of_the_clock() -> None:
    with EvmDevChain(block_time=0.05) as chain:
        end = time.monotonic() + 10
        while (number := int(chain.rpc("eth_blockNumber"), 16)) < 10:
            assert time.monotonic() < end, f"block {number} after 10 s"
            time.sleep(0.02)
        newest = int(chain.rpc("eth_getBlockByNumber", "latest", False)["timestamp"], 16)
    assert newest <= time.time()


def test_time_can_be_moved_forward(devchain: EvmDevChain) -> None:
    devchain.rpc("evm_increaseTime", 3600)
    devchain.mine()
    assert int(devchain.rpc("eth_getBlockByNumber", "latest", False)["timestamp"], 16) >= time.time() + 3599


def test_unlocked_accounts_send_and_sign(devchain: EvmDevChain) -> None:
    account = devchain.rpc("eth_accounts")[3]
    tx = devchain.rpc("eth_sendTransaction", {"from": account, "to": "0x" + "ab" * 20, "value": "0x9"})
    assert devchain.rpc("eth_getTransactionReceipt", tx)["from"] == account
    assert len(devchain.rpc("personal_sign", "0x1234", account)) == 132


def test_web_pages_of_any_origin_may_call(devchain: EvmDevChain) -> None:
    preflight = httpx.options(devchain.rpc_url, headers={"origin": "https://shop.example"})
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == "*"
    assert "content-type" in preflight.headers["access-control-allow-headers"]
    assert httpx.get(devchain.rpc_url).status_code == 405


def test_batches_and_malformed_requests_are_answered_one_by_one(devchain: EvmDevChain) -> None:
    batch: list[Any] = [
        {"jsonrpc": "2.0", "id": "a", "method": "eth_chainId"},
        {"jsonrpc": "2.0", "method": "eth_chainId"},
        {"jsonrpc": "2.0", "id": 2, "method": "eth_nothing"},
        {"jsonrpc": "2.0", "id": 3, "method": "eth_getBalance", "params": ["0x12", "latest"]},
        {"jsonrpc": "2.0", "id": 4, "method": "eth_getBalance", "params": []},
        {"jsonrpc": "2.0", "id": 5, "method": "eth_getBalance", "params": ["0x" + "00" * 20, "0xffffff"]},
        "nonsense",
    ]
    answers = httpx.post(devchain.rpc_url, json=batch).json()
    codes = [(each["id"], each.get("error", {}).get("code")) for each in answers]
    assert codes == [("a", None), (2, -32601), (3, -32602), (4, -32602), (5, -32000), (None, -32600)]
    assert httpx.post(devchain.rpc_url, content=b"{").json()["error"]["code"] == -32700
    assert httpx.post(devchain.rpc_url, json=[]).json()["error"]["code"] == -32600


def test_a_port_in_use_is_told_with_a_remedy(devchain: EvmDevChain) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot listen on .*in use.*--port"):
        EvmDevChain(port=devchain.port).start()


def test_a_chain_that_does_not_run_says_so() -> None:
    chain = EvmDevChain()
    with pytest.raises(WS402Error, match="not running"):
        chain.mine()
    chain.stop()


async def test_it_starts_and_ends_in_async_code_with_its_token() -> None:
    async with EvmDevChain(block_time=0, chain_id=8453) as chain, httpx.AsyncClient() as client:
        answer = await client.post(
            chain.rpc_url,
            json={"jsonrpc": "2.0", "id": 1, "method": "eth_getCode", "params": [chain.token.address, "latest"]},
        )
        assert len(answer.json()["result"]) > 1000
        assert chain.rpc("eth_chainId") == hex(8453)
        assert chain.deploy(load_artifact("DemoToken")) != chain.token.address
