"""The running session on the page: reloads, lost connections, its end, and what the resource sends."""

from __future__ import annotations

import time

import httpx
import pytest
from selenium.webdriver.common.keys import Keys
from tests.server.static.browser import Page
from tests.server.static.conftest import EvmShop

pytestmark = pytest.mark.browser


def test_a_reload_goes_on_with_the_session_and_costs_nothing_meanwhile(page: Page, shop: EvmShop) -> None:
    page.begin()
    page.until(lambda: '"type":"tick"' in page.text("messages"))
    page.reload()
    assert "You have an open session: Ticker" in page.yours()
    (session,) = shop.provider.sessions.values()
    page.until(lambda: session.state == "released")
    used = session.elapsed_ms
    time.sleep(0.3)
    assert session.elapsed_ms == used
    page.go_on()
    page.shows("use")
    page.until(lambda: session.state == "live")
    page.click("end")
    page.shows("done")
    assert session.state == "ended"
    assert session.elapsed_ms < used + 4000
    assert len(shop.provider.sessions) == 1
    assert shop.provider.audit() == 0


def test_a_session_that_was_left_can_be_ended_for_its_refund(page: Page, shop: EvmShop) -> None:
    page.begin()
    page.reload()
    assert "You have an open session: Ticker" in page.yours()
    page.go_on("End it")
    page.shows("done")
    page.until(lambda: page.text("refund-state") == "Refunded")
    assert page.remembered() == []
    assert shop.provider.audit() == 0


def test_a_lost_connection_is_taken_up_again(page: Page, shop: EvmShop) -> None:
    page.begin()
    page.until(lambda: '"type":"tick"' in page.text("messages"))
    (session,) = shop.provider.sessions.values()
    epoch = session.epoch
    shop.cut()
    page.until(lambda: session.epoch > epoch)
    page.until(lambda: page.text("use-state") == "live")
    before = len(page.text("messages"))
    page.until(lambda: len(page.text("messages")) > before)
    assert page.visible("use")


def test_a_session_goes_on_after_the_machine_slept(page: Page, shop: EvmShop) -> None:
    page.expected.append("Back-Forward Cache")  # what Chromium calls it
    page.begin(seconds=3600)
    page.until(lambda: '"type":"tick"' in page.text("messages"))
    (session,) = shop.provider.sessions.values()
    page.driver.execute_cdp_cmd("Page.setWebLifecycleState", {"state": "frozen"})
    shop.cut()  # as routers forget who sleeps
    page.until(lambda: session.state == "released")
    used = session.elapsed_ms
    page.driver.execute_cdp_cmd("Page.setWebLifecycleState", {"state": "active"})
    page.until(lambda: session.state == "live")
    page.until(lambda: page.text("use-state") == "live")
    assert session.elapsed_ms >= used
    page.click("end")
    page.shows("done")
    page.until(lambda: page.text("refund-state") == "Refunded")
    assert len(shop.provider.sessions) == 1
    assert shop.provider.audit() == 0


def test_a_used_up_balance_ends_with_the_bill(page: Page, shop: EvmShop) -> None:
    page.open()
    page.script("document.querySelector('[name=duration][value=own]').click()")
    page.script("const minutes = document.getElementById('own-minutes'); minutes.min = 0; minutes.step = 'any'")
    page.find("own-minutes").clear()
    page.find("own-minutes").send_keys("0.05")
    page.choose()
    page.pay()
    page.shows("done")
    assert page.text("done-why") == "All that was paid is used."
    assert page.text("done-used") == page.text("done-paid") == "0.00003 ETH"
    assert not page.visible("refund-box")


def test_a_resource_over_http_can_be_opened_while_the_session_lives(page: Page, shop: EvmShop) -> None:
    page.begin("film")
    page.shows("http-access")
    assert not page.visible("talk")
    address = page.attribute("http-link", "href")
    assert httpx.get(address).text == "the film, all of it"
    page.click("end")
    page.shows("done")
    assert httpx.get(address).status_code == 403


def test_what_the_resource_sends_is_text_and_never_markup(page: Page, shop: EvmShop) -> None:
    page.begin("echo")
    attack = "<img src=x onerror=\"document.title='broken'\"><script>document.title='broken'</script>"
    page.find("send-text").send_keys(attack, Keys.ENTER)
    page.until(lambda: page.text("messages").count(attack) == 2)
    assert page.script("return document.querySelectorAll('#messages img, #messages script').length") == 0
    assert page.driver.title == "Echo – Pay by the second"
