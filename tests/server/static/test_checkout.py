"""The whole way on a real chain: the page, a server, a gateway, and the refund in the account that paid."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from tests.fixtures.solana import Solana
from tests.fixtures.stack import MakeStack, Stack
from tests.fixtures.stack_solana import LAMPORTS, SolanaStack
from tests.server.static.browser import Page

from ws402.devchain.solana import SolanaDevChain

pytestmark = pytest.mark.browser


@pytest.fixture
def paid_stack(make_stack: MakeStack) -> Stack:
    stack = make_stack(servers=0)
    stack.add_server(DEV_RPC_URL=stack.rpc_url)
    return stack


@pytest.fixture
def page(chromium: webdriver.Chrome, paid_stack: Stack) -> Iterator[Page]:
    page = Page(chromium, paid_stack.server_url + "/")
    yield page
    page.close()


def test_pay_top_up_leave_early_and_see_the_refund_on_the_chain(page: Page, paid_stack: Stack) -> None:
    page.begin()
    page.until(lambda: '"type":"tick"' in page.text("messages"))
    page.click("top-up")
    page.script("const s = document.getElementById('top-up-minutes'); s.value = '60'; s.onchange()")
    page.script("document.querySelector('#top-up-wallets button').click()")
    # The page asks for amounts that name their invoice, up to a thousandth above the price.
    page.until(lambda: 0.0036 <= float(page.text("paid").removesuffix(" ETH")) < 0.003604)
    paid = float(page.text("paid").removesuffix(" ETH"))  # to eight digits
    page.click("end")
    page.shows("done")
    assert float(page.text("done-paid").removesuffix(" ETH")) == pytest.approx(paid, abs=1e-8)
    page.until(lambda: page.text("refund-state") == "Refunded", 40)
    refund = page.text("done-refund").removesuffix(" ETH")
    transaction = paid_stack.rpc("eth_getTransactionByHash", page.text("refund-tx"))
    assert transaction["from"].lower() == paid_stack.merchant.lower()
    wei = int(transaction["value"], 16)
    assert f"{wei / 10**18:.6f}" == f"{float(refund):.6f}"
    assert transaction["to"].lower() in [each.lower() for each in paid_stack.rpc("eth_accounts")[2:]]


def test_a_plain_payment_by_the_code_is_taken_by_its_hash(page: Page, paid_stack: Stack) -> None:
    """What a wallet on a phone does with the QR code: no data, just the amount."""
    page.open()
    page.choose(seconds=60)
    link = page.attribute("pay-link", "href")
    recipient, value = link.removeprefix("ethereum:").split("@")[0], int(link.split("value=")[1].split("&")[0])
    account = paid_stack.rpc("eth_accounts")[4]
    tx = paid_stack.rpc("eth_sendTransaction", {"from": account, "to": recipient, "value": hex(value)})
    page.script("document.getElementById('manual').open = true")
    page.find("manual-tx").send_keys(tx)
    page.find("manual-from").send_keys(account)
    page.find("manual-form").submit()
    page.shows("use", 40)
    page.click("end")
    page.shows("done")
    page.until(lambda: page.text("refund-state") == "Refunded", 40)
    transaction = paid_stack.rpc("eth_getTransactionByHash", page.text("refund-tx"))
    assert transaction["to"].lower() == account.lower()


@pytest.fixture
def solana_stack(embedded_solana: SolanaDevChain, tmp_path: Path) -> Iterator[SolanaStack]:
    solana = Solana(embedded_solana.rpc_url, name="embedded")
    stack = SolanaStack(tmp_path, solana)
    stack.start(servers=0)
    stack.add_server(DEV_SOLANA_RPC_URL=solana.url)
    yield stack
    stack.stop()
    solana.close()


def test_pay_on_solana_leave_early_and_see_the_refund_on_the_chain(
    chromium: webdriver.Chrome, solana_stack: SolanaStack
) -> None:
    page = Page(chromium, solana_stack.server_url + "/")
    try:
        page.begin()
        page.until(lambda: '"type":"tick"' in page.text("messages"))
        page.click("end")
        page.shows("done")
        assert page.text("done-paid") == "0.006 SOL"
        page.until(lambda: page.text("refund-state") == "Refunded", 60)
        signature = page.text("refund-tx")
        refund = page.text("done-refund").removesuffix(" SOL")
    finally:
        page.close()
    found = solana_stack.solana.transaction(signature)
    balances = zip(found["meta"]["preBalances"], found["meta"]["postBalances"], strict=True)
    lamports = max(after - before for before, after in balances)
    assert 0 < lamports < 300 * LAMPORTS
    assert f"{lamports / 10**9:.6f}" == f"{float(refund):.6f}"
