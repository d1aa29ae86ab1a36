"""Every wait says its reason, what comes next, and can be left; what is left stays in a list with its way on."""

from __future__ import annotations

import pytest
from selenium.webdriver.common.by import By
from tests.server.static.browser import Page
from tests.server.static.conftest import EvmShop

from ws402.errors import UnavailableError

pytestmark = pytest.mark.browser

WALLET = """
window.ethereum = { async request({ method }) {
  if (method === 'eth_requestAccounts') return new Promise(() => {});
  return '0x14a34';
} };
"""


def test_a_wallet_that_does_not_answer_can_be_left(page: Page, shop: EvmShop) -> None:
    page.inject(WALLET)
    page.open()
    page.choose()
    page.pay()
    page.until(lambda: "Nothing is paid before you agree" in page.text("progress-note"))
    page.click("progress-back")
    page.shows("choose")
    assert page.remembered() == []
    page.choose()  # and tried again
    assert shop.provider.sessions == {}


def test_a_payment_that_waits_says_why_and_stays_in_the_list_when_it_is_left(page: Page, shop: EvmShop) -> None:
    page.open()
    page.choose(seconds=60)
    for code, reason in [
        ("transfer_not_found", "does not show the payment yet"),
        ("chain_unavailable", "cannot be reached just now"),
        ("transfer_unconfirmed", "waits for its confirmation"),
    ]:
        shop.provider.faults.clear()
        shop.provider.faults.reject(code, times=None)
        if page.visible("pay"):
            page.pay()
        page.until(lambda reason=reason: reason in page.text("progress-note"))
        assert "starts by itself" in page.text("progress-note")
        assert "goes back to the account that paid" in page.text("progress-note")
    assert page.violations() == []
    page.click("progress-back")
    assert "You paid 0.0006 ETH for Ticker" in page.yours()
    assert page.violations() == []
    shop.provider.faults.clear()
    page.go_on()
    page.shows("use")
    assert len(shop.provider.sessions) == 1


def test_while_the_server_is_away_a_payment_from_elsewhere_is_still_waited_for(page: Page, shop: EvmShop) -> None:
    page.expected.append("ws402/payment")
    page.open()
    page.block("*/ws402/payment")
    page.choose(seconds=60)
    page.until(lambda: "cannot see your payment yet" in page.text("pay-watch"))
    assert page.visible("pay-back")
    (invoice,) = shop.provider.service.book.invoices.values()
    shop.provider.service.book.pay(invoice)
    page.block()
    page.shows("use")


def test_a_session_that_reconnects_says_so_and_can_be_ended(page: Page, shop: EvmShop) -> None:
    page.begin()
    page.until(lambda: '"type":"tick"' in page.text("messages"))
    shop.provider.faults.unavailable("resume", times=None)
    shop.cut()
    page.until(lambda: "the meter stands still" in page.text("use-note"))
    assert page.text("use-state") == "reconnecting"
    assert page.violations() == []
    page.click("end")
    assert page.text("end") == "Ending …"
    shop.provider.faults.clear()
    page.shows("done")
    page.until(lambda: page.text("refund-state") == "Refunded")
    assert shop.provider.audit() == 0


def test_a_refund_on_its_way_is_in_the_list(page: Page, shop: EvmShop) -> None:
    page.expected.append("503")
    page.begin("ticker", 60)
    shop.provider.faults.fail("refund_status", UnavailableError("The gateway is away."), times=None)
    page.click("end")
    page.shows("done")
    page.until(lambda: "asked again by itself" in page.text("refund-note"))
    page.click("again")
    assert "back to you: Refund recorded" in page.yours()
    assert page.violations() == []
    page.go_on("See the receipt")
    page.shows("done")
    shop.provider.faults.clear()
    page.until(lambda: page.text("refund-state") == "Refunded")
    page.click("again")
    page.until(lambda: not page.visible("yours"))
    page.find("receipts").find_element(By.TAG_NAME, "summary").click()
    assert "Refunded" in page.text("receipt-list")
