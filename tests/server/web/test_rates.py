"""Rates for the eye: of a file or a feed, bounded, fresh, or none."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ws402.server.web import rates
from ws402.server.web.rates import Rates
from ws402.settings.checkout import CheckoutSettings

AT = datetime(2026, 1, 31, 12, tzinfo=UTC)


def told(change: dict[str, Any] | None = None) -> str:
    return json.dumps({"at": "2026-01-31T12:00:00Z", "rates": {"ETH": "2815.40", "USDC": "0.92"}} | (change or {}))


def of(file: Path, after: float = 60) -> Rates:
    settings = CheckoutSettings(fiat_currency="EUR", fiat_rates_file=file)
    return Rates(settings, now=lambda: AT.timestamp() + after)


async def test_rates_are_told_as_long_as_they_are_fresh(tmp_path: Path) -> None:
    file = tmp_path / "rates.json"
    file.write_text(told())
    found = await of(file).latest()
    assert found is not None
    assert (found.currency, found.at, found.rates["ETH"]) == ("EUR", int(AT.timestamp() * 1000), "2815.40")
    assert await of(file, after=3600).latest() is not None
    assert await of(file, after=3601).latest() is None, "stale"
    assert await of(file, after=-301).latest() is None, "of the future"


async def test_without_the_setting_nothing_is_asked() -> None:
    assert await Rates(CheckoutSettings()).latest() is None


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        told({"at": "2026-01-31T12:00:00"}),
        told({"at": 5}),
        told({"rates": {"ETH": 2815.4}}),
        told({"rates": {"ETH": "-1"}}),
        told({"rates": {"ETH": "0"}}),
        told({"rates": {"ETH": "NaN"}}),
        told({"rates": {"ETH": "one"}}),
        told({"rates": {"ETH": "1" * 41}}),
        told({"rates": {f"T{each}": "1" for each in range(65)}}),
        told() + " " * 65_536,
    ],
)
async def test_what_is_no_list_of_rates_is_none(tmp_path: Path, body: str) -> None:
    file = tmp_path / "rates.json"
    file.write_text(body)
    assert await of(file).latest() is None


async def test_a_file_that_is_away_keeps_what_was_known_while_it_is_fresh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "KEPT_SECONDS", 0.0)
    file = tmp_path / "rates.json"
    file.write_text(told())
    after = 60.0
    known = Rates(CheckoutSettings(fiat_currency="EUR", fiat_rates_file=file), now=lambda: AT.timestamp() + after)
    assert await known.latest() is not None
    file.unlink()
    assert await known.latest() is not None
    after = 3601.0
    assert await known.latest() is None
