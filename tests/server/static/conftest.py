"""The checkout page in headless Chromium, against a running server with the pretended gateway and a real chain."""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from tests.fixtures.evm import Evm
from tests.server.static.browser import Page

from ws402.devchain.evm import EvmDevChain
from ws402.provider.mock.provider import MockPaymentProvider
from ws402.server import WS402Server, create_server
from ws402.settings import ResourceSettings, ServerSettings

PRICE = 10**13

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1000,900",
]


class Shop:
    """A server in a thread of its own. `provider` is its gateway, to be read, and told to misbehave."""

    def __init__(self, provider: MockPaymentProvider, resources: list[ResourceSettings], **settings: Any) -> None:
        self.provider = provider
        self.settings = ServerSettings(
            port=0,
            resources=resources,
            update_interval=300,
            drain_seconds=0,
            max_session_duration=7200,
            **settings,
        )
        self.server: WS402Server | None = None

        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="shop")
        self._started = threading.Event()

    def start(self) -> None:
        self._thread.start()
        assert self._started.wait(20)

    def stop(self) -> None:
        assert self.server is not None
        asyncio.run_coroutine_threadsafe(self.server.stop(), self.loop).result(20)
        self._thread.join(20)

    @property
    def url(self) -> str:
        assert self.server is not None
        return f"http://127.0.0.1:{self.server.port}/"

    def cut(self) -> None:
        """Every live session's connection breaks."""
        assert self.server is not None
        for session in list(self.server.sessions.live.values()):
            self.loop.call_soon_threadsafe(session.socket.transport.abort)

    def cut_unpaid(self) -> None:
        """So does the connection of everybody who has not paid yet."""
        assert self.server is not None
        for socket in list(self.server.sessions.waiting):
            self.loop.call_soon_threadsafe(socket.transport.abort)
        while self.server.sessions.waiting:
            time.sleep(0.01)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.server = create_server(self.settings, self.provider)
        self.loop.run_until_complete(self.server.serve(started=self._started.set))
        self.loop.close()


async def echo(stream: Any) -> None:
    """Sends back what it gets, as it is."""
    async for message in stream:
        await stream.send(message)


@pytest.fixture(scope="session")
def chromium() -> Iterator[webdriver.Chrome]:
    """One browser for all tests. Skips without one."""
    browser, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if not browser or not driver:
        pytest.skip("chromium and chromedriver are needed for the checkout page's tests")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = webdriver.Chrome(options=options, service=Service(driver))
    yield started
    started.quit()


class EvmShop(Shop):
    """Sells for the coin of an EVM chain."""

    def __init__(self, chain: Evm, film: Path, **settings: Any) -> None:
        self.chain = chain
        resources = [
            ResourceSettings(id="ticker", name="Ticker", kind="ticker", price_per_second=PRICE),
            ResourceSettings(id="dear", name="Dear <b>ticker</b>", kind="ticker", price_per_second=10**16),
            ResourceSettings(id="palace", name="Palace", kind="ticker", price_per_second=10**22),
            ResourceSettings(id="film", name="Film", kind="file", target=str(film), price_per_second=PRICE),
            ResourceSettings(id="echo", name="Echo", kind="python", target=f"{__name__}:echo", price_per_second=1),
        ]
        super().__init__(MockPaymentProvider(), resources, dev_rpc_url=chain.url, **settings)


@pytest.fixture
def shop(shared_devchain: EvmDevChain, tmp_path: Path) -> Iterator[EvmShop]:
    film = tmp_path / "film.txt"
    film.write_text("the film, all of it")
    evm = Evm(shared_devchain.rpc_url, name="devchain")
    shop = EvmShop(evm, film)
    shop.start()
    yield shop
    shop.stop()
    evm.close()


@pytest.fixture
def page(chromium: webdriver.Chrome, shop: Shop) -> Iterator[Page]:
    """The page, not loaded yet; whatever it logs as an error, or asks of another origin, fails the test."""
    page = Page(chromium, shop.url)
    yield page
    page.close()
