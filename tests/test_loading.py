"""What programs load at their start, and what they leave out."""

from __future__ import annotations

import gc
import importlib
import subprocess
import sys

import pytest

from ws402.loading import loading


def loaded(*modules: str) -> set[str]:
    """Top names of what a fresh process has after it loaded these as a program does."""
    code = "import importlib, sys; from ws402.loading import loading\nwith loading():\n    for each in sys.argv[1:]: "
    code += "importlib.import_module(each)\nprint(*{each.partition('.')[0] for each in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code, *modules], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_a_server_loads_nothing_that_only_others_need() -> None:
    found = loaded("ws402.cli.server", "ws402.server", "ws402.provider.proxy")
    unneeded = {"alembic", "asyncpg", "cryptography", "eth", "hvac", "pygments", "requests", "rich", "solders", "web3"}
    assert "litestar" in found
    assert found & (unneeded | {"sqlalchemy", "sentry_sdk", "boto3"}) == set()


def test_a_gateway_loads_what_its_settings_ask_for_only_then() -> None:
    found = loaded("ws402.cli.gateway", "ws402.gateway.run.gateway", "ws402.chains.evm")
    assert "sqlalchemy" in found
    assert (
        found
        & {"alembic", "boto3", "eth_account", "hvac", "pygments", "requests", "rich", "sentry_sdk", "solders", "web3"}
        == set()
    )


def test_the_search_for_garbage_goes_on_afterwards_even_if_a_module_is_broken() -> None:
    assert gc.isenabled()
    with pytest.raises(ModuleNotFoundError), loading():
        importlib.import_module("ws402.no_such_module" if not gc.isenabled() else "ws402")
    assert gc.isenabled()
    assert sys.modules.get("rich", sys) is not None
