"""A development chain that is kept in a file goes on after its process has ended, however it ended."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.fixtures.evm import ETHER, Evm
from tests.fixtures.processes import COMMAND, Process, free_port

from ws402.devchain.evm import EvmDevChain, load_artifact
from ws402.errors import ConfigurationError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "chain.db"


@contextmanager
def chain_of(file: Path, **options: Any) -> Iterator[tuple[EvmDevChain, Evm]]:
    with EvmDevChain(block_time=0, state=file, **options) as chain:
        evm = Evm(chain.rpc_url, name="devchain")
        yield chain, evm
        evm.close()


def everything(evm: Evm) -> list[Any]:
    """All blocks with their transactions, receipts and traces, and what some accounts hold."""
    newest = int(evm.rpc("eth_blockNumber"), 16)
    blocks = [evm.rpc("eth_getBlockByNumber", hex(number), True) for number in range(newest + 1)]
    txs = [each["hash"] for block in blocks for each in block["transactions"]]
    receipts = [evm.rpc("eth_getTransactionReceipt", tx) for tx in txs]
    traces = [evm.rpc("debug_traceTransaction", tx, {"tracer": "callTracer"}) for tx in txs]
    logs = evm.rpc("eth_getLogs", {"fromBlock": "0x0", "toBlock": "latest"})
    return [blocks, receipts, traces, logs, [evm.balance(each["from"]) for each in receipts]]


def test_blocks_accounts_and_the_token_are_there_again(file: Path) -> None:
    with chain_of(file) as (chain, evm):
        payer = evm.account(ETHER)
        token = evm.token()
        evm.send(payer, token.address, data=token.data("mint", payer.address, 2**200))
        evm.send(payer, evm.account(0).address, value=12_345)
        chain.deploy(load_artifact("DemoToken"))
        before, address = everything(evm), chain.token.address
    with chain_of(file) as (chain, evm):
        assert everything(evm) == before
        assert chain.token.address == address
        evm.send(payer, token.address, data=token.data("transfer", chain.accounts[0].address, 7))
        evm.mine(2)
        later = everything(evm)
        assert int(later[0][-1]["number"], 16) == int(before[0][-1]["number"], 16) + 3
    with chain_of(file) as (_, evm):
        assert everything(evm) == later


def test_blocks_that_a_reorg_has_removed_do_not_come_back(file: Path) -> None:
    with chain_of(file) as (chain, evm):
        evm.mine(5)
        tx = evm.send(evm.account(ETHER), chain.accounts[0].address, value=1)
        chain.reorg(3)
        before = everything(evm)
    with chain_of(file) as (_, evm):
        assert everything(evm) == before
        assert evm.rpc("eth_getTransactionReceipt", tx) is None


def test_a_chain_that_is_killed_has_every_block_that_it_has_shown(file: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"

    def ready() -> bool:
        try:
            return httpx.get(f"{url}/health").text == "ok"
        except httpx.TransportError:
            return False

    arguments = [COMMAND, "devchain", "evm", "--port", str(port), "--automine", "--state", str(file)]
    process = Process("devchain", arguments, environment={}, folder=file.parent, ready=ready)
    process.start()
    evm = Evm(url, name="devchain")
    try:
        account = evm.account(ETHER)
        for number in range(5):
            evm.send(account, account.address, value=number)
        second = [COMMAND, "devchain", "evm", "--port", "0", "--state", str(file)]
        refused = subprocess.run(second, capture_output=True, text=True, timeout=60, check=False)
        shown = everything(evm)
    finally:
        process.kill(signal.SIGKILL)
        process.wait(10)
    assert (refused.returncode, "Another process has" in refused.stderr) == (2, True), refused.stderr
    process.start()
    try:
        again = everything(evm)
    finally:
        evm.close()
        process.kill(signal.SIGTERM)
        assert process.wait(10) == 0
    known = len(shown[0])
    assert again[0][:known] == shown[0]
    assert again[1][: len(shown[1])] == shown[1]


def test_the_state_of_another_chain_and_a_file_that_is_none_are_refused(file: Path) -> None:
    with chain_of(file):
        pass
    with pytest.raises(ConfigurationError, match="state of another chain: evm 84532, not evm 1"):
        EvmDevChain(chain_id=1, state=file).start()
    file.write_bytes(b"not a chain at all, though long enough to be read as a page of something" * 10)
    with pytest.raises(ConfigurationError, match="cannot be used as a chain's state") as told:
        EvmDevChain(state=file).start()
    assert "--state" in (told.value.remedy or "")
    with pytest.raises(ConfigurationError, match="cannot be used as a chain's state"):
        EvmDevChain(state=file.parent / "no" / "folder").start()
