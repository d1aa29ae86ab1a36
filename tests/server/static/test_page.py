"""A person chooses, pays, watches the meter, tops up, ends, and sees the refund; and what goes wrong on the way."""

from __future__ import annotations

from typing import Any

import pytest
from selenium.webdriver.common.by import By
from tests.server.static.browser import Page
from tests.server.static.conftest import EvmShop

from ws402.errors import UnavailableError
from ws402.protocol import EvmPaymentDetails, PaymentDetails
from ws402.server.sockets.admission import Admission
from ws402.server.sockets.handshake import BusyError

pytestmark = pytest.mark.browser


def test_the_whole_way_with_a_test_account(page: Page, shop: EvmShop) -> None:
    page.open()
    assert page.find("choose-total").text == "0.003 ETH"
    page.choose(seconds=60)
    assert page.text("pay-amount") == "0.0006 ETH"
    assert page.text("fact-amount") == "0.0006 ETH"
    assert page.text("fact-to").startswith("0x")
    page.pay()
    page.shows("use")
    page.until(lambda: '"type":"tick"' in page.text("messages"))
    first = page.text("used")
    page.until(lambda: page.text("used") != first)
    assert page.text("left-time") in {"0:59", "0:58", "0:57", "0:56"}
    assert page.text("paid") == "0.0006 ETH"
    page.click("top-up")
    page.script("const s = document.getElementById('top-up-minutes'); s.value = '60'; s.onchange()")
    assert page.text("top-up-price") == "for 0.0006 ETH"
    page.driver.find_element(By.CSS_SELECTOR, "#top-up-wallets button").click()
    page.until(lambda: page.text("paid") == "0.0012 ETH")
    page.click("end")
    page.shows("done")
    assert page.text("done-paid") == "0.0012 ETH"
    page.until(lambda: page.text("refund-state") == "Refunded")
    refund = shop.provider.refunds[0]
    assert page.text("refund-tx") == refund.tx
    assert (
        page.text("done-refund")
        == f"{refund.amount / 10**18:.18f}".rstrip("0")[: len(page.text("done-refund")) - 4] + " ETH"
    )
    assert shop.provider.audit() == 0
    page.click("again")
    page.shows("choose")


def test_a_payment_made_elsewhere_is_shown_by_its_hash(page: Page, shop: EvmShop) -> None:
    page.open()
    page.choose()
    page.until(lambda: page.script("return document.getElementById('qr').naturalWidth") > 0)
    assert page.attribute("pay-link", "href").startswith("ethereum:0x")
    page.driver.find_element(By.CSS_SELECTOR, "#manual summary").click()
    page.find("manual-tx").send_keys("0x123")
    page.find("manual-form").find_element(By.TAG_NAME, "button").click()
    assert page.visible("pay"), "a hash that is none is not sent"
    page.find("manual-tx").clear()
    page.find("manual-tx").send_keys("0x" + "AB" * 32)
    page.find("manual-from").send_keys("0x" + "cd" * 20)
    page.find("manual-form").find_element(By.TAG_NAME, "button").click()
    page.shows("use")
    (session,) = shop.provider.sessions.values()
    assert (session.txs, session.payer) == (["0x" + "ab" * 32], "0x" + "cd" * 20)


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        ("amount_short", "goes back to the account that paid"),
        ("wrong_recipient", "Check the transaction"),
        ("binding_required", "wallet in this browser"),
    ],
)
def test_a_refused_payment_is_told_with_what_to_do(page: Page, shop: EvmShop, code: str, remedy: str) -> None:
    page.open()
    page.choose()
    shop.provider.faults.reject(code)
    page.pay()
    page.shows("problem")
    assert page.text("problem-text")
    assert remedy in page.text("problem-remedy")
    page.driver.find_element(By.CSS_SELECTOR, "#problem-actions button").click()
    page.shows("choose")
    assert page.remembered() == []


def test_a_payment_that_is_too_young_is_shown_again_until_it_counts(page: Page, shop: EvmShop) -> None:
    page.open()
    page.choose()
    shop.provider.faults.reject("transfer_unconfirmed", times=2)
    page.pay()
    page.shows("use")
    assert len(shop.provider.sessions) == 1


def test_a_payment_outlives_a_reload_while_the_gateway_is_away(page: Page, shop: EvmShop) -> None:
    page.open()
    page.choose()
    shop.provider.faults.unavailable("verify", times=None)
    page.pay()
    page.until(lambda: shop.provider.faults.calls.get("verify", 0) >= 1)
    page.reload()
    assert "You paid 0.003 ETH for Ticker" in page.yours()
    shop.provider.faults.clear()
    page.go_on()
    page.shows("use")
    assert len(shop.provider.sessions) == 1
    page.click("end")
    page.shows("done")
    assert page.remembered() == []


def test_a47_an_unused_payment_is_offered_before_another_is_made(page: Page, shop: EvmShop) -> None:
    page.open()
    page.choose()
    shop.provider.faults.unavailable("verify", times=None)
    page.pay()
    page.until(lambda: shop.provider.faults.calls.get("verify", 0) >= 1)
    page.reload()
    assert "You paid 0.003 ETH for Ticker" in page.yours()
    shop.provider.faults.clear()
    page.click("choose-go")
    page.shows("problem")
    assert page.text("problem-text") == "You have paid 0.003 ETH for Ticker already, and not used it yet."
    actions = page.driver.find_elements(By.CSS_SELECTOR, "#problem-actions button")
    assert [each.text for each in actions] == ["Use it", "Pay again"]
    actions[0].click()
    page.shows("use")
    (session,) = shop.provider.sessions.values()
    assert len(session.txs) == 1
    page.click("end")
    page.shows("done")
    page.click("again")
    page.choose()


