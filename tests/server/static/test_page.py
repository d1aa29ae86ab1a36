"""A person pays on the page, watches the meter, tops up, ends, and sees the refund."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from tests.server.static.browser import Page
from tests.server.static.conftest import PRICE, Shop

from ws402.errors import UnavailableError
from ws402.protocol import EvmPaymentDetails, PaymentDetails

pytestmark = pytest.mark.browser

WALLET = """
window.calls = [];
window.ethereum = { chain: CHAIN, async request({ method, params = [] }) {
  window.calls.push([method, params]);
  if (DECLINED.includes(method)) throw { code: 4001, message: 'User rejected the request.' };
  if (method === 'eth_chainId') return this.chain;
  if (method === 'eth_requestAccounts') return ['ACCOUNT'];
  if (method === 'wallet_switchEthereumChain') { this.chain = params[0].chainId; return null; }
  const answer = await fetch('NODE', { method: 'POST', headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, method, params }) });
  const { result, error } = await answer.json();
  if (error) throw error;
  return result;
} };
"""


def injected(shop: Shop, *, chain: str = "0x14a34", declined: str = "[]") -> str:
    account = shop.chain.rpc("eth_accounts")[5]
    return (
        WALLET.replace("CHAIN", f"'{chain}'")
        .replace("DECLINED", declined)
        .replace("ACCOUNT", account)
        .replace("NODE", shop.chain.url)
    )


def test_the_whole_way_with_a_test_account(page: Page, shop: Shop) -> None:
    page.open()
    assert page.find("choose-total").text == "0.003 ETH"
    page.choose(seconds=60)
    assert page.text("pay-amount") == "0.0006 ETH"
    assert page.text("fact-units").replace("\u202f", "") == f"{60 * PRICE} wei"
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
    assert page.text("top-up-price") == "0.0006 ETH"
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


def test_a_browser_wallet_pays_with_the_invoices_data_on_the_right_chain(page: Page, shop: Shop) -> None:
    page.inject(injected(shop, chain="0x1"))
    page.open()
    page.choose()
    assert [each.text for each in page.driver.find_elements(By.CSS_SELECTOR, "#wallets button")] == [
        "Pay with your browser wallet",
        "Pay with a test account",
    ]
    tag = page.text("fact-data")
    page.pay()
    page.shows("use")
    calls = dict(page.script("return calls.slice()"))
    assert calls["wallet_switchEthereumChain"] == [{"chainId": "0x14a34"}]
    (sent,) = calls["eth_sendTransaction"]
    assert sent["data"] == tag
    assert int(sent["value"], 16) == 300 * PRICE
    (session,) = shop.provider.sessions.values()
    assert shop.chain.rpc("eth_getTransactionByHash", session.txs[0])["input"] == tag


def test_wallets_that_announce_themselves_are_offered_by_name(page: Page, shop: Shop) -> None:
    page.inject(
        injected(shop)
        + """
