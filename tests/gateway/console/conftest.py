"""A gateway with a console, over a real chain, in a thread of its own: a browser is driven from the tests' thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from tests.cli.test_ops import ADMIN_KEY, SERVER_KEY, owe
from tests.fixtures.evm import ETHER, Evm

from ws402.devchain.evm import EvmDevChain
from ws402.gateway.auth.keys import Scope
from ws402.gateway.auth.stored import issue_key
from ws402.gateway.books.lists import Search
from ws402.gateway.run.gateway import Gateway, build
from ws402.settings import GatewaySettings

T = TypeVar("T")


class Till:
    """The gateway, and what its operators have: `alice` may change things, `bob` may look."""

    def __init__(self, chain: EvmDevChain, folder: Path, *, changes: bool) -> None:
        self.evm = Evm(chain.rpc_url, name="devchain")
        merchant = self.evm.account(ETHER)
        values: dict[str, Any] = {
            "gateway_port": 0,
            "console_port": 0,
            "console_changes": changes,
            "gateway_api_key": SERVER_KEY,
            "gateway_admin_key": f"carol:{ADMIN_KEY}",
            "database_url": f"sqlite:///{folder / 'ledger.db'}",
            "base_rpc": self.evm.url,
            "merchant_private_key": "0x" + merchant.key.hex().removeprefix("0x"),
            "refund_interval_seconds": 0.1,
        }
        self.gateway: Gateway = build(GatewaySettings(**values))
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="till")
        self._thread.start()
        self.run(self.gateway.start())
        assert self.gateway.console is not None
        self.url = self.gateway.console.url
        self.alice_id, self.alice = self.run(self._key("alice", Scope.ADMIN))
        _, self.bob = self.run(self._key("bob", Scope.READ))
        self.run(self.gateway._stored.refresh())

    async def _key(self, name: str, scope: Scope) -> tuple[str, str]:
        return await issue_key(self.gateway.database, tenant="default", name=name, scopes=frozenset({scope}))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """In the gateway's own loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def fill(self) -> tuple[str, str]:
        """A paid session with a refund, which stays due, and money without an invoice: a refund's id, a transaction."""
        self.run(self.gateway._admin.key(_pause()))
        refund_id = self.run(owe(self.gateway, self.evm))
        chain = next(iter(self.gateway.chains.values()))
        tx = self.evm.send(self.evm.account(ETHER), chain.recipient, value=5 * 10**15)
        for _ in range(200):
            found = self.run(self.gateway.service.lists.unclaimed(Search())).rows
            if any(each["tx"] == tx for each in found):
                return refund_id, tx
            self.run(asyncio.sleep(0.05))
        raise AssertionError(f"the gateway has not seen {tx}")

    def visitor(self) -> httpx.Client:
        """A browser without a window, which says of its forms where they are from."""
        return httpx.Client(base_url=self.url, headers={"Origin": self.url, "Sec-Fetch-Site": "same-origin"})

    def close(self) -> None:
        self.run(self.gateway.close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(20)
        self.loop.close()
        self.evm.close()


def _pause() -> Any:
    from ws402.gateway.api.admin_messages import KeyCommand  # noqa: PLC0415

    return KeyCommand(network="base-sepolia", action="pause", reason="the books are looked at")


@pytest.fixture(scope="module")
def till(shared_devchain: EvmDevChain, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Till]:
    made = Till(shared_devchain, tmp_path_factory.mktemp("till"), changes=True)
    yield made
    made.close()
