"""Wallets for EVM networks in the browser: found, asked, declined."""

from __future__ import annotations

import pytest
from selenium.webdriver.common.by import By
from tests.server.static.browser import Page
from tests.server.static.conftest import PRICE, EvmShop

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


def injected(shop: EvmShop, *, chain: str = "0x14a34", declined: str = "[]") -> str:
    account = shop.chain.rpc("eth_accounts")[5]
    return (
        WALLET.replace("CHAIN", f"'{chain}'")
        .replace("DECLINED", declined)
        .replace("ACCOUNT", account)
        .replace("NODE", shop.chain.url)
    )


def test_a_browser_wallet_pays_with_the_invoices_data_on_the_right_chain(page: Page, shop: EvmShop) -> None:
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


def test_wallets_that_announce_themselves_are_offered_by_name(page: Page, shop: EvmShop) -> None:
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


def test_a_wallet_that_does_not_know_the_chain_is_offered_it(page: Page, shop: EvmShop) -> None:
    page.inject(
        injected(shop, chain="0x1")
        + """
const known = window.ethereum.request.bind(window.ethereum);
let added = false;
window.ethereum.request = async (call) => {
  if (call.method === 'wallet_switchEthereumChain' && !added)
    throw { code: -32603, data: { originalError: { code: 4902 } } };
  if (call.method !== 'wallet_addEthereumChain') return known(call);
  added = true;
  window.calls.push([call.method, call.params]);
  return null;
};
"""
    )
    page.open()
    page.choose()
    page.pay()
    page.shows("use")
    (chain,) = dict(page.script("return calls.slice()"))["wallet_addEthereumChain"]
    assert (chain["chainId"], chain["chainName"]) == ("0x14a34", "Base Sepolia")
    assert chain["rpcUrls"] == ["https://sepolia.base.org"]


@pytest.mark.parametrize("method", ["eth_requestAccounts", "eth_sendTransaction", "wallet_switchEthereumChain"])
def test_declining_in_the_wallet_pays_nothing_and_can_be_tried_again(page: Page, shop: EvmShop, method: str) -> None:
    page.inject(injected(shop, chain="0x1", declined=f"['{method}']"))
    page.open()
    page.choose()
    page.pay()
    page.shows("problem")
    assert page.text("problem-text") == "You declined in your wallet."
    assert "Nothing was paid" in page.text("problem-remedy")
    assert page.remembered() == []
    page.driver.find_element(By.CSS_SELECTOR, "#problem-actions button").click()
    page.shows("pay")


def test_an_account_with_too_little_is_told_so(page: Page, shop: EvmShop) -> None:
    page.open()
    page.choose("palace")
    page.pay()
    page.shows("problem")
    assert page.text("problem-text") == "The account holds too little for the amount and the fee."
    assert "choose a shorter time" in page.text("problem-remedy")
    assert page.remembered() == []
    assert shop.provider.sessions == {}
