"""An embedded chain that counts the calls it answers."""

from __future__ import annotations

from collections import Counter
from typing import Any

from ws402.devchain.evm import EvmDevChain
from ws402.devchain.evm.rpc import Rpc


class CountingChain(EvmDevChain):
    """Calls by method in `calls`."""

    def __init__(self, *, block_time: float = 0) -> None:
        super().__init__(block_time=block_time)
        self.calls: Counter[str] = Counter()

    def _create(self) -> Rpc:
        rpc = super()._create()
        call = rpc.call

        def counted(method: str, *params: Any) -> Any:
            self.calls[method] += 1
            return call(method, *params)

        rpc.call = counted  # type: ignore[method-assign]
        return rpc
