"""The first screen: soon there on a slow line, and usable however much is sold, and however large the letters are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from selenium.webdriver.common.by import By
from tests.server.static.browser import Page
from tests.server.static.conftest import Shop

from ws402.devchain.evm import EvmDevChain
from ws402.provider.mock.provider import MockPaymentProvider
from ws402.settings import ResourceSettings

pytestmark = pytest.mark.browser

MOST_BYTES = 48_000
"""Before the price is seen, headers included: 8 seconds at 6 KB/s."""


@pytest.fixture
def shop(shared_devchain: EvmDevChain) -> Iterator[Shop]:
    resources = [
        ResourceSettings(id=f"feed-{at}", name=f"{name} {'w' * 50}", kind="ticker", price="0.36 ETH per hour")
        for at, name in enumerate(["Börsenkurse", "Weather", "Wettervorhersage"] * 10)
    ]
    shop = Shop(MockPaymentProvider(), resources, dev_rpc_url=shared_devchain.rpc_url)
    shop.start()
    yield shop
    shop.stop()


def visible(page: Page) -> list[str]:
    return [each.text for each in page.driver.find_elements(By.CSS_SELECTOR, ".choice .name") if each.is_displayed()]


def test_thirty_resources_can_be_searched_and_fit_in_letters_of_twice_the_size(page: Page) -> None:
    page.size(360, 800)
    page.open()
    assert len(visible(page)) == 30
    page.script("document.documentElement.style.fontSize = '200%'")
    assert not page.overflows(), "the list"
    page.find("search").send_keys("BÖRSEN 27")
    assert len(visible(page)) == 2, "what is found, and what is chosen"
    assert page.text("search-found") == "2 of 30 fit"
    page.find("search").clear()
    page.find("search").send_keys("wettervor")
    assert len(visible(page)) == 11
    assert not page.overflows(), "what was found"
    page.choose("feed-29")
    page.script("document.getElementById('manual').open = true")
    assert not page.overflows(), "the offer"
    page.pay()
    page.shows("use")
    page.click("top-up")
    assert not page.overflows(), "the session"
    page.click("end")
    page.shows("done")
    page.until(lambda: page.text("refund-state") == "Refunded")
    assert not page.overflows(), "the receipt"


def test_the_price_is_seen_after_few_bytes_and_round_trips(page: Page) -> None:
    page.driver.get("about:blank")
    page.driver.execute_cdp_cmd("Network.setCacheDisabled", {"cacheDisabled": True})
    page._log("performance")
    page.driver.get(page.url)
    page.until(lambda: page.enabled("choose-go"))
    page.until(
        lambda: page.script("return performance.getEntriesByName(location.origin + '/static/js/flow.js').length")
    )
    page.driver.execute_cdp_cmd("Network.setCacheDisabled", {"cacheDisabled": False})
    logged = [json.loads(each["message"])["message"] for each in page._log("performance")]
    asked: dict[str, dict[str, Any]] = {}
    sizes: dict[str, int] = {}
    for each in logged:
        if each["method"] == "Network.requestWillBeSent":
            asked[each["params"]["requestId"]] = each["params"]
        elif each["method"] == "Network.loadingFinished":
            sizes[each["params"]["requestId"]] = each["params"]["encodedDataLength"]
    names = {name: params["request"]["url"].removeprefix(page.url) for name, params in asked.items()}
    later = next(at for at, name in enumerate(names.values()) if name == "static/js/flow.js")
    first = list(names)[:later]
    assert {"", "static/page.css", "static/js/main.js", "api/resources", "ws402/page"} <= {
        names[each] for each in first
    }
    assert sum(sizes[each] for each in first if each in sizes) <= MOST_BYTES
    scripted = {names[each] for each in first if asked[each]["initiator"]["type"] == "script"}
    assert scripted == {"api/resources", "ws402/page"}, "all else is named by the page itself: two round trips after it"
