"""Each example is sold and paid for, with the settings that their README shows."""

from __future__ import annotations

import importlib
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.docs.shown import blocks

from ws402.settings import ResourceSettings
from ws402.testing import PaidServer

EXAMPLES = Path(__file__).parents[2] / "examples"
FILES = sorted(EXAMPLES.glob("*.py"))
SETTINGS = {
    each["id"]: each for block in blocks(EXAMPLES / "README.md") for each in tomllib.loads(block.code)["resources"]
}


@pytest.fixture(autouse=True)
def path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))


def sold(ws402_sell: Any, name: str, **changes: Any) -> PaidServer:
    shop: PaidServer = ws402_sell(ResourceSettings(**SETTINGS[name] | changes))
    return shop


def example(name: str) -> ModuleType:
    return importlib.import_module(name)


def test_a_models_tokens_are_charged_each_way(ws402_sell: Any) -> None:
    shop = sold(ws402_sell, "chat")
    with shop.pay(seconds=300) as session:
        first, again = (example("llm_tokens").ask(session, "What is money for?") for _ in range(2))
    assert first == again
    assert len(first) == 8
    (booked,) = shop.sessions
    assert booked.units == {"input_tokens": 8, "output_tokens": 16}
    assert booked.consumed == 8 * 2 * 10**8 + 16 * 6 * 10**11
    assert shop.provider.audit() == 0


def test_a_model_writes_nothing_that_is_not_paid(ws402_sell: Any) -> None:
    shop = sold(ws402_sell, "chat", estimated_use="1000 input_tokens + 3 output_tokens")
    with shop.pay(seconds=300) as session:
        session.send("Why?")
        assert len(list(session)) < 8
    assert shop.sessions[0].consumed == shop.sessions[0].paid
    assert shop.provider.audit() == 0


def test_a_feed_costs_by_the_message(ws402_sell: Any) -> None:
    shop = sold(ws402_sell, "quotes")
    market = example("market_data")
    with shop.pay(seconds=300) as session:
        session.send("what?")
        assert "error" in str(session.receive(10))
        quotes = market.watch(session, ["ETH", "SOL", "NONE"], 4)
        session.end()
    assert {quote["symbol"] for quote in quotes} == {"ETH", "SOL"}
    assert 7 <= shop.sessions[0].units["messages"] <= 60
    assert shop.provider.audit() == 0


def test_a_film_is_fetched_in_ranges_and_goes_on_where_it_was(ws402_sell: Any, tmp_path: Path) -> None:
    film, copy = tmp_path / "film.mp4", tmp_path / "copy.mp4"
    film.write_bytes(bytes(range(256)) * 1000)
    copy.write_bytes(film.read_bytes()[:100_000])
    shop = sold(ws402_sell, "film", target=str(film))
    with shop.pay(seconds=300) as session:
        assert example("video").fetch(session, copy, part=50_000) == 256_000
        assert example("video").fetch(session, copy) == 256_000, "there is no more"
    assert copy.read_bytes() == film.read_bytes()
    assert shop.sessions[0].bytes_transferred >= 156_000
    assert shop.provider.audit() == 0


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_example_is_short_and_told_in_the_readme(file: Path) -> None:
    assert len(file.read_text().splitlines()) <= 100
    assert f"({file.name})" in (EXAMPLES / "README.md").read_text()
