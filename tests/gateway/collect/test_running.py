"""What operators see of collecting: metrics and `ws402 ops authorizations`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fixtures.evm import Evm
from tests.gateway.collect.world import AMOUNT, NETWORK, Shop, deliveries, running

from ws402.devchain.evm import EvmDevChain
from ws402.errors import NotFoundError
from ws402.gateway.books.collections import Collections
from ws402.gateway.ledger.states import AuthorizationState
from ws402.gateway.run.ledger_metrics import LedgerMetrics
from ws402.observability import metrics


@pytest.fixture
def shop(shared_devchain: EvmDevChain, tmp_path: Path) -> Iterator[Shop]:
    evm = Evm(shared_devchain.rpc_url, name="devchain")
    yield Shop(evm, f"sqlite:///{tmp_path / 'ledger.db'}")
    evm.close()


async def test_what_is_under_way_is_counted_listed_and_shown(shop: Shop) -> None:
    payer, poor = await asyncio.to_thread(shop.payer), await asyncio.to_thread(shop.payer, 1)
    async with running(shop) as gateway:
        counted = LedgerMetrics(gateway.gateway.service, gateway.gateway.refunds)
        seen = Collections(gateway.gateway.database)
        assert metrics.COLLECTIONS.value(NETWORK, "open") == 0
        assert (await gateway.collect(shop.sign(poor))).state == "refused"
        shop.evm.automine(False)
        try:
            asking = asyncio.create_task(gateway.collect(shop.sign(payer)))
            while not await gateway.count(deliveries):
                await asyncio.sleep(0.02)
            await counted.count()
            assert metrics.COLLECTIONS_WAITING.value(NETWORK) == 1
            assert 0 <= metrics.COLLECTION_OLDEST.value(NETWORK) < 600
            (waiting,) = await seen.list(state=AuthorizationState.SENT, limit=10)
            assert (waiting["payer"], waiting["amount"], waiting["sessionId"]) == (payer.address, AMOUNT, None)
            assert "signature" not in waiting
            shop.evm.mine()
        finally:
            shop.evm.automine(True)
        opened = await asking
        shown = await seen.show(waiting["id"])
        assert (shown["state"], shown["sessionId"], shown["tx"]) == ("landed", opened.session_id, opened.tx)
        assert [each["tx"] for each in shown["attempts"]] == [opened.tx]
        assert metrics.COLLECTIONS.value(NETWORK, "open") == 1
        assert metrics.COLLECTIONS.value(NETWORK, "refused") == 1
        await counted.count()
        assert metrics.COLLECTIONS_WAITING.value(NETWORK) == 0
        # The account has one coin; a transfer costs far less than a thousandth of it.
        assert metrics.COLLECTOR_PAYABLE.value(NETWORK) > 1000
        assert 0 < metrics.COLLECTOR_BALANCE.value(NETWORK) < 10**18
        with pytest.raises(NotFoundError, match="no signed transfer"):
            await seen.show("aut_none")
