"""A payment that is made elsewhere: with a phone, by a link. The page learns of it and goes on by itself."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from selenium import webdriver
from solders.keypair import Keypair
from tests.fixtures.solana import SOL, Solana
from tests.fixtures.solana_world import named, system_transfer
from tests.fixtures.stack import MakeStack, Stack
from tests.fixtures.stack_solana import SolanaStack
from tests.server.static.browser import Page
from tests.server.static.conftest import EvmShop

from ws402.devchain.solana import SolanaDevChain

pytestmark = pytest.mark.browser

STRICT = '["tag","claim_token","signature"]'


def pay_by_link(stack: Stack, page: Page) -> str:
    """What a wallet on a phone does with the QR code: no data, just the amount. Answers the account that paid."""
    return pay_link(stack, page.attribute("pay-link", "href"))


def pay_link(stack: Stack, link: str) -> str:
    path, _, query = link.removeprefix("ethereum:").partition("?")
    account: str = stack.rpc("eth_accounts")[5]
    value = hex(int(parse_qs(query)["value"][0]))
    stack.rpc("eth_sendTransaction", {"from": account, "to": path.partition("@")[0], "value": value})
    return account


def refunded_to(stack: Stack, page: Page) -> str:
    page.click("end")
    page.shows("done")
    page.until(lambda: page.text("refund-state") == "Refunded", 40)
    return str(stack.rpc("eth_getTransactionByHash", page.text("refund-tx"))["to"]).lower()


@pytest.fixture
def visit(chromium: webdriver.Chrome) -> Iterator[Callable[[str], Page]]:
    pages: list[Page] = []

    def visit(url: str) -> Page:
        pages.append(Page(chromium, url + "/"))
        return pages[-1]

    yield visit
    for page in pages:
        page.close()


def test_the_page_goes_on_by_itself_after_a_payment_by_the_code(
    make_stack: MakeStack, visit: Callable[[str], Page]
) -> None:
    stack = make_stack()
    page = visit(stack.server_url)
    page.open()
    page.choose(seconds=60)
    page.until(lambda: page.script("return document.getElementById('qr').naturalWidth") > 0)
    assert "by itself" in page.text("pay-watch").replace("\n", " ")
    page.reload()
    page.shows("pay")  # the same offer: somebody may be paying it
    payer = pay_by_link(stack, page)
    page.shows("use", 40)
    assert refunded_to(stack, page) == payer.lower()


def test_money_that_opens_no_session_goes_back_by_itself_and_the_next_visit_says_so(
    make_stack: MakeStack, visit: Callable[[str], Page]
) -> None:
    stack = make_stack()
    page = visit(stack.server_url)
    page.open()
    page.choose(seconds=300)
    page.script("sessionStorage.clear()")  # as a closed tab does
    link = page.attribute("pay-link", "href")
    page.driver.get("about:blank")
    payer = pay_link(stack, link)
    before = stack.rpc.balance(payer)

    def aged() -> bool:
        """The hours after which it goes back have passed."""
        with sqlite3.connect(stack.database_url.removeprefix("sqlite:///"), timeout=20) as ledger:
            return ledger.execute("UPDATE transfers SET refund_at = 1 WHERE refund_at > 1").rowcount > 0

    page.until(aged, 40)
    page.until(lambda: stack.rpc.balance(payer) > before, 60)
    page.driver.get(page.url)
    page.shows("problem")
    assert "opens no session" in page.text("problem-text")
    assert "goes back by itself to the account that paid" in page.text("problem-remedy")
    assert not page.visible("yours"), "nothing is left to be used"


def test_a_strict_gateway_gets_no_payment_that_it_would_send_back(
    make_stack: MakeStack, visit: Callable[[str], Page]
) -> None:
    stack = make_stack(gateway_settings={"BINDINGS": STRICT})
    page = visit(stack.server_url)
    page.open()
    page.choose(seconds=60)
    assert not page.visible("pay-code"), "a wallet that reads the code sends no data"
    assert "Must be sent along" in page.text("fact-data-note")
    to, data = page.text("fact-to"), page.text("fact-data")
    value = int(Decimal(page.text("fact-amount").removesuffix(" ETH")) * 10**18)
    account = stack.rpc("eth_accounts")[6]
    stack.rpc("eth_sendTransaction", {"from": account, "to": to, "value": hex(value), "data": data})
    page.shows("use", 40)
    assert refunded_to(stack, page) == account.lower()


@pytest.fixture
def solana_stack(embedded_solana: SolanaDevChain, tmp_path: Path) -> Iterator[SolanaStack]:
    solana = Solana(embedded_solana.rpc_url, name="embedded")
    stack = SolanaStack(tmp_path, solana)
    stack.start()
    yield stack
    stack.stop()
    solana.close()


def test_the_page_goes_on_by_itself_after_a_payment_with_its_reference(
    solana_stack: SolanaStack, visit: Callable[[str], Page]
) -> None:
    page = visit(solana_stack.server_url)
    page.open()
    page.choose()
    link = urlsplit(page.attribute("pay-link", "href"))
    asked = {name: value[0] for name, value in parse_qs(link.query).items()}
    payer: Keypair = solana_stack.solana.account(3 * SOL)
    lamports = round(float(asked["amount"]) * SOL)
    step = named(system_transfer(payer, link.path, lamports), asked["reference"])
    solana_stack.solana.send([step], payer)
    page.shows("use", 40)
    page.click("end")
    page.shows("done")


def test_two_tabs_have_two_offers_and_each_takes_its_own_payment(page: Page, shop: EvmShop) -> None:
    page.open()
    page.choose(seconds=60)
    first = page.driver.current_window_handle
    page.driver.switch_to.new_window("tab")
    second = page.driver.current_window_handle
    try:
        page.driver.get(page.url)
        page.until(lambda: page.enabled("choose-go"))
        page.choose(seconds=300)
        one, two = shop.provider.service.book.invoices.values()
        assert (one.amount, two.amount) == (60 * 10**13, 300 * 10**13)
        shop.provider.service.book.pay(two)
        page.shows("use")
        assert [each.paid for each in shop.provider.sessions.values()] == [two.amount]
        page.driver.switch_to.window(first)
        assert page.visible("pay"), "the other tab's offer is not paid by that"
        shop.provider.service.book.pay(one)
        page.shows("use")
        assert len(shop.provider.sessions) == 2
    finally:
        page.driver.switch_to.window(second)
        page.driver.close()
        page.driver.switch_to.window(first)


def test_what_was_paid_while_the_page_was_closed_is_offered_at_the_next_visit(page: Page, shop: EvmShop) -> None:
    page.open()
    page.choose(seconds=60)
    page.script("sessionStorage.clear()")  # as a closed tab does
    (invoice,) = shop.provider.service.book.invoices.values()
    page.driver.get("about:blank")
    shop.provider.service.book.pay(invoice)
    page.driver.get(page.url)
    assert "You paid 0.0006 ETH for Ticker" in page.yours()
    page.go_on()
    page.shows("use")


def test_an_expired_offer_takes_its_code_and_its_address_away(
    page: Page, shop: EvmShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ws402.provider.mock.book.INVOICE_MS", 2_000)
    page.open()
    page.choose(seconds=60)
    assert page.visible("pay-link")
    recipient = page.text("fact-to")
    page.shows("pay-new")
    assert page.text("pay-expiry") == "This price has expired."
    assert not page.visible("pay-code")
    assert page.attribute("pay-link", "href") == ""
    assert recipient not in page.driver.page_source
    monkeypatch.setattr("ws402.provider.mock.book.INVOICE_MS", 900_000)
    page.click("pay-new")
    page.until(lambda: page.visible("pay-link"))
    assert page.text("fact-to") == recipient
    assert len(shop.provider.service.book.invoices) == 2


def test_a_payment_that_is_too_small_is_told_and_not_waited_for(page: Page, shop: EvmShop) -> None:
    page.open()
    page.choose(seconds=60)
    (invoice,) = shop.provider.service.book.invoices.values()
    shop.provider.service.book.pay(invoice, amount=invoice.amount - 1)
    page.shows("problem")
    assert "too small, or too late" in page.text("problem-text")
    assert "goes back by itself" in page.text("problem-remedy")
    assert time.time() * 1000 < invoice.expires_at
