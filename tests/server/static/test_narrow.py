"""Nothing runs out of a narrow page, however long the seller's names and prices are."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.server.static.browser import Page
from tests.server.static.conftest import Shop

from ws402.devchain.evm import EvmDevChain
from ws402.provider.mock.provider import MockPaymentProvider
from ws402.settings import ResourceSettings

pytestmark = pytest.mark.browser

LONG = "Donaudampfschifffahrtsgesellschaftskapitänsbörsendaten in Echtzeit"
FINE = "0.000000123456789012 ETH per second"


@pytest.fixture
def shop(shared_devchain: EvmDevChain) -> Iterator[Shop]:
    resources = [
        ResourceSettings(id="long", name=LONG, kind="ticker", price=FINE),
        ResourceSettings(id="wide", name="W" * 60, kind="ticker", price="123456789.123456 USDC per hour"),
        ResourceSettings(id="ticker", name=LONG, kind="ticker", price_per_second=10**13),
    ]
    shop = Shop(MockPaymentProvider(), resources, dev_rpc_url=shared_devchain.rpc_url)
    shop.start()
    yield shop
    shop.stop()


def test_long_names_and_prices_stay_inside_a_page_of_360_pixels(page: Page) -> None:
    page.size(360, 800)
    page.open()
    assert not page.overflows(), "the list"
    page.choose("long")
    page.script("document.getElementById('manual').open = true")
    assert not page.overflows(), "the offer"
    page.click("pay-back")
    page.choose("ticker")
    page.pay()
    page.shows("use")
    assert not page.overflows(), "the session"
    page.click("end")
    page.shows("done")
    page.until(lambda: page.text("refund-state") == "Refunded")
    assert not page.overflows(), "the receipt"
    page.click("again")
    page.script("document.getElementById('receipts').open = true")
    assert not page.overflows(), "the list of receipts"
