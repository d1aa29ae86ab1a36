"""The console as an operator uses it, in headless Chromium, over real sessions, refunds and stray money."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from tests.gateway.console.conftest import Till
from tests.server.static.browser import Page
from tests.server.static.conftest import chromium

__all__ = ["chromium"]  # the fixture
pytestmark = pytest.mark.browser


class Screen(Page):
    """The console in a browser."""

    def go(self, path: str) -> None:
        self.driver.get(self.url + path)

    def field(self, name: str) -> WebElement:
        return self.driver.find_element(By.NAME, name)

    def press(self, text: str) -> None:
        (button,) = [each for each in self.driver.find_elements(By.TAG_NAME, "button") if each.text == text]
        button.click()

    def sign_in(self, key: str) -> None:
        self.driver.delete_all_cookies()
        self.go("/sign-in")
        self.field("key").send_keys(key + Keys.ENTER)
        self.until(lambda: self.heading() == "Money")

    def heading(self) -> str:
        return self.driver.find_element(By.TAG_NAME, "h1").text


@pytest.fixture
def screen(chromium: webdriver.Chrome, till: Till) -> Iterator[Screen]:
    """The console, not opened yet; whatever it logs as an error, or asks of another origin, fails the test."""
    screen = Screen(chromium, till.url)
    chromium.set_script_timeout(90)  # for axe, on a machine that is busy
    yield screen
    screen.driver.delete_all_cookies()
    screen.close()


@pytest.fixture(scope="module")
def filled(till: Till) -> tuple[str, str]:
    """A refund's id and the transaction of unclaimed money."""
    return till.fill()


def test_every_page_is_accessible_legible_and_fits(screen: Screen, till: Till, filled: tuple[str, str]) -> None:
    refund_id, tx = filled
    pages = {
        "/": ("Money", "0.0006 ETH"),
        "/sessions": ("Sessions", "feed"),
        "/sessions?resource=feed&state=ended": ("Sessions", "0.001 ETH"),
        "/sessions?state=live": ("Sessions", "Nothing like that."),
        "/refunds": ("Refunds", "0.0004 ETH"),
        f"/refund?id={refund_id}": ("Refund", refund_id),
        "/unclaimed": ("Unclaimed", "0.005 ETH"),
        "/keys": ("Keys", "paused: the books are looked at"),
        "/search": ("Search", "Whose case?"),
        f"/case?what={refund_id}": ("Case", f"Refund {refund_id}"),
        f"/case?what={tx}": ("Case", "pays for nothing"),
        "/case?what=ses_none": ("Cases", "know nothing of it"),
        "/audit?compare=1": ("Audit", "On chain"),
        "/nowhere": ("That did not work", "no such page"),
    }
    screen.expected.append("404")
    screen.sign_in(till.alice)
    for path, (heading, part) in pages.items():
        screen.go(path)
        assert screen.heading() == heading, path
        assert part in screen.main(), path
        for width, dark in ((1440, False), (360, True), (360, False), (1440, True)):
            screen.size(width, 900)
            screen.media(dark=dark)
            assert not screen.overflows(), (path, width)
            assert screen.low_contrast() == [], (path, width, dark)
        for dark in (False, True):
            screen.media(dark=dark)
            assert screen.violations() == [], (path, dark)
        assert screen.nameless() == [], path


def test_a_wrong_key_is_told_and_a_right_one_signs_in_by_keyboard_and_out(screen: Screen, till: Till) -> None:
    screen.expected.append("401")
    screen.go("/")
    assert screen.heading() == "Sign in"
    assert screen.violations() == []
    screen.field("key").send_keys("x" * 40 + Keys.ENTER)
    screen.until(lambda: "no operator's key" in screen.main())
    assert screen.violations() == []
    screen.sign_in(till.bob)
    assert screen.script("return document.cookie") == "", "no script sees the visit"
    assert screen.script("return localStorage.length + sessionStorage.length") == 0
    for _ in range(4):  # skip link, then the pages
        screen.driver.switch_to.active_element.send_keys(Keys.TAB)
    assert screen.script("return document.activeElement.textContent") == "Refunds"
    assert screen.focus_ring() == "solid"
    screen.driver.switch_to.active_element.send_keys(Keys.ENTER)
    screen.until(lambda: screen.heading() == "Refunds")
    screen.press("Sign out")
    screen.until(lambda: screen.heading() == "Sign in")
    screen.driver.back()
    screen.until(lambda: screen.heading() == "Sign in")


def test_a_change_is_tried_first_then_made_once_and_is_in_the_audit_log(
    screen: Screen, till: Till, filled: tuple[str, str]
) -> None:
    refund_id, _ = filled
    admin, reads = till.gateway._admin, till.gateway._reads

    def state() -> str:
        return str(till.run(reads._queries.refund(refund_id))["state"])

    def commands() -> list[Any]:
        records, _ = till.run(till.gateway.audit_log.records(kind="operator"))
        return [(each["operator"], each["command"]) for each in records]

    assert admin.commands
    before, noted = state(), commands()
    screen.sign_in(till.alice)
    screen.go(f"/refund?id={refund_id}")
    screen.field("reason").send_keys("asked by <b>the payer</b>")
    screen.press("Hold …")
    screen.until(lambda: screen.heading() == "Change a refund")
    assert "nothing was changed yet" in screen.main()
    assert "asked by <b>the payer</b>" in screen.main()
    assert screen.violations() == []
    assert (state(), commands()) == (before, noted)
    screen.press("Do it")
    screen.until(lambda: screen.heading() == "Refunds")
    assert f"Done: change a refund: {refund_id}." in screen.main()
    assert screen.violations() == []
    assert state() == "held"
    assert commands() == [(f"alice ({till.alice_id})", "refunds/change"), *noted]
    screen.go("/audit")
    assert f"alice ({till.alice_id})" in screen.main()
    assert "reason: asked by <b>the payer</b>" in screen.main()


def test_stray_money_is_found_by_a_search_and_sent_back(screen: Screen, till: Till, filled: tuple[str, str]) -> None:
    _, tx = filled
    screen.sign_in(till.alice)
    screen.go("/search")
    screen.field("what").send_keys(tx + Keys.ENTER)
    screen.until(lambda: screen.heading() == "Case")
    assert "It pays for nothing yet" in screen.main()
    screen.go("/search")
    screen.field("what").send_keys("somebody's secret reference" + Keys.ENTER)
    screen.until(lambda: screen.heading() == "Cases")
    assert "secret" not in screen.driver.current_url
    screen.go(f"/unclaimed?tx={tx}")
    screen.press("Send back …")
    screen.until(lambda: screen.heading() == "Send unclaimed money back")
    screen.press("Do it")
    screen.until(lambda: "Done: send unclaimed money back: ref_" in screen.main())
    screen.go(f"/unclaimed?tx={tx}")
    assert "Nothing like that." in screen.main()
    screen.go("/refunds")
    assert "0.005 ETH" in screen.main()
