"""Paying on Solana: by a key of the page on a development chain, by the browser's wallets, by the code."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.token.associated import get_associated_token_address
from tests.fixtures.solana import SOL, Solana
from tests.fixtures.solana_tokens import Mint
from tests.server.static.browser import Page
from tests.server.static.solana_shop import CENTS, INJECTED, LAMPORTS, STANDARD, SolanaShop, wallet_script

from ws402.devchain.solana import SolanaDevChain

pytestmark = pytest.mark.browser


@pytest.fixture
def solana(embedded_solana: SolanaDevChain) -> Iterator[Solana]:
    client = Solana(embedded_solana.rpc_url, name="embedded")
    yield client
    client.close()


@pytest.fixture
def shop(solana: Solana) -> Iterator[SolanaShop]:
    shop = SolanaShop(solana, str(solana.account(SOL).pubkey()))
    shop.start()
    yield shop
    shop.stop()


@pytest.fixture
def page(chromium: webdriver.Chrome, shop: SolanaShop) -> Iterator[Page]:
    page = Page(chromium, shop.url)
    yield page
    page.close()


def paid_to(solana: Solana, recipient: str, tx: str) -> int:
    """What a transaction brought an account, in lamports."""
    found: dict[str, Any] = solana.transaction(tx)
    at = found["transaction"]["message"]["accountKeys"].index(recipient)
    return int(found["meta"]["postBalances"][at]) - int(found["meta"]["preBalances"][at])


def wallets(page: Page) -> list[str]:
    return [each.text for each in page.driver.find_elements(By.CSS_SELECTOR, "#wallets button")]


def test_the_whole_way_with_a_key_of_the_page(page: Page, shop: SolanaShop) -> None:
    page.open()
    assert page.find("choose-total").text == "0.006 SOL"
    page.choose(seconds=60)
    assert page.text("pay-amount") == "0.0012 SOL"
    assert page.text("fact-amount") == "0.0012 SOL"
    assert page.text("fact-network") == "Solana, a private network"
    assert page.text("fact-data") == shop.asking.asked[0].reference
    page.pay()
    page.shows("use")
    page.until(lambda: '"type":"tick"' in page.text("messages"))
    page.click("top-up")
    page.script("const s = document.getElementById('top-up-minutes'); s.value = '60'; s.onchange()")
    page.driver.find_element(By.CSS_SELECTOR, "#top-up-wallets button").click()
    page.until(lambda: page.text("paid") == "0.0024 SOL")
    page.click("end")
    page.shows("done")
    (session,) = shop.provider.sessions.values()
    assert len(session.txs) == 2
    assert shop.provider.audit() == 0
    for details in shop.asking.asked:
        (found,) = shop.solana.rpc("getSignaturesForAddress", details.reference, {"commitment": "confirmed"})
        assert found["memo"] == "[10] ws402:memo"
        assert paid_to(shop.solana, shop.recipient, found["signature"]) == 60 * LAMPORTS
    assert page.remembered() == [], "the key is nowhere but in the page"


def test_a_code_and_a_link_by_which_wallets_pay(page: Page, shop: SolanaShop) -> None:
    page.open()
    page.choose()
    page.until(lambda: page.script("return document.getElementById('qr').naturalWidth") > 0)
    link = urlsplit(page.attribute("pay-link", "href"))
    assert (link.scheme, link.path) == ("solana", shop.recipient)
    assert parse_qs(link.query)["reference"] == [shop.asking.asked[0].reference]
    assert page.attribute("qr", "src").endswith("label%3DWS402")
    page.driver.find_element(By.CSS_SELECTOR, "#manual summary").click()
    key = Keypair()
    signature = str(key.sign_message(b"paid elsewhere"))
    for wrong in ("0x" + "ab" * 32, signature + "0"):
        page.find("manual-tx").clear()
        page.find("manual-tx").send_keys(wrong)
        page.find("manual-form").find_element(By.TAG_NAME, "button").click()
        assert page.visible("pay"), "a signature that is none is not sent"
    page.find("manual-tx").clear()
    page.find("manual-tx").send_keys(signature)
    page.find("manual-from").send_keys(str(key.pubkey()))
    page.find("manual-form").find_element(By.TAG_NAME, "button").click()
    page.shows("use")
    (session,) = shop.provider.sessions.values()
    assert session.payer.lower() == str(key.pubkey()).lower()


def test_what_the_account_cannot_pay_is_told(page: Page, shop: SolanaShop) -> None:
    page.open()
    page.choose("palace")
    page.pay()
    page.shows("problem")
    assert page.text("problem-text") == "The account holds too little for the amount and the fee."
    assert shop.provider.sessions == {}


def test_a_wallet_by_the_wallet_standard_pays_a_token(chromium: webdriver.Chrome, solana: Solana) -> None:
    payer, payee = solana.account(SOL), solana.account(SOL)
    mint = Mint(solana, token_2022=True)
    mint.open(str(payer.pubkey()), str(payee.pubkey()))
    mint.give(str(payer.pubkey()), 10_000_000)
    shop = SolanaShop(solana, str(payee.pubkey()), mint)
    shop.start()
    page = Page(chromium, shop.url)
    try:
        page.inject(wallet_script(solana, payer, STANDARD, chains=["solana:localnet"]))
        page.open()
        page.choose("token")
        assert wallets(page) == ["Pay with Violet <i>wallet</i>"], "the page's own key has no tokens"
        assert page.text("pay-amount") == "1.5 DUSD"
        assert page.text("fact-token") == mint.address
        page.pay()
        page.shows("use")
        assert page.script("return calls") == [[str(payer.pubkey()), "solana:localnet"]]
    finally:
        page.close()
        shop.stop()
    assert mint.balance(str(payee.pubkey())) == 300 * CENTS
    (found,) = solana.rpc("getSignaturesForAddress", shop.asking.asked[0].reference, {"commitment": "confirmed"})
    assert found["err"] is None


def test_a_wallet_of_another_network_is_not_offered(page: Page, shop: SolanaShop) -> None:
    page.inject(wallet_script(shop.solana, Keypair(), STANDARD, chains=["solana:mainnet"]))
    page.open()
    page.choose()
    assert wallets(page) == ["Pay with a test account of Solana"]


@pytest.mark.parametrize("declined", [False, True])
def test_a_wallet_that_injects_itself_pays_or_declines(page: Page, shop: SolanaShop, *, declined: bool) -> None:
    payer = shop.solana.account(SOL)
    page.inject(wallet_script(shop.solana, payer, INJECTED, declined=declined))
    page.open()
    page.choose()
    assert wallets(page)[0] == "Pay with your browser wallet"
    page.pay()
    if declined:
        page.shows("problem")
        assert page.text("problem-text") == "You declined in your wallet."
        assert page.remembered() == []
        return
    page.shows("use")
    assert page.script("return calls") == [["signAndSendTransaction"]]
    assert shop.solana.balance(payer.pubkey()) == SOL - 300 * LAMPORTS - 5000


def test_a47_an_offer_that_contradicts_itself_is_not_shown(page: Page, shop: SolanaShop) -> None:
    other = str(Keypair().pubkey())
    changes: list[dict[str, Any]] = [
        {"recipient": other},
        {"recipient": "0x" + "0b" * 20},
        {"reference": other},
        {"reference": "no key"},
        {"solana_pay_url": f"solana:{other}?amount=0.006"},
        {"amount_sol": "0.06"},
        {"amount": 10**12, "amount_sol": "1000"},
        {"currency": "SPL"},
        {"spl_token": other},
        {"memo": "another"},
        {"network": "base"},
    ]
    page.open()
    for change in changes:
        shop.asking.change = change
        page.click("choose-go")
        page.until(lambda: page.visible("problem") and page.enabled("choose-go"))
        assert "contradicts itself" in page.text("problem-text"), change
        assert not page.visible("pay")
        page.script("document.getElementById('problem').hidden = true")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [320, 1200])
def test_the_payment_is_legible_and_fits(page: Page, shop: SolanaShop, width: int, dark: bool) -> None:
    page.size(width, 720)
    page.media(dark=dark)
    page.open()
    page.choose()
    page.driver.find_element(By.CSS_SELECTOR, "#manual summary").click()
    assert page.low_contrast() == []
    assert page.nameless() == []
    assert not page.overflows()


VECTORS = """
const done = arguments[arguments.length - 1];
(async () => {
  const { decode, encode } = await import('/static/js/solana/base58.js');
  const { isOnCurve, tokenAccount } = await import('/static/js/solana/transaction.js');
  const bytes = (hex) => Uint8Array.from(hex.match(/../g) ?? [], (each) => parseInt(each, 16));
  const [texts, keys, accounts] = arguments;
  done([
    texts.map((hex) => encode(bytes(hex))),
    texts.map((hex) => [...decode(encode(bytes(hex)))].map((each) => each.toString(16).padStart(2, '0')).join('')),
    keys.map((each) => isOnCurve(decode(each))),
    await Promise.all(accounts.map(([owner, mint, program]) => tokenAccount(owner, mint, program))),
    decode('0OIl'),
  ]);
})();
"""


def test_the_pages_own_arithmetic_agrees_with_solanas(page: Page) -> None:
    texts = ["", "00", "0000ff", "ff" * 32, *(sha256(bytes([each])).hexdigest() for each in range(20))]
    keys = [Pubkey(sha256(bytes([each])).digest()) for each in range(60)]
    accounts = [(keys[at], keys[at + 1], keys[at + 2]) for at in range(12)]
    page.open()
    encoded, again, on_curve, derived, wrong = page.driver.execute_async_script(
        VECTORS, texts, [str(each) for each in keys], [[str(each) for each in each_] for each_ in accounts]
    )
    assert [bytes(each) for each in map(bytes.fromhex, again)] == [bytes.fromhex(each) for each in texts]
    assert encoded[4:] == [str(Pubkey(bytes.fromhex(each))) for each in texts[4:]]
    assert on_curve == [each.is_on_curve() for each in keys]
    assert len(set(on_curve)) == 2
    assert derived == [
        str(get_associated_token_address(owner, mint, token_program_id=program)) for owner, mint, program in accounts
    ]
    assert wrong is None
