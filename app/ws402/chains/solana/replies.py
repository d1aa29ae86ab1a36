"""Error answers of Solana nodes (Agave's custom JSON-RPC codes), and how endpoints show which cluster they serve."""

from __future__ import annotations

from typing import Any, Final

from ws402.chains.base import WrongChainError
from ws402.chains.rpc import replies
from ws402.settings import SOLANA_GENESIS

PREFLIGHT: Final = -32002
NO_BLOCK: Final = frozenset({-32001, -32004, -32014})
"""Cleaned up, not available, not available yet."""
SKIPPED: Final = frozenset({-32007, -32009})
"""No block was made in this slot, or it is missing in long-term storage."""
UNREADABLE: Final = -32015
"""A transaction of a version that was not asked for."""
_BAD_REQUEST: Final = frozenset({-32602, -32600, -32003, -32013, UNREADABLE})


class ReplyError(replies.ReplyError):
    """A node answered a call with an error. `data` is what it added, such as why a preflight failed."""

    def __init__(self, message: str, number: int, data: Any = None) -> None:
        super().__init__(message, number)
        self.data = data

    @property
    def endpoint_fault(self) -> bool:
        """The endpoint cannot answer; another one may."""
        return self.number not in {PREFLIGHT, *NO_BLOCK, *SKIPPED, *_BAD_REQUEST}

    @property
    def failure(self) -> Any:
        """The transaction error of a failed preflight (`TransactionError` in Agave), as JSON."""
        return self.data.get("err") if isinstance(self.data, dict) else None


class SolanaDialect:
    """Nodes of one cluster. See `ws402.chains.rpc.replies.Dialect`."""

    probe = "getGenesisHash"

    def __init__(self, network: str, genesis: str | None) -> None:
        self._network = network
        self.genesis = genesis
        """Learnt from the first endpoint that answers where the settings do not say it."""

    def verify(self, endpoint: str, answer: Any) -> None:
        """See `Dialect.verify`."""
        if not isinstance(answer, str) or not 32 <= len(answer) <= 44:
            raise ValueError(answer)
        public = next((name for name, genesis in SOLANA_GENESIS.items() if genesis == answer), None)
        if self.genesis is None and public is None:
            self.genesis = answer
        if self.genesis != answer:
            raise WrongChainError(
                f"The RPC endpoint {endpoint} serves {public or f'a cluster with the genesis hash {answer}'}, "
                f"not {self._network}.",
                remedy="Check the network's RPC URLs, its name and its genesis hash.",
            )

    def read_error(self, error: Any) -> ReplyError:
        """See `Dialect.read_error`."""
        if not isinstance(error, dict):
            return ReplyError(str(error)[:300], 0)
        number = error.get("code")
        message = str(error.get("message", "no message"))[:300]
        return ReplyError(message, number if isinstance(number, int) else 0, error.get("data"))
