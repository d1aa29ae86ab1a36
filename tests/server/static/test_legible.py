"""Everybody can read and use the page, and it runs nothing but its own modules."""

from __future__ import annotations

import time

import httpx
import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from tests.server.static.browser import Page
from tests.server.static.conftest import EvmShop

pytestmark = pytest.mark.browser


def test_by_keyboard_alone(page: Page, shop: EvmShop) -> None:
    page.open()
    keys = ActionChains(page.driver)

    def tab_to(wanted: str) -> None:
        for _ in range(30):
            keys.send_keys(Keys.TAB).perform()
            if page.focused() == wanted:
                assert page.focus_ring() == "solid", wanted
                return
        pytest.fail(f"{wanted} cannot be reached by Tab")

    tab_to("resource")
    tab_to("duration")
    keys.send_keys(Keys.ARROW_LEFT).perform()
    assert page.text("choose-note").startswith("for 1 min, on ")
    tab_to("choose-go")
    keys.send_keys(Keys.ENTER).perform()
    page.shows("pay")
    assert page.focused() == "pay-title", "the focus goes along"
    tab_to("wallet")
    keys.send_keys(Keys.ENTER).perform()
    page.shows("use")
    assert page.focused() == "use-title"
    tab_to("end")
    keys.send_keys(Keys.SPACE).perform()
    page.shows("done")
    assert page.focused() == "done-title"


def test_screen_readers_are_told_politely_and_not_every_second(page: Page, shop: EvmShop) -> None:
    page.begin()
    assert page.attribute("announcer", "role") == "status"
    said = page.script("return document.getElementById('announcer').textContent")
    assert said.startswith(("Session started. 4 min 5", "Session started. 5 min"))
    page.script(
        "window.spoken = 0; new MutationObserver(() => spoken++).observe(document.getElementById('announcer'),"
        " { childList: true, characterData: true, subtree: true })"
    )
    seen: set[str] = set()

    def drawn() -> bool:
        seen.add(page.text("used"))
        return len(seen) > 8

    page.until(drawn)
    assert page.script("return spoken") == 0
    assert page.attribute("problem", "role") == "alert"
    assert "left" in page.attribute("bar", "aria-valuetext")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [320, 1200])
def test_every_step_is_legible_and_fits(page: Page, shop: EvmShop, width: int, dark: bool) -> None:
    page.size(width, 720)
    page.media(dark=dark)

    def look(step: str) -> None:
        time.sleep(0.2)
        assert page.low_contrast() == [], step
        assert page.nameless() == [], step
        assert page.violations() == [], step
        assert not page.overflows(), step

    page.open()
    look("choose")
    page.choose()
    page.driver.find_element(By.CSS_SELECTOR, "#manual summary").click()
    look("pay")
    shop.provider.faults.reject("amount_short")
    page.pay()
    page.shows("problem")
    look("problem")
    page.driver.find_element(By.CSS_SELECTOR, "#problem-actions button").click()
    page.choose()
    page.pay()
    page.shows("use")
    page.click("top-up")
    look("use")
    page.click("end")
    page.shows("done")
    page.until(lambda: page.text("refund-state") == "Refunded")
    look("done")


def test_reduced_motion_is_respected(page: Page, shop: EvmShop) -> None:
    page.media(calm=True)
    page.begin()
    assert page.script("return getComputedStyle(document.getElementById('bar-fill')).transitionDuration") == "0s"


def test_the_page_and_its_modules_come_with_a_strict_policy(shop: EvmShop) -> None:
    for path in ("", "static/js/main.js", "static/page.css"):
        policy = httpx.get(shop.url + path).headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
    text = httpx.get(shop.url).text
    assert "<style" not in text
    assert " style=" not in text
    assert "<script type=" in text
    assert " onclick" not in text
