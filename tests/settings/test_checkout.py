"""Settings of the checkout page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ws402.settings.checkout import DARK, LIGHT, CheckoutSettings, contrast, mixed

CSS = (Path(__file__).parents[2] / "app/ws402/server/static/page.css").read_text()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"accent": "#ffcc00"}, "its contrast is 1.37:1, and must be 4.5:1; take a darker one"),
        ({"accent_dark": "#0c6e60"}, "take a lighter one"),
        ({"accent": "red"}, "six hexadecimal digits"),
        ({"return_url": "http://shop.example/"}, "begins with https://"),
        ({"embed_origins": ["http://shop.example"]}, "no site that may embed"),
        ({"embed_origins": ["https://shop.example/"]}, "no site that may embed"),
        ({"embed_origins": ["https://*.shop.example"]}, "no site that may embed"),
        ({"embed_origins": ["*"]}, "no site that may embed"),
        ({"embed_origins": ["https://shop.example; script-src *"]}, "no site that may embed"),
        ({"embed_origins": ["https://shop.example https://evil.example"]}, "no site that may embed"),
        ({"embed_origins": ["https://shop.example\n"]}, "no site that may embed"),
        ({"embed_origins": ["https://shop.example:70000"]}, "no site that may embed"),
        ({"return_url": "javascript:alert(1)"}, "begins with https://"),
        ({"return_url": "https://user:word@shop.example/"}, "without a user's name"),
        ({"return_url": "https:///basket"}, "a host"),
        ({"return_url": "https://[shop.example/"}, "a host"),
        ({"logo_file": "https://shop.example/logo.svg"}, "save the picture here"),
        ({"logo_file": "/etc/passwd"}, "must be one of .svg"),
        ({"fiat_currency": "EUR"}, "goes together with one of"),
        ({"fiat_rates_url": "https://rates.example/"}, "goes together with one of"),
        ({"fiat_currency": "EUR", "fiat_rates_url": "http://rates.example/", "fiat_rates_file": None}, "https://"),
        ({"fiat_currency": "EUR", "fiat_rates_url": "https://a.example/", "fiat_rates_file": "r.json"}, "one of"),
        ({"fiat_currency": "euro"}, "fiat_currency"),
        ({"language": "fr"}, "language"),
    ],
)
def test_what_would_not_do_is_refused_with_what_to_do(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError) as refused:
        CheckoutSettings(**wrong)
    assert told in str(refused.value)


def test_what_is_fine_is_taken() -> None:
    taken = CheckoutSettings(accent="#7A1FA2", accent_dark="#ce93d8", return_url="https://shop.example/basket?id=1")
    assert (taken.accent, taken.return_url) == ("#7a1fa2", "https://shop.example/basket?id=1")


def test_sites_that_may_embed_the_page_are_written_as_browsers_write_them() -> None:
    wanted = [
        "https://shop.example:443",
        "https://a-b.xn--bcher-kva.example:8443",
        "http://localhost:3000",
        "http://127.0.0.1:80",
    ]
    taken = CheckoutSettings(embed_origins=wanted).embed_origins
    assert taken == ["https://shop.example", wanted[1], wanted[2], "http://127.0.0.1"]
    assert CheckoutSettings().embed_origins == []


def test_contrast_is_that_of_the_guidelines() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)
    assert contrast("#ffffff", "#777777") == contrast("#777777", "#ffffff")
    assert mixed("#000000", "#ffffff", 0.5) == "#808080"


def test_colours_are_compared_with_what_is_behind_them_on_the_page() -> None:
    light, _, rest = CSS.partition("@media (prefers-color-scheme: dark)")
    for rules, colours in ((light, LIGHT), (rest, DARK)):
        for name, colour in zip(("card", "ground", "inset"), colours, strict=True):
            assert f"--{name}: {colour};" in rules
