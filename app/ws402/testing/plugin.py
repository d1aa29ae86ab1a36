"""The pytest plugin of `ws402[testing]`, found by its entry point. Fixtures import what they need when used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ws402.provider.mock.provider import MockPaymentProvider
    from ws402.testing.gateway import MockGateway
    from ws402.testing.paid import Seller


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


@pytest.fixture
def ws402_sell() -> Iterator[Seller]:
    """Sells a resource of yours, and pays for it: `shop = ws402_sell(stream)`, `with shop.pay(seconds=60) as session`.

    A real server and client of this process, pretended money, honest books; see `ws402.testing.PaidServer`.
    """
    from ws402.testing.paid import Seller  # noqa: PLC0415 - see above

    seller = Seller()
    yield seller
    seller.close()
