"""The JSON-RPC methods: names, parameters and answers as Agave has them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from ws402.devchain.jsonrpc import INVALID_REQUEST, METHOD_NOT_FOUND, PARSE_ERROR, JsonRpc, RpcError, invalid
from ws402.devchain.solana.engine import Engine
from ws402.devchain.solana.rpc.accounts import Accounts
from ws402.devchain.solana.rpc.cluster import Cluster
from ws402.devchain.solana.rpc.ledger import Ledger
from ws402.devchain.solana.rpc.sending import Sending


class Rpc(JsonRpc):
    """Answers requests on an engine."""

    def __init__(self, engine: Engine, sending: Sending) -> None:
        self.engine = engine
        self.sending = sending
        parts = (Accounts(engine), Cluster(engine), Ledger(engine), sending)
        super().__init__(
            method
            for part in parts
            for name, method in inspect.getmembers(part, inspect.ismethod)
            if not name.startswith("_")
        )

    def parse_error(self) -> RpcError:
        """What was sent is no JSON."""
        return RpcError("Parse error", PARSE_ERROR)

    def malformed(self) -> RpcError:
        """JSON, but no request."""
        return RpcError("Invalid request", INVALID_REQUEST)

    def empty_batch(self) -> Any:
        """The answer to `[]`: Agave has none."""
        return None

    def unknown(self, method: str) -> RpcError:
        """There is no such method."""
        del method
        return RpcError("Method not found", METHOD_NOT_FOUND)

    def check_version(self, request: dict[str, Any]) -> None:
        """Refuse what is not JSON-RPC 2.0."""
        version = request.get("jsonrpc")
        if version is None:
            raise RpcError("Unsupported JSON-RPC protocol version", INVALID_REQUEST)
        if version != "2.0":
            raise self.malformed()

    def not_a_list(self) -> RpcError:
        """Parameters by name."""
        return invalid("`params` should be an array")

    def misfit(self, method: Callable[..., Any], params: tuple[Any, ...], reason: str) -> RpcError:
        """Too few parameters or too many."""
        del reason
        kinds = inspect.signature(method).parameters.values()
        least = sum(each.default is inspect.Parameter.empty for each in kinds)
        if len(params) < least:
            return invalid(f"`params` should have at least {least} argument(s)")
        return invalid(f"Invalid parameters: expected at most {len(kinds)}.")
