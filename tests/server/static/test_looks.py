"""The seller's looks on the page, and what amounts are about in another currency."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.server.static.browser import Page
from tests.server.static.conftest import Shop

from ws402.devchain.evm import EvmDevChain
from ws402.provider.mock.provider import MockPaymentProvider
from ws402.settings import CheckoutSettings, ResourceSettings

pytestmark = pytest.mark.browser


@pytest.fixture
def shop(shared_devchain: EvmDevChain, tmp_path: Path) -> Iterator[Shop]:
    logo = tmp_path / "logo.svg"
    logo.write_text('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><rect width="8" height="8"/></svg>')
    rates = tmp_path / "rates.json"
    rates.write_text(json.dumps({"at": datetime.now(UTC).isoformat(), "rates": {"ETH": "3000"}}))
    looks = CheckoutSettings(
        name='Ada & <i>"Söhne"</i>',
        logo_file=logo,
        accent="#7a1fa2",
        return_url="https://shop.example/basket?id=1&b='2'",
        language="de",
        fiat_currency="EUR",
        fiat_rates_file=rates,
    )
    resources = [ResourceSettings(id="ticker", name="Ticker", kind="ticker", price_per_second=10**13)]
    shop = Shop(MockPaymentProvider(), resources, dev_rpc_url=shared_devchain.rpc_url, checkout=looks)
    shop.start()
    yield shop
    shop.stop()


def test_the_page_is_the_sellers_and_tells_what_amounts_are_about(page: Page) -> None:
    page.open()
    assert page.text("brand") == page.driver.title == 'Ada & <i>"Söhne"</i>'
    assert page.script("return document.querySelector('.brand img').naturalWidth") > 0
    assert page.attribute("back-to-shop", "href") == "https://shop.example/basket?id=1&b=%272%27"
    assert (page.text("back-to-shop"), page.script("return document.documentElement.lang")) == ("Zurück zum Shop", "de")
    colour = "return getComputedStyle(document.getElementById('choose-go')).backgroundColor"
    page.until(lambda: page.script(colour) == "rgb(122, 31, 162)")
    assert page.text("choose-total") == "0,003 ETH"
    assert page.text("choose-fiat").replace("\xa0", " ").startswith("≈ 9,00 €, Kurs von ")
    for dark in (False, True):
        page.media(dark=dark)
        time.sleep(0.2)  # colours change slowly
        assert page.violations() == []
    page.choose(seconds=60)
    assert page.text("fact-fiat").replace("\xa0", " ").startswith("≈ 1,80 €, Kurs von ")
    assert page.violations() == []
