"""Payments on disk, those of earlier versions too."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from ws402.client import Payment, Store
from ws402.prices import Price, Rate, by_second
from ws402.protocol import price_text

THIRD = Price((Rate("seconds", 1, 3),))


def payment(price: Price) -> Payment:
    return Payment(
        id=f"p-{price.divisor}",
        base="https://shop.example",
        resource_id="film",
        socket_url="wss://shop.example",
        sender="0x1",
        recipient="0x2",
        network="base",
        chain="eip155:8453",
        asset="USDC",
        token=None,
        amount=100,
        price_per_second=price.per_second,
        price=price_text(price),
        reference="r",
        claim_token=None,
        signature=None,
        expires_at=1,
        tx=f"0x{price.divisor}",
        raw="",
        nonce=None,
        valid_until=None,
        created_at=1,
    )


@pytest.mark.parametrize("price", [THIRD, by_second(7)])
def test_a_payment_remembers_its_price_exactly(tmp_path: Path, price: Price) -> None:
    with Store(tmp_path / "payments.db") as store:
        store.add(payment(price))
    with Store(tmp_path / "payments.db") as store:
        found = store.find(payment(price).id)
    assert found is not None
    assert found.terms is not None
    assert found.terms.same(price)


def test_a_file_of_an_earlier_version_is_taken_on(tmp_path: Path) -> None:
    path = tmp_path / "payments.db"
    with Store(path) as store:
        store.add(payment(by_second(7)))
    database = sqlite3.connect(path)
    database.execute("ALTER TABLE payments DROP COLUMN price")
    database.close()
    with Store(path) as store:
        store.add(payment(THIRD))
        old, new = store.find(payment(by_second(7)).id), store.find(payment(THIRD).id)
    assert old is not None
    assert new is not None
    assert (old.terms, new.terms) == (by_second(7), THIRD)
