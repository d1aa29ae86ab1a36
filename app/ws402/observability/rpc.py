"""JSON-RPC calls to chains, as metrics show them; one way for every kind of chain."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from ws402.observability import metrics, tracing

Note = Callable[[Sequence[bool]], None]
"""Takes, for each call in order, whether its answer was the node's own error."""


@contextmanager
def observed(network: str, methods: Sequence[str]) -> Iterator[Note]:
    """Around one HTTP request with these calls. An exception means that the endpoint gave no usable answer."""
    begun = time.perf_counter()
    started_ns = time.time_ns() if tracing.active() else 0
    failure: str | None = None
    for method in methods:
        metrics.RPC_CALLS.inc(network, method)

    def note(failed: Sequence[bool]) -> None:
        for method, error in zip(methods, failed, strict=False):
            if error:
                metrics.RPC_ERRORS.inc(network, method, "reply")

    try:
        yield note
    except Exception as error:
        failure = type(error).__name__
        for method in methods:
            metrics.RPC_ERRORS.inc(network, method, "endpoint")
        raise
    finally:
        name = methods[0] if len(set(methods)) == 1 else "batch"
        metrics.RPC_SECONDS.of(network, name).observe(time.perf_counter() - begun)
        if started_ns:
            about = {"rpc.system.name": "jsonrpc", "rpc.method": name, "ws402.network": network}
            tracing.spread(f"{network}/{name}", tracing.CLIENT, about, started_ns, time.time_ns(), failure)
