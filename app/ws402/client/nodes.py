"""What a wallet asks a node of an EVM chain: over JSON-RPC by itself, or through the caller's web3."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlsplit

from ws402.client.errors import NodeUnavailableError
from ws402.client.rpc import Rpc, RpcError

if TYPE_CHECKING:
    from web3 import AsyncWeb3

_SELECTORS: Final = {"balanceOf": "0x70a08231", "decimals": "0x313ce567"}
_ERC20: Final = [
    {
        "type": "function",
        "name": "balanceOf",
        "stateMutability": "view",
        "inputs": [{"name": "account", "type": "address"}],
        "outputs": [{"name": "", "type": "uint256"}],
    },
    {
        "type": "function",
        "name": "decimals",
        "stateMutability": "view",
        "inputs": [],
        "outputs": [{"name": "", "type": "uint8"}],
    },
]
"""What a wallet reads of a token (EIP-20)."""


class Node(Protocol):
    """A node. `host` is how errors name it. Each call may raise RpcError and NodeUnavailableError."""

    host: str

    async def __call__(self, method: str, *params: Any) -> Any:
        """A method's result as JSON has it: quantities are hex texts."""

    async def read_token(self, token: str, function: str, *accounts: str) -> Any:
        """`balanceOf` or `decimals` of a token: an integer, or hex of one."""

    async def close(self) -> None:
        """Close connections that are the wallet's own."""


class RpcNode(Rpc):
    """A node by its URL."""

    async def read_token(self, token: str, function: str, *accounts: str) -> Any:
        """By selector and words of 32 bytes."""
        words = "".join(each[2:].lower().rjust(64, "0") for each in accounts)
        return await self("eth_call", {"to": token, "data": _SELECTORS[function] + words}, "latest")


class Web3Node:
    """A node by the caller's `AsyncWeb3`: its provider, middleware and retries. It stays the caller's to close."""

    def __init__(self, web3: AsyncWeb3[Any]) -> None:
        self._web3 = web3
        # The address may hold an access key: only its host is shown.
        address = str(getattr(web3.provider, "endpoint_uri", "") or "")
        self.host = urlsplit(address).netloc.rpartition("@")[2] or type(web3.provider).__name__

    async def __call__(self, method: str, *params: Any) -> Any:
        """A method's result."""
        return await self._asked(self._web3.manager.coro_request(method, list(params)))  # type: ignore[arg-type]  # any method's name

    async def read_token(self, token: str, function: str, *accounts: str) -> Any:
        """By the token's ABI."""
        checksummed = self._web3.to_checksum_address
        contract = self._web3.eth.contract(address=checksummed(token), abi=_ERC20)
        call = contract.get_function_by_name(function)(*map(checksummed, accounts))
        return await self._asked(call.call())

    async def close(self) -> None:
        """Nothing: the connection is the caller's."""

    async def _asked(self, answer: Any) -> Any:
        # It takes a second to import; a caller with an AsyncWeb3 has it already.
        from aiohttp import ClientError  # noqa: PLC0415
        from web3.exceptions import (  # noqa: PLC0415
            BadFunctionCallOutput,
            ContractLogicError,
            Web3Exception,
            Web3RPCError,
        )

        try:
            return await answer
        except Web3RPCError as error:
            problem: Any = (error.rpc_response or {}).get("error") or {}
            code = problem.get("code") if isinstance(problem, dict) else None
            message = problem.get("message") if isinstance(problem, dict) else None
            raise RpcError(str(message or error), code if isinstance(code, int) else 0) from error
        except (BadFunctionCallOutput, ContractLogicError) as error:
            raise RpcError(str(error), 3) from error
        except (Web3Exception, ClientError, OSError, TimeoutError, ValueError) as error:
            # What these say may hold the address; a ValueError tells of what is no JSON.
            raise NodeUnavailableError(
                f"The wallet's node {self.host} does not answer ({type(error).__name__}).",
                remedy="Check its address, or try later.",
            ) from error
