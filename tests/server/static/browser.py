"""What a person does with the page, and what one can see of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import axe_core_python
from selenium import webdriver
from selenium.common.exceptions import JavascriptException, NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

FOCUS = """
const now = document.activeElement;
// Radio buttons show the focus on what stands for them.
const shown = now.matches('.chips input') ? now.nextElementSibling : now.closest('.choice') ?? now;
return getComputedStyle(shown).outlineStyle;
"""

CONTRAST = """
const rgb = (text) => { const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number); return [r, g, b, a]; };
const part = (v) => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; };
const light = ([r, g, b]) => .2126 * part(r) + .7152 * part(g) + .0722 * part(b);
const ground = (node) => {
  for (let each = node; each; each = each.parentElement) {
    const colour = rgb(getComputedStyle(each).backgroundColor);
    if (colour[3] > .99) return colour;
  }
  return [255, 255, 255, 1];
};
const bad = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const node = walker.currentNode.parentElement;
  if (!walker.currentNode.data.trim() || !node.checkVisibility()) continue;
  if (node.closest('.hidden, .skip, :disabled, option')) continue;
  const style = getComputedStyle(node);
  const [a, b] = [light(rgb(style.color)), light(ground(node))].sort((x, y) => y - x);
  const ratio = (a + .05) / (b + .05);
  if (ratio < 4.5) bad.push([walker.currentNode.data.trim().slice(0, 40), ratio.toFixed(2), style.color]);
}
return bad;
"""

NAMELESS = """
return [...document.querySelectorAll('button, a, input, select, [role=progressbar]')].filter((each) => {
  if (!each.checkVisibility()) return false;
  const labels = [...(each.labels ?? [])].map((label) => label.innerText).join('');
  return !(each.getAttribute('aria-label') || each.innerText || labels).trim();
}).map((each) => each.outerHTML.slice(0, 120));
"""


AXE = (Path(axe_core_python.__file__).parent / "axe.min.js").read_text()
RUN_AXE = """
const done = arguments[arguments.length - 1];
axe.run({ resultTypes: ['violations'] })
  .then((found) => done(found.violations.map((each) => [each.id, each.nodes.map((node) => node.html.slice(0, 200))])));
