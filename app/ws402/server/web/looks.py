"""The seller's looks on the checkout page: name, logo and colours, put into its files once, at the start."""

from __future__ import annotations

import re
from html import escape
from pathlib import Path, PurePosixPath
from typing import Final

from ws402.errors import ConfigurationError
from ws402.server.web.page import Asset, asset_of
from ws402.settings.checkout import DARK, LEAST_CONTRAST, LIGHT, CheckoutSettings, contrast, mixed

MAX_LOGO_BYTES: Final = 262_144
START: Final = "static/js/main.js"
_IMPORT: Final = re.compile(r"""^(?:import|export)\b[^;"']*["'](\.[^"']+)["']""", re.MULTILINE)


def dressed(assets: dict[str, Asset], looks: CheckoutSettings) -> dict[str, Asset]:
    """The page's files with the seller's looks in them. Raises ConfigurationError for a logo that cannot be had."""
    found = dict(assets)
    page = found["index.html"].body.decode()
    if looks.logo_file is not None:
        name = f"logo{looks.logo_file.suffix.lower()}"
        found[name] = asset_of(name, _logo(looks.logo_file))
        page = page.replace('<img src="static/icon.svg"', f'<img src="static/{name}"')
    told = {
        "name": looks.name.strip(),
        "language": looks.language,
        "return": looks.return_url,
        "embed": " ".join(looks.embed_origins),
    }
    data = "".join(f' data-{name}="{escape(value)}"' for name, value in told.items() if value)
    page = page.replace('<html lang="en">', f'<html lang="{looks.language or "en"}"{data}>')
    if looks.name.strip():
        page = re.sub(r"<title>.*?</title>", lambda _: f"<title>{escape(looks.name.strip())}</title>", page)
    modules = sorted(_needed(found, f"js/{PurePosixPath(START).name}"))
    if looks.language not in (None, "en"):
        modules.append(f"js/languages/{looks.language}.js")
    links = "".join(f'  <link rel="modulepreload" href="static/{each}">\n' for each in modules)
    found["index.html"] = asset_of("index.html", page.replace("</head>", f"{links}</head>").encode())
    if looks.accent or looks.accent_dark:
        found["page.css"] = asset_of("page.css", found["page.css"].body + _colours(looks).encode())
    return found


def _needed(assets: dict[str, Asset], start: str) -> set[str]:
    """A module and all that it imports: a browser that is told of them at once fetches them at once."""
    seen: set[str] = set()
    ahead = [start]
    while ahead:
        module = ahead.pop()
        if module in seen or module not in assets:
            continue
        seen.add(module)
        folder = PurePosixPath(module).parent
        for other in _IMPORT.findall(assets[module].body.decode()):
            parts: list[str] = []
            for part in (folder / other).parts:
                if part == "..":
                    parts.pop()
                else:
                    parts.append(part)
            ahead.append("/".join(parts))
    return seen


def _logo(path: Path) -> bytes:
    try:
        body = path.read_bytes()
    except OSError as error:
        told = f"The logo {path} cannot be read: {error.strerror or error}."
        raise ConfigurationError(told, remedy="Fix checkout.logo_file, or leave it out.") from error
    if len(body) > MAX_LOGO_BYTES:
        raise ConfigurationError(
            f"The logo {path} has {len(body)} bytes.", remedy=f"Make it at most {MAX_LOGO_BYTES} bytes."
        )
    return body


def _colours(looks: CheckoutSettings) -> str:
    """Rules that follow the page's own ones."""
    rules = ""
    if looks.accent is not None:
        rules += f"\n:root {{ {_theme(looks.accent, LIGHT[0], '#000000')} }}"
    dark = looks.accent_dark or _lightened(looks.accent or "")
    return f"{rules}\n@media (prefers-color-scheme: dark) {{ :root {{ {_theme(dark, DARK[0], '#ffffff')} }} }}\n"


def _theme(accent: str, card: str, stronger: str) -> str:
    on_accent = max(("#ffffff", "#06211c"), key=lambda each: contrast(each, accent))
    return (
        f"--accent: {accent}; --accent-strong: {mixed(accent, stronger, 0.25)}; --on-accent: {on_accent}; "
        f"--accent-soft: {mixed(card, accent, 0.12)};"
    )


def _lightened(accent: str) -> str:
    """The same colour, as far towards white as it takes to be read in the dark."""
    steps = (mixed(accent, "#ffffff", step / 20) for step in range(21))
    return next(each for each in steps if min(contrast(each, ground) for ground in DARK) >= LEAST_CONTRAST)
