"""The checkout page in another site's frame, by the element of the JavaScript package; real origins, a real browser."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from tests.fixtures.evm import Evm
from tests.server.static.browser import Page
from tests.server.static.conftest import EvmShop

from ws402.devchain.evm import EvmDevChain

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[3]
MODULES = {"/js/": ROOT / "app" / "ws402" / "server" / "static" / "js", "/": ROOT / "sdk" / "js" / "src"}

HOST = """<!doctype html><meta charset="utf-8"><title>Shop</title>
<script type="module" src="/checkout.js"></script>
<script>
  window.heard = [];
  for (const type of ["opened", "settled", "refunded", "closed"]) {
    addEventListener(type, ({ detail }) => heard.push({ type, ...detail }));
  }
</script>
<main id="place"></main>"""


class Host(BaseHTTPRequestHandler):
    """Another site: its page, and the package's modules as a bundler would find them."""

    def do_GET(self) -> None:
        path = self.path.split("?", 1)[0]
        kind, body = "text/html", HOST.encode()
        if path.endswith(".js"):
            under = next(each for each in MODULES if path.startswith(each))
            kind, body = "text/javascript", (MODULES[under] / path.removeprefix(under)).read_bytes()
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header(
            "content-security-policy", "default-src 'self'; script-src 'self' 'unsafe-inline'; frame-src *"
        )
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def site() -> Iterator[str]:
    """Another site's origin."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Host) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def host() -> Iterator[str]:
    """A site that may embed the page."""
    with site() as origin:
        yield origin


@pytest.fixture(scope="module")
def stranger() -> Iterator[str]:
    """One that may not."""
    with site() as origin:
        yield origin


@pytest.fixture
def shop(shared_devchain: EvmDevChain, tmp_path: Path, host: str) -> Iterator[EvmShop]:
    """One that the other site may embed."""
    film = tmp_path / "film.txt"
    film.write_text("the film")
    evm = Evm(shared_devchain.rpc_url, name="devchain")
    shop = EvmShop(evm, film, checkout={"embed_origins": ["https://shop.example", host]})
    shop.start()
    yield shop
    shop.stop()
    evm.close()


def embed(page: Page, **attributes: str) -> None:
    """The element on the other site's page, entered."""
    said = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in attributes.items())
    page.script(
        f"document.getElementById('place').innerHTML = `<ws402-checkout server='{page.url}'{said}></ws402-checkout>`"
    )
    enter(page)


def enter(page: Page) -> None:
    """What is then done is done in the element's frame."""
    within = "return document.querySelector('ws402-checkout').shadowRoot?.querySelector('iframe')"
    page.driver.switch_to.frame(page.until(lambda: page.script(within)))


def heard(page: Page) -> list[dict[str, Any]]:
    page.driver.switch_to.default_content()
    told: list[dict[str, Any]] = page.script("return heard")
    return told


def test_a_frame_pays_and_tells_its_site_what_happened_and_no_other(
    chromium: webdriver.Chrome, shop: EvmShop, host: str
) -> None:
    page = Page(chromium, shop.url)
    page.driver.get(f"{host}/basket")
    embed(page, resource="ticker", return_url="/thanks", lang="de")
    page.until(lambda: page.enabled("choose-go"))
    assert page.script("return document.documentElement.lang") == "de"
    assert page.attribute("back-to-shop", "href") == f"{host}/thanks"
    assert page.attribute("back-to-shop", "target") == "_top"
    page.choose("ticker")
    page.pay()
    page.shows("use")
    (opened,) = heard(page)
    assert (opened["type"], opened["resource"], opened["symbol"]) == ("opened", "ticker", "ETH")
    assert int(opened["paid"]) >= 3 * 10**15
    page.script(
        "dispatchEvent(new MessageEvent('message', {data: {ws402: 1, type: 'closed'}, origin: location.origin}))"
    )
    page.script("document.querySelector('ws402-checkout').end()")
    page.until(lambda: [each["type"] for each in heard(page)] == ["opened", "settled", "refunded"])
    _, settled, refunded = heard(page)
    assert settled["sessionId"] == refunded["sessionId"] == opened["sessionId"]
    assert int(settled["consumed"]) + int(settled["refund"]) == int(settled["paid"])
    assert refunded["amount"] == settled["refund"]
    page.close()


def test_an_element_that_learns_its_server_later_shows_its_page(
    chromium: webdriver.Chrome, shop: EvmShop, host: str
) -> None:
    page = Page(chromium, shop.url)
    page.driver.get(f"{host}/basket")
    page.script(
        "const made = document.createElement('ws402-checkout'); document.getElementById('place').append(made);"
        f" made.setAttribute('server', '{page.url}')"
    )
    enter(page)
    page.until(lambda: page.enabled("choose-go"))
    page.close()


def test_a_frame_leads_back_to_its_own_site_only(chromium: webdriver.Chrome, shop: EvmShop, host: str) -> None:
    page = Page(chromium, shop.url)
    for wanted in ("http://127.0.0.1.evil.example/", f"blob:{host}/x"):
        page.driver.get(f"{host}/basket")
        embed(page, return_url=wanted)
        page.until(lambda: page.enabled("choose-go"))
        assert not page.visible("back-to-shop"), wanted
        page.driver.switch_to.default_content()
    # The same address outside of a frame is the page as it always is.
    page.driver.get(f"{shop.url}?embed={host}&return={host}/thanks")
    page.until(lambda: page.enabled("choose-go"))
    assert not page.visible("back-to-shop")
    page.close()


def test_a_site_that_was_not_named_gets_no_frame(chromium: webdriver.Chrome, shop: EvmShop, stranger: str) -> None:
    page = Page(chromium, shop.url)
    page.expected.append("frame-ancestors")
    page.driver.get(stranger)
    embed(page)
    page.until(lambda: page.script("return location.href").startswith("chrome-error:"))
    assert heard(page) == []
    page.close()
