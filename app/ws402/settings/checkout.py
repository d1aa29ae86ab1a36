"""Settings of the checkout page: the seller's looks, its language, and what amounts are about in another currency."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from ws402.settings.base import StrictSettings

Colour = tuple[int, int, int]

LEAST_CONTRAST: Final = 4.5
"""Of text to what is behind it (https://www.w3.org/TR/WCAG22/#contrast-minimum)."""

LIGHT: Final = ("#ffffff", "#f4f6f4", "#f1f5f3")
DARK: Final = ("#171d1c", "#0f1413", "#1e2624")
"""What is behind the page's text: cards (the first), the ground, and what is let into cards."""

LOGO_KINDS: Final = (".svg", ".png", ".webp", ".jpg", ".jpeg")

_ORIGIN: Final = re.compile(
    r"(?:https://[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*|http://(?:localhost|127\.0\.0\.1))"
    r"(?::(?P<port>[0-9]{1,5}))?"
)
"""As browsers write an origin (RFC 6454, 6.2)."""

_COLOUR: Final = re.compile(r"#[0-9a-fA-F]{6}")


def rgb(colour: str) -> Colour:
    """`#rrggbb` as three numbers."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def mixed(colour: str, other: str, share: float) -> str:
    """A colour with a share of another one in it."""
    parts = (round(one + (two - one) * share) for one, two in zip(rgb(colour), rgb(other), strict=True))
    return "#" + "".join(f"{each:02x}" for each in parts)


def contrast(one: str, other: str) -> float:
    """From 1 to 21 (https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio)."""
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    parts = [each / 255 for each in rgb(colour)]
    red, green, blue = (each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


class CheckoutSettings(StrictSettings):
    """How the checkout page looks and speaks."""

    name: str = Field(default="", max_length=60)
    """The seller's name, at the head of the page."""
    logo_file: Path | None = None
    """The seller's logo: a file (SVG, PNG, WebP, JPEG; 256 KiB at most) that this server gives out. The page loads
    nothing from other sites."""
    accent: str | None = None
    """Colour of buttons and links, as `#0c6e60`. One that cannot be read on the page is refused."""
    accent_dark: str | None = None
    """The same in the dark; by default `accent`, lightened as far as it must be to be read."""
    return_url: str | None = None
    """Where "Back to the shop" leads (`https://…`)."""
    embed_origins: list[str] = []
    """Sites that may show the page in a frame, and are told what happens there (`https://shop.example`); none by
    default."""
    language: Literal["en", "de"] | None = None
    """The page's language; by default the visitor's. `?lang=de` in its address goes before both."""
    fiat_currency: str | None = Field(default=None, pattern=r"^[A-Z]{3}$")
    """A currency (ISO 4217) in which the page shows what amounts are about, as "≈ 0.36 €". Nothing is reckoned with
    it."""
    fiat_rates_url: str | None = None
    """Where its rates are, asked by this server at most every five minutes. A JSON object: `{"at":
    "2026-01-31T12:00:00Z", "rates": {"ETH": "2815.40"}}`. Rates older than an hour are not shown."""
    fiat_rates_file: Path | None = None
    """Or a file of the same form."""

    @field_validator("logo_file", mode="before")
    @classmethod
    def _logo(cls, value: object) -> object:
        if isinstance(value, str) and "://" in value:
            msg = "logo_file is a file of this machine, not an address; save the picture here and name its path"
            raise ValueError(msg)
        if value is not None and Path(str(value)).suffix.lower() not in LOGO_KINDS:
            msg = f"logo_file must be one of {', '.join(LOGO_KINDS)}"
            raise ValueError(msg)
        return value

    @field_validator("return_url", "fiat_rates_url")
    @classmethod
    def _https(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            parts = urlsplit(value)
            fine = parts.scheme == "https" and parts.hostname and not parts.username and value.isprintable()
        except ValueError:
            fine = False
        if not fine or " " in value:
            msg = "write an address that begins with https:// and a host, without a user's name"
            raise ValueError(msg)
        return value

    @field_validator("embed_origins")
    @classmethod
    def _origins(cls, value: list[str]) -> list[str]:
        for each in value:
            match = _ORIGIN.fullmatch(each)
            if match is None or not 0 < int(match["port"] or 1) <= 65535:
                msg = (
                    f"'{each[:100]}' is no site that may embed the page; write https://host or https://host:port, in"
                    " lower case and without a path (http:// for this machine only)"
                )
                raise ValueError(msg)
        return [each.removesuffix(":443") if each.startswith("https:") else each.removesuffix(":80") for each in value]

    @field_validator("accent", "accent_dark")
    @classmethod
    def _colour(cls, value: str | None) -> str | None:
        if value is not None and not _COLOUR.fullmatch(value):
            msg = "write a colour as # and six hexadecimal digits, such as #0c6e60"
            raise ValueError(msg)
        return value.lower() if value else None

    @model_validator(mode="after")
    def _legible(self) -> Self:
        for name, colour, grounds in (("accent", self.accent, LIGHT), ("accent_dark", self.accent_dark, DARK)):
            if colour is None:
                continue
            worst = min(contrast(colour, each) for each in grounds)
            if worst < LEAST_CONTRAST:
                meant = "darker" if grounds is LIGHT else "lighter"
                msg = (
                    f"{name} = '{colour}' cannot be read on the page: its contrast is {worst:.2f}:1, and must be "
                    f"{LEAST_CONTRAST}:1; take a {meant} one"
                )
                raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _rates(self) -> Self:
        sources = [self.fiat_rates_url, self.fiat_rates_file]
        if sum(each is not None for each in sources) != (self.fiat_currency is not None):
            msg = "fiat_currency goes together with one of fiat_rates_url and fiat_rates_file"
            raise ValueError(msg)
        return self
