"""The seller's looks in the page's files, and how small they travel."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest

from ws402.errors import ConfigurationError
from ws402.server.web.looks import dressed
from ws402.server.web.page import Asset, read_assets
from ws402.settings.checkout import DARK, LIGHT, CheckoutSettings, contrast

MOST_BYTES = 30_000
"""Of the files that a visit loads before it shows the price, packed. With headers and the server's two answers that is
below 48 KB, which take 8 seconds at 6 KB/s."""


def page(assets: dict[str, Asset]) -> str:
    return assets["index.html"].body.decode()


def test_without_settings_the_page_is_as_it_was_but_for_what_is_fetched_early() -> None:
    plain = read_assets()
    found = dressed(plain, CheckoutSettings())
    assert {name for name in plain if found[name] != plain[name]} == {"index.html"}
    assert '<html lang="en">' in page(found)


def test_what_the_first_screen_needs_is_fetched_at_once_and_within_the_budget() -> None:
    found = dressed(read_assets(), CheckoutSettings())
    early = re.findall(r'<link rel="modulepreload" href="static/([^"]+)">', page(found))
    assert {"js/main.js", "js/choose.js", "js/languages/en.js"} <= set(early)
    assert not {"js/session.js", "js/wallets/evm.js", "js/languages/de.js"} & set(early)
    assert not set(early) - set(found)
    imported = {
        name
        for each in early
        for name in re.findall(r'^import .*"\./([^"]+)"', found[each].body.decode(), re.MULTILINE)
    }
    assert {f"js/{name}" for name in imported if not name.startswith("languages")} <= set(early)
    first = [*early, "index.html", "page.css", "icon.svg"]
    assert sum(len(found[name].packed or found[name].body) for name in first) <= MOST_BYTES
    german = dressed(read_assets(), CheckoutSettings(language="de"))
    assert '<link rel="modulepreload" href="static/js/languages/de.js">' in page(german)


def test_name_and_return_address_are_text_and_never_markup() -> None:
    looks = CheckoutSettings(name='<b>"Shop" & Co', return_url="https://shop.example/?a=1&b='\">", language="de")
    html = page(dressed(read_assets(), looks))
    assert "<b>" not in html
    assert 'data-name="&lt;b&gt;&quot;Shop&quot; &amp; Co"' in html
    assert 'data-return="https://shop.example/?a=1&amp;b=&#x27;&quot;&gt;"' in html
    assert "<title>&lt;b&gt;&quot;Shop&quot; &amp; Co</title>" in html
    assert '<html lang="de"' in html


def test_the_logo_is_a_file_of_ours(tmp_path: Path) -> None:
    logo = tmp_path / "Shop.SVG"
    logo.write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    found = dressed(read_assets(), CheckoutSettings(logo_file=logo))
    assert (found["logo.svg"].body, found["logo.svg"].kind) == (logo.read_bytes(), "image/svg+xml")
    assert '<img src="static/logo.svg"' in page(found)
    logo.write_bytes(b" " * 262_145)
    with pytest.raises(ConfigurationError, match="262145 bytes"):
        dressed(read_assets(), CheckoutSettings(logo_file=logo))
    logo.unlink()
    with pytest.raises(ConfigurationError, match="cannot be read"):
        dressed(read_assets(), CheckoutSettings(logo_file=logo))


@pytest.mark.parametrize("accent", ["#000000", "#0000ff", "#6b6b6b", "#b00020", "#4a148c"])
def test_whatever_the_colour_text_can_be_read(accent: str) -> None:
    css = dressed(read_assets(), CheckoutSettings(accent=accent))["page.css"].body.decode()
    themes = [dict(re.findall(r"(--[\w-]+): (#\w{6})", rules)) for rules in css.split(":root {")[-2:]]
    texts = (("#17201e", "#54625e"), ("#e6ecea", "#9fada8"))
    for theme, grounds, shown in zip(themes, (LIGHT, DARK), texts, strict=True):
        assert min(contrast(theme["--accent"], each) for each in grounds) >= 4.5
        assert contrast(theme["--on-accent"], theme["--accent"]) >= 4.5
        assert contrast(theme["--on-accent"], theme["--accent-strong"]) >= 4.5
        assert min(contrast(each, theme["--accent-soft"]) for each in shown) >= 4.5


def test_what_is_packed_is_the_same() -> None:
    for name, asset in read_assets().items():
        if asset.packed is not None:
            assert gzip.decompress(asset.packed) == asset.body, name
