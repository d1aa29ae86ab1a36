"""POST /ws402/payment: who waits for a payment is told as soon as it has come."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from tests.server.peer import Shop

from ws402.server.web.checkout import MAX_SECRET_BYTES


async def ask(shop: Shop, **body: Any) -> Any:
    answer = await shop.http.post("/ws402/payment", content=json.dumps(body))
    assert answer.headers["cache-control"] == "no-store"
    return answer.json()


async def test_who_waits_is_told_when_the_payment_comes_and_asks_the_gateway_once_for_all(shop: Shop) -> None:
    schema = await shop.schema(uniqueAmount="1")
    details = schema["paymentDetails"]
    assert details["uniqueAmount"] is True
    waiting = [asyncio.create_task(ask(shop, reference=details["reference"])) for _ in range(20)]
    await shop.until(lambda: shop.server.sessions.arrivals.waiting == 20)
    calls = shop.provider.faults.calls.get("payment_status", 0)
    book = shop.provider.service.book
    transfer = book.pay(book.invoices[details["reference"]])
    for answer in await asyncio.gather(*waiting):
        assert answer == {
            "state": "arrived",
            "tx": transfer.tx,
            "sender": transfer.sender,
            "amount": details["amount"],
        }
    assert shop.provider.faults.calls["payment_status"] - calls <= 4
    assert shop.server.sessions.arrivals.waiting == 0


async def test_at_once_is_answered_what_is_known(shop: Shop) -> None:
    details = (await shop.schema())["paymentDetails"]
    assert await ask(shop, reference=details["reference"], wait=False) == {"state": "waiting"}
    assert await ask(shop, reference="nobody's", wait=False) == {"state": "unknown"}


async def test_a_gateway_that_is_away_ends_no_wait(shop: Shop) -> None:
    details = (await shop.schema())["paymentDetails"]
    shop.provider.faults.unavailable("payment_status", times=1)
    waiting = asyncio.create_task(ask(shop, reference=details["reference"]))
    await shop.until(lambda: shop.provider.faults.calls.get("payment_status", 0) >= 1)
    book = shop.provider.service.book
    book.pay(book.invoices[details["reference"]])
    assert (await waiting)["state"] == "arrived"


async def test_a_server_that_drains_lets_all_go(shop: Shop) -> None:
    details = (await shop.schema())["paymentDetails"]
    waiting = asyncio.create_task(ask(shop, reference=details["reference"]))
    await shop.until(lambda: shop.server.sessions.arrivals.waiting == 1)
    shop.server.sessions.arrivals.release()
    assert await waiting == {"state": "waiting"}


LONG = b'{"reference": "' + b"r" * MAX_SECRET_BYTES + b'"}'


@pytest.mark.parametrize("body", [b"", b"[]", b'{"reference": ""}', b'{"reference": 5}', LONG])
async def test_what_is_no_secret_is_refused(shop: Shop, body: bytes) -> None:
    answer = await shop.http.post("/ws402/payment", content=body)
    assert answer.status_code == 400
    assert "claimToken" in answer.json()["remedy"]
