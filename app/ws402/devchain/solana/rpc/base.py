"""What the groups of methods share."""

from __future__ import annotations

from typing import Any, Final

from ws402.devchain.solana.engine import Block, Engine

API_VERSION: Final = "3.0.14"
"""The Agave release whose answers ours are compared with."""


class Methods:
    """A group of methods: each public one is served under its own name."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine


def in_context(block: Block, value: Any) -> dict[str, Any]:
    """An answer with the block that it is true for."""
    return {"context": {"apiVersion": API_VERSION, "slot": block.slot}, "value": value}
