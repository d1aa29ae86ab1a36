"""What the README shows, up to the page: its commands, its settings, and a person who pays with a test account.

`make pictures` has it write the README's picture of the page (WS402_PICTURES: a folder).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from tests.docs.shown import Session, blocks
from tests.server.static.browser import Page

pytestmark = pytest.mark.browser

README = Path(__file__).parents[3] / "README.md"


@pytest.fixture
def page(chromium: webdriver.Chrome, tmp_path: Path) -> Iterator[Page]:
    """The page at which the README's commands arrive."""
    wanted = [each for each in blocks(README) if each.how.startswith("run")]
    started = max(at for at, each in enumerate(wanted) if each.how == "run: background")
    address = re.search(r"Open <(http://127\.0\.0\.1:(\d+)/)> in a browser", README.read_text())
    assert address
    with Session(tmp_path) as session:
        for each in wanted[: started + 1]:
            session.run(each)
        page = Page(chromium, address[1].replace(address[2], session.ports[address[2]]))
        yield page
        page.close()


def leave(page: Page) -> None:
    page.click("end")
    page.shows("done")
    page.until(lambda: page.text("refund-state") == "Refunded", 40)


def test_who_follows_the_readme_pays_on_the_page_and_gets_the_rest_back(page: Page) -> None:
    page.begin("ticker", 60)
    page.until(lambda: '"type":"tick"' in page.text("messages"))
    page.until(lambda: page.text("messages").count('"type":"tick"') >= 3)
    if folder := os.environ.get("WS402_PICTURES"):
        page.size(760, 620)
        page.driver.save_screenshot(str(Path(folder) / "page.png"))
    leave(page)
    page.begin("sol", 60)
    leave(page)