"""


PASSING = (JavascriptException, NoSuchElementException, StaleElementReferenceException)
"""Of a page that goes while another comes."""


class Page:
    """One visit. `close` fails for errors in the console and for requests to other origins."""

    def __init__(self, driver: webdriver.Chrome, url: str) -> None:
        self.driver = driver
        self.url = url
        self.expected: list[str] = []
        """Parts of console errors that the test provokes."""
        self._scripts: list[str] = []
        self.size(1000, 900)
        self.media()
        self._drain()

    def open(self, fragment: str = "") -> None:
        """Load the page with nothing remembered."""
        origin = {"origin": self.url.rstrip("/"), "storageTypes": "local_storage"}
        self.driver.execute_cdp_cmd("Storage.clearDataForOrigin", origin)
        if self.driver.current_url.startswith(self.url):
            self.script("sessionStorage.clear()")
        self.driver.get(self.url + fragment)
        self.until(lambda: self.enabled("choose-go"))

    def reload(self) -> None:
        self.driver.refresh()
        self.until(lambda: self.enabled("choose-go"))

    def size(self, width: int, height: int) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def media(self, *, dark: bool = False, calm: bool = False) -> None:
        features = [
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce" if calm else "no-preference"},
        ]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def block(self, *addresses: str) -> None:
        """Let no request to these (with `*`) through, and all others."""
        self.driver.execute_cdp_cmd("Network.enable", {})
        self.driver.execute_cdp_cmd("Network.setBlockedURLs", {"urls": list(addresses)})

    def inject(self, script: str) -> None:
        """Run in every document before the page's own modules, as a wallet extension does."""
        answer = self.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": script})
        self._scripts.append(answer["identifier"])

    # --- what one sees -------------------------------------------------------------------------------------------

    def find(self, identifier: str) -> WebElement:
        return self.driver.find_element(By.ID, identifier)

    def text(self, identifier: str) -> str:
        return self.find(identifier).text

    def visible(self, identifier: str) -> bool:
        return self.find(identifier).is_displayed()

    def enabled(self, identifier: str) -> bool:
        return self.find(identifier).is_enabled()

    def script(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def until(self, what: Callable[[], Any], seconds: float = 20) -> Any:
        end = time.monotonic() + seconds
        while True:
            try:
                if found := what():
                    return found
            except PASSING:
                pass
            assert time.monotonic() < end, f"it did not come to that; the page says:\n{self.main()}"
            time.sleep(0.05)

    def shows(self, identifier: str, seconds: float = 20) -> None:
        self.until(lambda: self.visible(identifier), seconds)

    def remembered(self) -> list[str]:
        """What the browser keeps besides offers that were shown and receipts: payments and sessions."""
        keys = self.script("return Object.keys(localStorage)")
        return [each for each in keys if not each.startswith(("ws402.offer.", "ws402.receipt."))]

    def main(self) -> str:
        return self.driver.find_element(By.TAG_NAME, "main").text

    def attribute(self, identifier: str, name: str) -> str:
        return self.find(identifier).get_attribute(name) or ""

    def low_contrast(self) -> Any:
        return self.script(CONTRAST)

    def nameless(self) -> Any:
        return self.script(NAMELESS)

    def violations(self) -> Any:
        """What axe-core finds wrong with the page as it is: [rule, [elements]]."""
        self.script(AXE)
        return self.driver.execute_async_script(RUN_AXE)

    def focused(self) -> str:
        """Id or name of what has the focus; 'wallet' for the buttons that pay."""
        script = (
            "const now = document.activeElement; return now.closest('#wallets') ? 'wallet' : now.id || now.name || ''"
        )
        return str(self.script(script))

    def focus_ring(self) -> str:
        return str(self.script(FOCUS))

    def overflows(self) -> bool:
        return bool(self.script("return document.documentElement.scrollWidth > innerWidth"))

    def yours(self) -> str:
        """The list of what was going on before."""
        self.shows("yours")
        return self.text("yours")

    # --- what one does -------------------------------------------------------------------------------------------

    def click(self, identifier: str) -> None:
        self.find(identifier).click()

    def choose(self, resource: str = "ticker", seconds: int | None = None) -> None:
        self.driver.find_element(By.CSS_SELECTOR, f'[name=resource][value="{resource}"]').click()
        if seconds is not None:
            self.script(f"document.querySelector('[name=duration][value=\"{seconds}\"]').click()")
        self.click("choose-go")
        self.shows("pay")

    def go_on(self, way: str = "") -> None:
        """The first way on in the list of what was going on before, or the first of that name."""
        buttons = self.driver.find_elements(By.CSS_SELECTOR, "#yours button")
        next(each for each in buttons if way in each.text).click()

    def pay(self, at: int = 0) -> None:
        self.driver.find_elements(By.CSS_SELECTOR, "#wallets button")[at].click()

    def begin(self, resource: str = "ticker", seconds: int | None = None) -> None:
        """All the way to a running session, paid from a test account."""
        self.open()
        self.choose(resource, seconds)
        self.pay()
        self.shows("use")

    def close(self) -> None:
        logged = self._drain()
        for script in self._scripts:
            self.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", {"identifier": script})
        self.driver.get("about:blank")
        self._log("browser")
        assert not logged, logged

    def _log(self, kind: str) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = self.driver.get_log(kind)  # type: ignore[no-untyped-call]
        return entries

    def _drain(self) -> list[str]:
        """Errors of the console, and requests to other origins than the page's and the development node's."""
        errors = [
            entry["message"]
            for entry in self._log("browser")
            if entry["level"] == "SEVERE" and not any(part in entry["message"] for part in self.expected)
        ]
        for entry in self._log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                address = urlsplit(message["params"]["request"]["url"])
                if address.scheme in ("http", "https", "ws", "wss") and address.hostname != "127.0.0.1":
                    errors.append(f"asked {address.netloc}")
        return errors
