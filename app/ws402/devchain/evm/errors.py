"""Errors of JSON-RPC 2.0 §5.1 and EIP-1474, in geth's words where a node's refusal is meant: clients match them."""

from __future__ import annotations

from typing import Any, Final

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
SERVER_ERROR: Final = -32000
EXECUTION_REVERTED: Final = 3

REVERT_SELECTOR: Final = bytes.fromhex("08c379a0")
"""Error(string), by which Solidity reverts with a reason."""


class RpcError(Exception):
    """An error answer."""

    def __init__(self, message: str, code: int = SERVER_ERROR, data: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.data = data

    def body(self) -> dict[str, Any]:
        """The answer's `error` member."""
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.data is not None:
            error["data"] = self.data
        return error


def invalid(message: str) -> RpcError:
    """The parameters make no sense."""
    return RpcError(message, INVALID_PARAMS)


def reverted(output: bytes) -> RpcError:
    """A call that reverted, with the reason if it is a text."""
    message = "execution reverted"
    if output[:4] == REVERT_SELECTOR and len(output) >= 68:
        length = int.from_bytes(output[36:68], "big")
        text = output[68 : 68 + length].decode("utf-8", "replace")
        message = f"{message}: {text}"
    return RpcError(message, EXECUTION_REVERTED, "0x" + output.hex())
