"""The kinds of chain and the kinds of ledger are independent of each other: Solana is tried on one ledger only."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = []
    for item in items:
        params = getattr(getattr(item, "callspec", None), "params", {})
        if params.get("money") in ("solana", "validator") and params.get("database_url") == "postgresql":
            left_out.append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [each for each in items if each not in left_out]