def test_a47_where_no_socket_opens_no_price_is_asked_to_be_paid(
    page: Page, shop: EvmShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that has become full since the price; a proxy that passes no upgrades on looks the same to a page."""
    page.expected.append("WebSocket")
    admit = Admission.admit
    full = True

    def refuse(self: Admission, *arguments: Any) -> None:
        if full:
            raise BusyError("This server is full.", retry_after=5)
        admit(self, *arguments)

    monkeypatch.setattr(Admission, "admit", refuse)
    page.open()
    page.click("choose-go")
    page.shows("problem", 60)
    assert "so nothing was paid" in page.text("problem-text")
    assert not page.visible("pay")
    assert page.remembered() == []
    full = False
    page.choose()
    full = True
    shop.cut_unpaid()
    page.pay()
    page.shows("problem", 60)
    assert "so nothing was paid" in page.text("problem-text")
    assert page.remembered() == []
    assert shop.provider.sessions == {}


def test_a47_an_offer_that_contradicts_itself_is_not_shown(
    page: Page, shop: EvmShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = shop.provider.generate
    changes: list[dict[str, Any]] = [
        {"recipient": "0x" + "0b" * 20},
        {"eip681": "ethereum:0x" + "0b" * 20 + "@84532?value=1"},
        {"data": "0x" + "00" * 32},
        {"data": "0xa9059cbb" + "00" * 64},
        {"amount_eth": "0.0001"},
        {"amount": 10**18, "amount_wei": 10**18, "amount_eth": "1"},
        {"chain_id": 8453},
    ]

    async def dishonest(request: Any) -> PaymentDetails:
        details = await honest(request)
        assert isinstance(details, EvmPaymentDetails)
        for name, value in change.items():
            setattr(details, name, value)
        return details

    monkeypatch.setattr(shop.provider, "generate", dishonest)
    page.open()
    for change in changes:
        page.click("choose-go")
        page.until(lambda: page.visible("problem") and page.enabled("choose-go"))
        assert "contradicts itself" in page.text("problem-text"), change
        assert not page.visible("pay")
        page.script("document.getElementById('problem').hidden = true")


def test_an_error_of_the_server_is_told_with_its_remedy(page: Page, shop: EvmShop) -> None:
    page.expected.append("503")
    page.open()
    shop.provider.faults.fail("generate", UnavailableError("The gateway is away.", remedy="Try again later."))
    page.click("choose-go")
    page.shows("problem")
    assert page.text("problem-text") == "The gateway is away."
    assert page.text("problem-remedy") == "Try again later."
    page.choose()


def test_a_receipt_has_an_address_and_survives_a_reload_and_a_closed_tab(page: Page, shop: EvmShop) -> None:
    page.begin("ticker", 60)
    page.click("end")
    page.shows("done")
    page.until(lambda: page.text("refund-state") == "Refunded")
    (session,) = shop.provider.sessions.values()
    address = page.driver.current_url
    assert address.endswith(f"#receipt/{session.id}")
    told = {each: page.text(f"done-{each}") for each in ("name", "time", "paid", "used", "refund", "network", "txs")}
    assert told["name"] == "Ticker"
    assert told["txs"] == session.txs[0]
    link = page.find("done-txs").find_element(By.TAG_NAME, "a").get_attribute("href")
    assert link == f"https://sepolia.basescan.org/tx/{session.txs[0]}"
    page.driver.get("about:blank")
    page.driver.get(address)
    page.shows("done")
    assert {each: page.text(f"done-{each}") for each in told} == told
    page.until(lambda: page.text("refund-state") == "Refunded")
    page.click("again")
    page.shows("choose")
    assert "#receipt" not in page.driver.current_url
    page.find("receipts").find_element(By.TAG_NAME, "summary").click()
    page.find("receipt-list").find_element(By.TAG_NAME, "a").click()
    page.shows("done")


def test_a_session_that_runs_in_another_window_is_said_to_run_there(page: Page, shop: EvmShop) -> None:
    page.begin()
    first = page.driver.current_window_handle
    page.driver.switch_to.new_window("tab")
    second = page.driver.current_window_handle
    try:
        page.driver.get(page.url)
        assert "Ticker is running in another window, and is metered there." in page.yours()
        page.go_on()
        page.shows("use")
        page.driver.switch_to.window(first)
        page.until(lambda: "goes on in another window" in page.text("problem-text"))
        assert not page.visible("done"), "taken over is not ended"
        assert len(shop.provider.sessions) == 1
        assert shop.provider.refunds == []
    finally:
        page.driver.switch_to.window(second)
        page.driver.close()
        page.driver.switch_to.window(first)


def test_the_first_screen_has_the_right_price_before_anybody_asks_for_an_offer(page: Page, shop: EvmShop) -> None:
    page.open()
    assert page.text("choose-total") == "0.003 ETH"
    assert page.text("choose-note") == "for 5 min, on Base Sepolia (test network)"
    assert shop.provider.service.book.invoices == {}


def test_names_of_settings_are_not_told_to_payers(page: Page, shop: EvmShop) -> None:
    refused = UnavailableError("Too many invoices wait.", remedy="The operator can raise MAX_UNPAID_INVOICES.")
    shop.provider.faults.fail("generate", refused)
    page.expected.append("503")
    page.open()
    page.click("choose-go")
    page.shows("problem")
    assert page.text("problem-text") == "Too many invoices wait."
    assert page.text("problem-remedy") == "Try again in a moment. If it stays so, tell the site’s owner."
