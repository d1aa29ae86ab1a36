"""JSON-RPC 2.0 for the embedded chains: errors, and the dispatch of single requests and batches to methods."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any, Final

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
SERVER_ERROR: Final = -32000
MAX_BATCH: Final = 1000


class RpcError(Exception):
    """An error answer (JSON-RPC 2.0 §5.1)."""

    def __init__(self, message: str, code: int = SERVER_ERROR, data: Any = None) -> None:
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


def refusal(identifier: object, error: RpcError) -> dict[str, Any]:
    """An error answer whole."""
    return {"jsonrpc": "2.0", "error": error.body(), "id": identifier}


class JsonRpc:
    """Methods by name. Each chain's subclass has them, and words the refusals as its nodes do."""

    def __init__(self, methods: Iterable[Callable[..., Any]]) -> None:
        self._methods = {method.__name__: method for method in methods}

    def answer(self, request: object) -> Any:
        """One request or a batch; None when nothing is to be answered (notifications)."""
        if not isinstance(request, list):
            return self._one(request)
        if not request:
            return self.empty_batch()
        if len(request) > MAX_BATCH:
            return refusal(None, RpcError("batch too large", INVALID_REQUEST))
        return [answer for answer in map(self._one, request) if answer is not None] or None

    def call(self, method: str, *params: Any) -> Any:
        """One method. Raises RpcError."""
        implementation = self._methods.get(method)
        if implementation is None:
            raise self.unknown(method)
        try:
            inspect.signature(implementation).bind(*params)
        except TypeError as error:
            raise self.misfit(implementation, params, str(error)) from error
        return implementation(*params)

    def parse_error(self) -> RpcError:
        """What was sent is no JSON."""
        return RpcError("parse error", PARSE_ERROR)

    def malformed(self) -> RpcError:
        """JSON, but no request."""
        return RpcError("invalid request", INVALID_REQUEST)

    def empty_batch(self) -> Any:
        """The answer to `[]`."""
        return refusal(None, RpcError("empty batch", INVALID_REQUEST))

    def unknown(self, method: str) -> RpcError:
        """There is no such method."""
        return RpcError(f"the method {method} does not exist/is not available", METHOD_NOT_FOUND)

    def check_version(self, request: dict[str, Any]) -> None:
        """Refuse requests of other versions of JSON-RPC; by default every one is taken. Raises RpcError."""

    def not_a_list(self) -> RpcError:
        """Parameters by name."""
        return invalid("non-array args")

    def misfit(self, method: Callable[..., Any], params: tuple[Any, ...], reason: str) -> RpcError:
        """Too few parameters or too many."""
        del params
        return invalid(f"invalid parameters of {method.__name__}: {reason}")

    def _one(self, request: object) -> dict[str, Any] | None:
        if not isinstance(request, dict) or not isinstance(request.get("method"), str):
            return refusal(None, self.malformed())
        identifier = request.get("id")
        params = request.get("params")
        try:
            self.check_version(request)
            if not isinstance(params, list | None):
                raise self.not_a_list()
            result = self.call(request["method"], *(params or ()))
        except RpcError as error:
            return refusal(identifier, error)
        return {"jsonrpc": "2.0", "result": result, "id": identifier} if "id" in request else None
