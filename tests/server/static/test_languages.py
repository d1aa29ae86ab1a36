"""The page in every language: all that one reads comes from its files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from tests.fixtures.evm import Evm
from tests.server.static.browser import Page
from tests.server.static.conftest import EvmShop

from ws402.devchain.evm import EvmDevChain
from ws402.server import app
from ws402.server.web.page import FOLDER, Asset, asset_of, read_assets

pytestmark = pytest.mark.browser

TEXTS = """
const found = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const node = walker.currentNode.parentElement;
  if (node.closest('script, noscript, .messages, code') || !walker.currentNode.data.trim()) continue;
  if (node.checkVisibility()) found.push(walker.currentNode.data);
}
for (const name of ['aria-label', 'placeholder', 'alt'])
  for (const each of document.querySelectorAll(`[${name}]`)) found.push(each.getAttribute(name));
return [...found, document.title];
"""

DATA = re.compile(r"Dear <b>ticker</b>|\b(Ticker|Film|Echo|Palace|ETH|English|Min|Std|Sek|Stunde|Base|Sepolia)\b")
"""What is no word of ours: names, currencies, units by Intl."""


def bracketed() -> dict[str, Asset]:
    """The page's files; in German every word of a value stands in brackets."""
    assets = read_assets()
    german = (FOLDER / "js/languages/de.js").read_text()
    marked = re.sub(r'^(  "[^"]+": )?(.*)$', _mark, german, flags=re.MULTILINE)
    return assets | {"js/languages/de.js": asset_of("de.js", marked.encode())}


def _mark(line: re.Match[str]) -> str:
    key, value = line.group(1) or "", line.group(2)
    if not key:
        return value

    def words(text: re.Match[str]) -> str:
        parts = re.split(r"(\{\w+\})", text.group(1))
        return '"' + "".join(each if each.startswith("{") or not each else f"⟦{each}⟧" for each in parts) + '"'

    return key + re.sub(r'"([^"]*)"', words, value)


@pytest.fixture
def shop(shared_devchain: EvmDevChain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EvmShop]:
    monkeypatch.setattr(app, "read_assets", bracketed)
    film = tmp_path / "film.txt"
    film.write_text("the film")
    evm = Evm(shared_devchain.rpc_url, name="devchain")
    shop = EvmShop(evm, film)
    shop.start()
    yield shop
    shop.stop()
    evm.close()


def strange(page: Page) -> list[str]:
    """What one reads that is neither in the language's file nor data."""
    texts = [re.sub(r"⟦[^⟧]*⟧", " ", each) for each in page.script(TEXTS)]
    return [each for each in texts if re.search(r"[^\W\d_]{2}", DATA.sub("", each))]


def test_all_that_one_reads_is_in_the_language_of_the_address(chromium: webdriver.Chrome, shop: EvmShop) -> None:
    page = Page(chromium, shop.url)
    try:
        page.open("?lang=de")
        assert page.script("return document.documentElement.lang") == "de"
        assert page.text("choose-total") == "0,003 ETH"
        assert strange(page) == []
        page.choose(seconds=60)
        page.script("document.getElementById('manual').open = true")
        assert strange(page) == []
        shop.provider.faults.reject("amount_short")
        page.pay()
        page.shows("problem")
        assert strange(page) == []
        page.driver.find_element(By.CSS_SELECTOR, "#problem-actions button").click()
        page.choose(seconds=3600)
        shop.provider.faults.reject("transfer_unconfirmed", times=2)
        page.pay()
        page.until(lambda: "Bestätigung" in page.text("progress-note"))
        assert strange(page) == []
        page.shows("use")
        page.click("top-up")
        assert strange(page) == []
        shop.provider.faults.unavailable("resume", times=None)
        shop.cut()
        page.until(lambda: "Verbindung" in page.text("use-note"))
        assert strange(page) == []
        shop.provider.faults.clear()
        page.until(lambda: page.text("use-note") == "")
        page.click("end")
        page.shows("done")
        page.until(lambda: page.text("refund-state") == "⟦Erstattet⟧")
        assert strange(page) == []
        page.click("again")
        page.script("document.getElementById('receipts').open = true")
        assert strange(page) == []
    finally:
        page.close()


def test_the_browsers_language_is_spoken_and_another_is_offered(chromium: webdriver.Chrome, shop: EvmShop) -> None:
    page = Page(chromium, shop.url)
    try:
        page.inject("Object.defineProperty(navigator, 'languages', { value: ['fr-FR', 'de-AT', 'en'] })")
        page.open()
        assert page.script("return document.documentElement.lang") == "de"
        link = page.find("languages").find_element(By.TAG_NAME, "a")
        assert (link.text, link.get_attribute("lang")) == ("English", "en")
        link.click()
        page.until(lambda: page.script("return document.documentElement.lang") == "en")
        page.until(lambda: page.text("choose-go") == "Continue")
    finally:
        page.close()
