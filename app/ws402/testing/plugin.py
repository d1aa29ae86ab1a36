"""The pytest plugin of `ws402[testing]`, found by its entry point. Fixtures import what they need when used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ws402.provider.mock.provider import MockPaymentProvider
    from ws402.testing.gateway import MockGateway


@pytest.fixture
def ws402_provider() -> MockPaymentProvider:
    """A fresh `MockPaymentProvider`: pretended payments, honest books, faults on demand."""
    from ws402.provider.mock.provider import MockPaymentProvider  # noqa: PLC0415 - pytest loads this plugin in every project

    return MockPaymentProvider()


@pytest.fixture
def ws402_gateway() -> Iterator[MockGateway]:
    """A fresh `MockGateway` on a free port of this machine, for servers in any language."""
    from ws402.testing.gateway import MockGateway  # noqa: PLC0415 - see above

    with MockGateway() as gateway:
        yield gateway
