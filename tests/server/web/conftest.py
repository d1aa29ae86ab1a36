"""What those who sell for x402 and MPP stand on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fixtures.evm import Evm
from tests.server.web.x402_site import Chain

from ws402.devchain.evm import EvmDevChain


@pytest.fixture
def chain(shared_devchain: EvmDevChain, tmp_path: Path) -> Iterator[Chain]:
    """The embedded chain, and a gateway's settings on it."""
    evm = Evm(shared_devchain.rpc_url, name="devchain")
    yield Chain(evm, f"sqlite:///{tmp_path / 'ledger.db'}")
    evm.close()
