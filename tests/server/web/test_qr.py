"""QR codes of payment links: drawn for these only."""

from __future__ import annotations

import re

import pytest
import segno

from ws402.errors import InvalidRequestError
from ws402.server.web.qr import qr_svg

LINK = "ethereum:0x0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a@84532?value=600000000000000"


def test_the_code_has_the_modules_of_the_link() -> None:
    svg = qr_svg(LINK).decode()
    matrix = segno.make_qr(LINK, error="m").matrix
    path = re.search(r'class="qrline"[^>]* d="([^"]+)"', svg)
    assert path
    drawn: set[tuple[int, int]] = set()
    x, y = 0.0, 0.0
    for command, first, second in re.findall(r"([Mmh])(-?[\d.]+)(?: (-?[\d.]+))?", path[1]):
        if command == "M":
            x, y = float(first), float(second)
        elif command == "m":
            x, y = x + float(first), y + float(second)
        else:
            drawn |= {(int(y), int(x) + at) for at in range(int(first))}
            x += int(first)
    border = 3
    wanted = {
        (row + border, column + border) for row, line in enumerate(matrix) for column, dark in enumerate(line) if dark
    }
    assert drawn == wanted


@pytest.mark.parametrize(
    "text",
    ["", "https://example.org", "ethereum", "javascript:alert(1)", LINK + "a" * 512, "ethereum:\n", "ethereum:é"],
)
def test_nothing_else_is_drawn(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="payment link"):
        qr_svg(text)


def test_solana_links_are_drawn() -> None:
    assert b"<svg" in qr_svg("solana:abc?amount=1")
