"""The pytest plugin of `ws402[testing]`, found by its entry point. Fixtures import what they need when used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ws402.provider.mock import MockPaymentProvider


@pytest.fixture
def ws402_provider() -> MockPaymentProvider:
    """A fresh `MockPaymentProvider`: pretended payments, honest books, faults on demand."""
    from ws402.provider.mock import MockPaymentProvider  # noqa: PLC0415 - pytest loads this plugin in every project

    return MockPaymentProvider()
