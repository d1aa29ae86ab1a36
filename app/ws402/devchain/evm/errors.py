"""Errors of EIP-1474, in geth's words where a node's refusal is meant: clients match them."""

from __future__ import annotations

from typing import Final

from ws402.devchain.jsonrpc import RpcError

EXECUTION_REVERTED: Final = 3

REVERT_SELECTOR: Final = bytes.fromhex("08c379a0")
"""Error(string), by which Solidity reverts with a reason."""


def reverted(output: bytes) -> RpcError:
    """A call that reverted, with the reason if it is a text."""
    message = "execution reverted"
    if output[:4] == REVERT_SELECTOR and len(output) >= 68:
        length = int.from_bytes(output[36:68], "big")
        text = output[68 : 68 + length].decode("utf-8", "replace")
        message = f"{message}: {text}"
    return RpcError(message, EXECUTION_REVERTED, "0x" + output.hex())
