"""The running chain: a thread of its own with the engine, its block timer and JSON-RPC over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from eth_utils.address import to_checksum_address

from ws402.devchain.evm.accounts import DevAccount, derive
from ws402.devchain.evm.contracts import deploy_data, load_artifact
from ws402.devchain.evm.engine import Engine
from ws402.devchain.evm.rpc import Rpc
from ws402.devchain.evm.shapes import data
from ws402.devchain.jsonrpc import RpcError
from ws402.devchain.service import DevChain
from ws402.errors import ConfigurationError, WS402Error

ETHER: Final = 10**18


class DevToken(msgspec.Struct, frozen=True):
    """The demo token: a dollar of 6 decimals with EIP-2612 and EIP-3009; anybody may call `mint(address,uint256)`."""

    address: str
    symbol: str = "DUSD"
    decimals: int = 6
    eip712_name: str = "Demo Dollar"
    eip712_version: str = "1"


class EvmDevChain(DevChain[Rpc]):
    """An EVM chain with funded accounts at `rpc_url`; `with` or `async with` starts and ends it.

    `block_time` seconds lie between blocks, 0 makes none by time; `automine` makes one at once for each transaction.
    The block `final_after` behind the head is `safe` and `finalized`. `balance` is in wei. `port` 0 takes a free one.
    `state`: the file in which its blocks are kept, made when it is not there; a chain that is there goes on.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        chain_id: int = 84532,
        block_time: float = 1.0,
        automine: bool = False,
        final_after: int = 2,
        accounts: int = 10,
        balance: int = 10_000 * ETHER,
        state: Path | None = None,
    ) -> None:
        if block_time < 0:
            raise ConfigurationError("The block time is negative.", remedy="Give seconds, or 0 for none.")
        if block_time == 0:
            automine = True
        super().__init__(host, port, state)
        self.chain_id = chain_id
        self.accounts: Sequence[DevAccount] = derive(accounts)
        self._automine = automine
        self._block_time = block_time
        self._final_after = final_after
        self._balance = balance
        self._token: DevToken | None = None

    @property
    def token(self) -> DevToken:
        """The demo token, deployed at the start."""
        if self._token is None:
            raise WS402Error("The development chain is not running.", remedy="Start it first.")
        return self._token

    def start(self) -> None:
        """Start and wait until it answers. Raises ConfigurationError when the port cannot be had."""
        super().start()
        address = self._on_loop(lambda _: self._state.fact("token") if self._state else None)
        self._token = DevToken(address or self._deploy_token())

    def _deploy_token(self) -> str:
        address = self.deploy(load_artifact("DemoToken"), sender=self.accounts[-1])

        def remember(_: Rpc) -> None:
            if self._state is not None:
                self._state.remember("token", address)

        self._on_loop(remember)
        return address

    # --- Without HTTP --------------------------------------------------------------------------------------------

    def mine(self, blocks: int = 1) -> None:
        """Make blocks now."""
        self._on_loop(lambda rpc: [rpc.engine.mine() for _ in range(blocks)])

    def reorg(self, depth: int, *, keep: bool = False) -> None:
        """Replace the newest blocks by new ones; `keep`: their transactions go back into the pool, else are lost."""
        self._on_loop(lambda rpc: rpc.engine.reorg(depth, keep=keep))

    def deploy(self, artifact: dict[str, Any], *arguments: Any, sender: DevAccount | None = None) -> str:
        """Create a contract and answer its address (checksummed), in a block already. Raises RpcError."""

        def create(rpc: Rpc) -> str:
            call = {"from": (sender or self.accounts[0]).address, "data": data(deploy_data(artifact, arguments))}
            tx = rpc.eth_sendTransaction(call)
            if rpc.eth_getTransactionReceipt(tx) is None:
                rpc.engine.mine()
            receipt = rpc.eth_getTransactionReceipt(tx)
            if receipt is None or receipt["status"] != "0x1":
                raise RpcError(f"the creation of {artifact.get('contractName', 'the contract')} failed")
            return str(to_checksum_address(receipt["contractAddress"]))

        return self._on_loop(create)

    # --- The thread ----------------------------------------------------------------------------------------------

    def _create(self) -> Rpc:
        balances = {bytes.fromhex(each.address[2:]): self._balance for each in self.accounts}
        engine = Engine(self.chain_id, balances, self._final_after, self._open_state(f"evm {self.chain_id}"))
        keys = {each.address: each.key for each in self.accounts}
        rpc = Rpc(engine, keys, automine=self._automine)
        rpc.interval = self._block_time
        return rpc

    async def _keep_time(self, rpc: Rpc) -> None:
        """A block every interval, measured from the last one that the timer made; looks anew when it was changed."""
        while True:
            interval = rpc.interval
            await asyncio.sleep(interval or 0.05)
            if interval and rpc.interval:
                rpc.engine.mine()
