"""The JSON-RPC methods: names, parameters and answers as the execution API has them (EIP-1474, execution-apis)."""
# ruff: noqa: D102, N802 - the methods are named, and described, by the API.

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Final

from eth_account import Account
from eth_account.messages import encode_defunct
from eth_account.signers.local import LocalAccount
from eth_typing import HexStr
from eth_utils.address import to_checksum_address

from ws402.devchain.evm import shapes
from ws402.devchain.evm.blocks import Block
from ws402.devchain.evm.engine import COINBASE, GAS_LIMIT, Engine, raise_for
from ws402.devchain.evm.filters import logs_between
from ws402.devchain.evm.parameters import address, block_number, call_fields, flag, hex_data, integer
from ws402.devchain.evm.shapes import data, quantity
from ws402.devchain.jsonrpc import JsonRpc, RpcError, invalid

CLIENT: Final = "ws402-devchain/py-evm"
SUGGESTED_TIP: Final = 1_000_000_000
"""What `eth_maxPriorityFeePerGas` answers: 1 gwei, as test nodes do."""
MAX_FEE_HISTORY: Final = 1024


class Rpc(JsonRpc):
    """Answers requests on an engine. `automine`: a block for every accepted transaction, at once."""

    def __init__(self, engine: Engine, accounts: Mapping[str, str], *, automine: bool) -> None:
        self.engine = engine
        self.automine = automine
        self.interval: float | None = None
        """What evm_setIntervalMining asked for, in seconds; the server's timer reads it."""
        self._keys: dict[bytes, LocalAccount] = {
            bytes.fromhex(name[2:]): Account.from_key(key) for name, key in accounts.items()
        }
        super().__init__(
            method
            for name, method in inspect.getmembers(self, inspect.ismethod)
            if name.partition("_")[0] in {"eth", "net", "web3", "personal", "debug", "evm", "anvil", "txpool"}
        )

    # --- The network ---------------------------------------------------------------------------------------------

    def web3_clientVersion(self) -> str:
        return CLIENT

    def net_version(self) -> str:
        return str(self.engine.chain_id)

    def net_listening(self) -> bool:
        return True

    def eth_chainId(self) -> str:
        return quantity(self.engine.chain_id)

    def eth_syncing(self) -> bool:
        return False

    def eth_accounts(self) -> list[str]:
        return [data(each) for each in self._keys]

    def eth_coinbase(self) -> str:
        return data(COINBASE)

    # --- Blocks, transactions, logs ------------------------------------------------------------------------------

    def eth_blockNumber(self) -> str:
        return quantity(self.engine.head.number)

    def eth_getBlockByNumber(self, tag: object, full: object = False) -> Any:
        if tag == "pending":
            waiting = [
                pooled
                for sender in self.engine.pool.senders()
                for nonce in range(
                    self.engine.nonce(sender), self.engine.pool.next_nonce(sender, self.engine.nonce(sender))
                )
                if (pooled := self.engine.pool.at(sender, nonce))
            ]
            return shapes.pending_body(self.engine.head, self.engine.next_base_fee, waiting, full=flag(full))
        block = self._block(tag)
        return shapes.block_body(block, full=flag(full)) if block else None

    def eth_getBlockByHash(self, block_hash: object, full: object = False) -> Any:
        block = self.engine.block_by_hash(hex_data(block_hash, size=32))
        return shapes.block_body(block, full=flag(full)) if block else None

    def eth_getBlockReceipts(self, tag: object) -> Any:
        block = self._block(tag)
        return [shapes.receipt_body(block, index) for index in range(len(block.mined))] if block else None

    def eth_getBlockTransactionCountByNumber(self, tag: object) -> Any:
        block = self._block(tag)
        return quantity(len(block.mined)) if block else None

    def eth_getTransactionByHash(self, tx: object) -> Any:
        wanted = hex_data(tx, size=32)
        if found := self.engine.find(wanted):
            block, index = found
            return shapes.transaction_body(block.mined[index], block, index)
        pooled = self.engine.pool.get(wanted)
        return shapes.transaction_body(pooled) if pooled else None

    def eth_getTransactionReceipt(self, tx: object) -> Any:
        found = self.engine.find(hex_data(tx, size=32))
        return shapes.receipt_body(*found) if found else None

    def eth_getLogs(self, query: object) -> Any:
        return logs_between(self.engine, query)

    def debug_traceTransaction(self, tx: object, options: object = None) -> Any:
        if not isinstance(options, dict) or options.get("tracer") != "callTracer":
            raise invalid("only the callTracer is available")
        found = self.engine.find(hex_data(tx, size=32))
        if found is None:
            raise RpcError("transaction not found")
        return shapes.trace_body(found[0].mined[found[1]].trace)

    # --- State ---------------------------------------------------------------------------------------------------

    def eth_getBalance(self, account: object, tag: object = "latest") -> str:
        return quantity(self._state(tag).get_balance(address(account)))

    def eth_getCode(self, account: object, tag: object = "latest") -> str:
        return data(self._state(tag).get_code(address(account)))

    def eth_getStorageAt(self, account: object, slot: object, tag: object = "latest") -> str:
        return shapes.word(self._state(tag).get_storage(address(account), integer(slot)))

    def eth_getTransactionCount(self, account: object, tag: object = "latest") -> str:
        nonce = self._state(tag).get_nonce(address(account))
        return quantity(self.engine.pool.next_nonce(address(account), nonce) if tag == "pending" else nonce)

    def eth_call(self, call: object, tag: object = "latest") -> str:
        fields = call_fields(call)
        computation, _ = self.engine.execute(
            fields.sender, fields.to, fields.value, fields.data, fields.gas or GAS_LIMIT, self._known(tag)
        )
        raise_for(computation)
        return data(computation.output)

    def eth_estimateGas(self, call: object, tag: object = "latest") -> str:
        fields = call_fields(call)
        cap = min(fields.gas or GAS_LIMIT, GAS_LIMIT)
        return quantity(
            self.engine.estimate(fields.sender, fields.to, fields.value, fields.data, cap, self._known(tag))
        )

    # --- Fees ----------------------------------------------------------------------------------------------------

    def eth_gasPrice(self) -> str:
        return quantity(self.engine.next_base_fee + SUGGESTED_TIP)

    def eth_maxPriorityFeePerGas(self) -> str:
        return quantity(SUGGESTED_TIP)

    def eth_feeHistory(self, count: object, newest: object, percentiles: object = None) -> Any:
        last = self._known(newest).number
        first = max(0, last + 1 - min(integer(count), MAX_FEE_HISTORY))
        blocks = self.engine.blocks[first : last + 1]
        following = (
            self.engine.blocks[last + 1].header.base_fee_per_gas
            if last < self.engine.head.number
            else self.engine.next_base_fee
        )
        history: dict[str, Any] = {
            "oldestBlock": quantity(first),
            "baseFeePerGas": [*(quantity(each.header.base_fee_per_gas) for each in blocks), quantity(following)],
            "gasUsedRatio": [each.header.gas_used / each.header.gas_limit for each in blocks],
        }
        if isinstance(percentiles, list) and percentiles:
            history["reward"] = [[quantity(_reward(each, percentile)) for percentile in percentiles] for each in blocks]
        return history

    # --- Sending -------------------------------------------------------------------------------------------------

    def eth_sendRawTransaction(self, raw: object) -> str:
        tx = self.engine.submit(hex_data(raw))
        if self.automine:
            self.engine.mine()
        return data(tx)

    def eth_sendTransaction(self, call: object) -> str:
        fields = call_fields(call)
        key = self._key(fields.sender)
        gas = fields.gas or self.engine.estimate(fields.sender, fields.to, fields.value, fields.data, GAS_LIMIT)
        nonce = fields.nonce
        if nonce is None:
            nonce = self.engine.pool.next_nonce(fields.sender, self.engine.nonce(fields.sender))
        tip = SUGGESTED_TIP if fields.tip is None else fields.tip
        signed = key.sign_transaction(
            {
                "chainId": self.engine.chain_id,
                "nonce": nonce,
                "to": to_checksum_address(fields.to) if fields.to else HexStr(""),
                "value": fields.value,
                "data": fields.data,
                "gas": gas,
                "maxPriorityFeePerGas": tip,
                "maxFeePerGas": fields.max_fee or 2 * self.engine.next_base_fee + tip,
            }
        )
        return self.eth_sendRawTransaction(data(signed.raw_transaction))

    def personal_sign(self, message: object, account: object, _password: object = None) -> str:
        signed = self._key(address(account)).sign_message(encode_defunct(primitive=hex_data(message)))
        return data(signed.signature)

    def eth_sign(self, account: object, message: object) -> str:
        return self.personal_sign(message, account)

    # --- Making blocks, as test nodes name it --------------------------------------------------------------------

    def evm_mine(self, _options: object = None) -> str:
        self.engine.mine()
        return "0x0"

    def anvil_mine(self, blocks: object = 1, _interval: object = None) -> None:
        for _ in range(integer(blocks)):
            self.engine.mine()

    def evm_setAutomine(self, on: object) -> bool:
        self.automine = flag(on)
        return True

    def evm_setIntervalMining(self, seconds: object) -> bool:
        self.interval = float(integer(seconds))
        return True

    def evm_increaseTime(self, seconds: object) -> int:
        self.engine.time_offset += integer(seconds)
        return self.engine.time_offset

    def evm_setNextBlockTimestamp(self, timestamp: object) -> None:
        wanted = integer(timestamp)
        if wanted < self.engine.head.header.timestamp:
            raise invalid(f"timestamp {wanted} is before the newest block's")
        self.engine.next_timestamp = wanted

    def anvil_reorg(self, depth: object, pairs: object = None) -> None:
        if pairs:
            raise invalid("transactions of the new blocks cannot be given here")
        self.engine.reorg(integer(depth), keep=False)

    def anvil_dropTransaction(self, tx: object) -> str | None:
        pooled = self.engine.pool.get(hex_data(tx, size=32))
        if pooled is None:
            return None
        self.engine.pool.discard(pooled)
        return data(pooled.hash)

    def txpool_status(self) -> dict[str, str]:
        engine = self.engine
        ready = sum(
            engine.pool.next_nonce(each, engine.nonce(each)) - engine.nonce(each) for each in engine.pool.senders()
        )
        return {"pending": quantity(ready), "queued": quantity(len(engine.pool) - ready)}

    # --- Helpers -------------------------------------------------------------------------------------------------

    def _key(self, account: bytes) -> LocalAccount:
        try:
            return self._keys[account]
        except KeyError:
            raise RpcError("unknown account") from None

    def _block(self, tag: object) -> Block | None:
        if isinstance(tag, dict) and "blockHash" in tag:
            return self.engine.block_by_hash(hex_data(tag["blockHash"], size=32))
        number = block_number(tag, head=self.engine.head.number, final=self.engine.final)
        return self.engine.blocks[number] if number <= self.engine.head.number else None

    def _known(self, tag: object) -> Block:
        block = self._block(tag)
        if block is None:
            raise RpcError("header not found")
        return block

    def _state(self, tag: object) -> Any:
        return self.engine.state(self._known(tag))


def _reward(block: Block, percentile: float) -> int:
    """The tip at a percentile of the block's gas, dearest last."""
    base_fee: int = block.header.base_fee_per_gas
    paid = sorted((shapes.effective_price(each.transaction, block) - base_fee, each.gas_used) for each in block.mined)
    wanted = block.header.gas_used * percentile / 100
    seen = 0
    for tip, gas in paid:
        seen += gas
        if seen >= wanted:
            return tip
    return 0
