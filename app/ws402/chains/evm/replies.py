"""Error answers of nodes: whose fault they are, and what a refused transaction means. Nodes agree on no codes here."""

from __future__ import annotations

from typing import Any, Final

from ws402.chains.base import WrongChainError
from ws402.chains.rpc import replies

_FAULT_CODES: Final = frozenset({-32601, -32603, -32004, -32005, -32001, -32002, -32006, -32016, -32097, 429})
"""Method missing, internal, unsupported, limits, resource unavailable: another endpoint may do better."""

_FAULT_TEXTS: Final = (
    "header not found",
    "unknown block",
    "block not found",
    "missing trie node",
    "state is not available",
    "historical state",
    "rate limit",
    "too many requests",
    "limit exceeded",
    "quota",
    "capacity",
    "timeout",
    "timed out",
    "try again",
    "txpool is full",
    "not available",
    "unauthorized",
    "forbidden",
)

_REVERT_TEXTS: Final = (
    "revert",
    "out of gas",
    "invalid opcode",
    "invalid jump",
    "gas required exceeds",
    "execution failed",
    "vm exception",
    "evm error",
    "outofgas",
    "stack underflow",
    "intrinsic gas",
)

_ALREADY_KNOWN: Final = ("already known", "already imported", "known transaction", "alreadyknown", "already exists")

_REASONS: Final = {
    "nonce_used": ("nonce too low", "nonce is too low", "oldnonce", "nonce has already been used"),
    "underpriced": (
        "underpriced",
        "fee too low",
        "feetoolow",
        "gas price too low",
        "less than block base fee",
        "less than the block's base fee",
        "max fee per gas less than",
    ),
    "insufficient_funds": ("insufficient funds", "insufficient balance", "insufficientfunds", "overshot"),
}


class ReplyError(replies.ReplyError):
    """A node answered a call with an error. `data` is what a reverting contract returned, in hex."""

    def __init__(self, message: str, number: int, data: str | None = None) -> None:
        super().__init__(message, number)
        self.data = data

    @property
    def reverted(self) -> bool:
        """The call itself fails, on any honest node."""
        return self.number == 3 or any(each in self.text for each in _REVERT_TEXTS)

    @property
    def endpoint_fault(self) -> bool:
        """The endpoint cannot answer; another one may."""
        if self.reverted or self.refusal is not None or self.already_known:
            return False
        return self.number in _FAULT_CODES or any(each in self.text for each in _FAULT_TEXTS)

    @property
    def already_known(self) -> bool:
        """A transaction that is sent again."""
        return any(each in self.text for each in _ALREADY_KNOWN)

    @property
    def refusal(self) -> str | None:
        """Why a transaction was refused, as `BroadcastRefusedError.reason`; None: for no reason that we know."""
        return next((reason for reason, texts in _REASONS.items() if any(each in self.text for each in texts)), None)


def read_error(error: Any) -> ReplyError:
    """From an answer's `error` member, whatever it is."""
    if not isinstance(error, dict):
        return ReplyError(str(error)[:300], 0)
    number = error.get("code")
    data = error.get("data")
    if isinstance(data, dict):
        data = data.get("data") or data.get("result")
    return ReplyError(
        str(error.get("message", "no message"))[:300],
        number if isinstance(number, int) else 0,
        data if isinstance(data, str) else None,
    )


class EvmDialect:
    """Nodes of the EVM chain with this id (EIP-155). See `ws402.chains.rpc.replies.Dialect`."""

    probe = "eth_chainId"

    def __init__(self, chain_id: int) -> None:
        self._chain_id = chain_id

    def verify(self, endpoint: str, answer: Any) -> None:
        """See `Dialect.verify`."""
        served = int(answer, 16)
        if served != self._chain_id:
            raise WrongChainError(
                f"The RPC endpoint {endpoint} serves chain {served}, not {self._chain_id}.",
                remedy="Check the network's RPC URLs and its chain id.",
            )

    def read_error(self, error: Any) -> ReplyError:
        """See `Dialect.read_error`."""
        return read_error(error)