const provider = window.ethereum;
delete window.ethereum;
for (const name of ['Blue wallet', 'Red <i>wallet</i>']) {
  const detail = Object.freeze({ info: { uuid: name, name, icon: '', rdns: 'x' }, provider });
  const tell = () => dispatchEvent(new CustomEvent('eip6963:announceProvider', { detail }));
  addEventListener('eip6963:requestProvider', tell);
}
"""
    )
    page.open()
    page.choose()
    names = [each.text for each in page.driver.find_elements(By.CSS_SELECTOR, "#wallets button")]
    assert names == ["Pay with Blue wallet", "Pay with Red <i>wallet</i>", "Pay with a test account"]
    page.pay(1)
    page.shows("use")


@pytest.mark.parametrize("method", ["eth_requestAccounts", "eth_sendTransaction", "wallet_switchEthereumChain"])
def test_declining_in_the_wallet_pays_nothing_and_can_be_tried_again(page: Page, shop: Shop, method: str) -> None:
    page.inject(injected(shop, chain="0x1", declined=f"['{method}']"))
    page.open()
    page.choose()
    page.pay()
    page.shows("problem")
    assert page.text("problem-text") == "You declined in your wallet."
    assert "Nothing was paid" in page.text("problem-remedy")
    assert page.script("return localStorage.length") == 0
    page.driver.find_element(By.CSS_SELECTOR, "#problem-actions button").click()
    page.shows("pay")


def test_an_account_with_too_little_is_told_so(page: Page, shop: Shop) -> None:
    page.open()
    page.choose("palace")
    page.pay()
    page.shows("problem")
    assert page.text("problem-text") == "The account holds too little for the amount and the fee."
    assert "choose a shorter time" in page.text("problem-remedy")
    assert page.script("return localStorage.length") == 0
    assert shop.provider.sessions == {}


def test_a_payment_made_elsewhere_is_shown_by_its_hash(page: Page, shop: Shop) -> None:
    page.open()
    page.choose()
    page.until(lambda: page.script("return document.getElementById('qr').naturalWidth") > 0)
    assert page.attribute("pay-link", "href").startswith("ethereum:0x")
    page.driver.find_element(By.TAG_NAME, "summary").click()
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
def test_a_refused_payment_is_told_with_what_to_do(page: Page, shop: Shop, code: str, remedy: str) -> None:
    page.open()
    page.choose()
    shop.provider.faults.reject(code)
    page.pay()
    page.shows("problem")
    assert page.text("problem-text")
    assert remedy in page.text("problem-remedy")
    page.driver.find_element(By.CSS_SELECTOR, "#problem-actions button").click()
    page.shows("choose")
    assert page.script("return localStorage.length") == 0


def test_a_payment_that_is_too_young_is_shown_again_until_it_counts(page: Page, shop: Shop) -> None:
    page.open()
    page.choose()
    shop.provider.faults.reject("transfer_unconfirmed", times=2)
    page.pay()
    page.shows("use")
    assert len(shop.provider.sessions) == 1


def test_a_payment_outlives_a_reload_while_the_gateway_is_away(page: Page, shop: Shop) -> None:
    page.open()
    page.choose()
    shop.provider.faults.unavailable("verify", times=None)
    page.pay()
    page.until(lambda: shop.provider.faults.calls.get("verify", 0) >= 1)
    page.reload()
    page.shows("waiting-session")
    assert "You paid for Ticker" in page.text("waiting-text")
    shop.provider.faults.clear()
    page.click("waiting-go")
    page.shows("use")
    assert len(shop.provider.sessions) == 1
    page.click("end")
    page.shows("done")
    assert page.script("return localStorage.length") == 0


def test_a_reload_goes_on_with_the_session_and_costs_nothing_meanwhile(page: Page, shop: Shop) -> None:
    page.begin()
    page.until(lambda: '"type":"tick"' in page.text("messages"))
    page.reload()
    page.shows("waiting-session")
    assert "You have an open session: Ticker" in page.text("waiting-text")
    (session,) = shop.provider.sessions.values()
    page.until(lambda: session.state == "released")
    used = session.elapsed_ms
    time.sleep(1)
    page.click("waiting-go")
    page.shows("use")
    page.until(lambda: session.state == "live")
    page.click("end")
    page.shows("done")
    assert session.state == "ended"
    assert session.elapsed_ms < used + 4000
    assert len(shop.provider.sessions) == 1
    assert shop.provider.audit() == 0


def test_a_session_that_was_left_can_be_ended_for_its_refund(page: Page, shop: Shop) -> None:
    page.begin()
    page.reload()
    page.shows("waiting-session")
    assert page.text("waiting-drop") == "End it"
    page.click("waiting-drop")
    page.shows("done")
    page.until(lambda: page.text("refund-state") == "Refunded")
    assert page.script("return localStorage.length") == 0
    assert shop.provider.audit() == 0


def test_a_lost_connection_is_taken_up_again(page: Page, shop: Shop) -> None:
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


def test_a_used_up_balance_ends_with_the_bill(page: Page, shop: Shop) -> None:
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


def test_a_resource_over_http_can_be_opened_while_the_session_lives(page: Page, shop: Shop) -> None:
    page.begin("film")
    page.shows("http-access")
    assert not page.visible("talk")
    address = page.attribute("http-link", "href")
    assert httpx.get(address).text == "the film, all of it"
    page.click("end")
    page.shows("done")
    assert httpx.get(address).status_code == 403


def test_what_the_resource_sends_is_text_and_never_markup(page: Page, shop: Shop) -> None:
    page.begin("echo")
    attack = "<img src=x onerror=\"document.title='broken'\"><script>document.title='broken'</script>"
    page.find("send-text").send_keys(attack, Keys.ENTER)
    page.until(lambda: page.text("messages").count(attack) == 2)
    assert page.script("return document.querySelectorAll('#messages img, #messages script').length") == 0
    assert page.driver.title == "Echo – pay by the second"


def test_a47_an_offer_that_contradicts_itself_is_not_shown(
    page: Page, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = shop.provider.generate_payment_details
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

    monkeypatch.setattr(shop.provider, "generate_payment_details", dishonest)
    page.open()
    for change in changes:
        page.click("choose-go")
        page.until(lambda: page.visible("problem") and page.enabled("choose-go"))
        assert "contradicts itself" in page.text("problem-text"), change
        assert not page.visible("pay")
        page.script("document.getElementById('problem').hidden = true")


def test_an_error_of_the_server_is_told_with_its_remedy(page: Page, shop: Shop) -> None:
    page.expected.append("503")
    page.open()
    shop.provider.faults.fail("generate", UnavailableError("The gateway is away.", remedy="Try again later."))
    page.click("choose-go")
    page.shows("problem")
    assert page.text("problem-text") == "The gateway is away."
    assert page.text("problem-remedy") == "Try again later."
    page.choose()


def test_by_keyboard_alone(page: Page, shop: Shop) -> None:
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
    assert page.text("choose-note") == "for 1 min"
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


def test_screen_readers_are_told_politely_and_not_every_second(page: Page, shop: Shop) -> None:
    page.begin()
    assert page.attribute("announcer", "role") == "status"
    said = page.script("return document.getElementById('announcer').textContent")
    assert said.startswith(("Session started. 4 min 5", "Session started. 5 min"))
    page.script(
        "window.spoken = 0; new MutationObserver(() => spoken++).observe(document.getElementById('announcer'),"
        " { childList: true, characterData: true, subtree: true })"
    )
    time.sleep(2.5)
    assert page.script("return spoken") == 0
    assert page.attribute("problem", "role") == "alert"
    assert "left" in page.attribute("bar", "aria-valuetext")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [320, 1200])
def test_every_step_is_legible_and_fits(page: Page, shop: Shop, width: int, dark: bool) -> None:
    page.size(width, 720)
    page.media(dark=dark)

    def look(step: str) -> None:
        time.sleep(0.2)
        assert page.low_contrast() == [], step
        assert page.nameless() == [], step
        assert not page.overflows(), step

    page.open()
    look("choose")
    page.choose()
    page.driver.find_element(By.TAG_NAME, "summary").click()
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


def test_reduced_motion_is_respected(page: Page, shop: Shop) -> None:
    page.media(calm=True)
    page.begin()
    assert page.script("return getComputedStyle(document.getElementById('bar-fill')).transitionDuration") == "0s"


def test_the_page_and_its_modules_come_with_a_strict_policy(shop: Shop) -> None:
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
