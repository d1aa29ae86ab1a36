"""The checkout page and its modules: files of one folder, read once, served with a strict Content-Security-Policy."""

from __future__ import annotations

import gzip
import mimetypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from litestar import Response, route
from litestar.enums import HttpMethod
from litestar.handlers import HTTPRouteHandler

from ws402.errors import NotFoundError
from ws402.limits import PerMinute
from ws402.server.addresses import TrustedProxies, group
from ws402.server.web.answers import AnyRequest, takes_gzip
from ws402.server.web.callers import client_address

FOLDER: Final = Path(__file__).parent.parent / "static"

KINDS: Final = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".svg": "image/svg+xml"}

FILES_PER_MINUTE: Final = 1200
"""Files of the page that one address may have in a minute: some thirty for a visit."""

READING: Final = [HttpMethod.GET, HttpMethod.HEAD]

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "manifest-src 'self'; connect-src 'self' ws: wss: http://127.0.0.1:* http://localhost:*; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The page runs its own modules only; it talks to this server and, with a development chain, to a node nearby."""

HEADERS: Final = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin-allow-popups",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    # Names carry no version, so a browser asks each time whether what it has is still the newest; mostly 304.
    "cache-control": "no-cache",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file."""

    body: bytes
    kind: str
    etag: str
    packed: bytes | None
    """By gzip, where that makes it smaller."""


def read_assets(folder: Path = FOLDER) -> dict[str, Asset]:
    """Every file of the folder by its path below it. Nothing outside it can ever be asked for."""
    assets = {}
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.name.startswith("."):
            continue
        assets[path.relative_to(folder).as_posix()] = asset_of(path.name, path.read_bytes())
    return assets


def asset_of(name: str, body: bytes) -> Asset:
    """A file of that name."""
    suffix = Path(name).suffix
    kind = KINDS.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
    packed = gzip.compress(body, 9, mtime=0) if suffix in KINDS else body
    return Asset(body, kind, sha256(body).hexdigest()[:32], packed if len(packed) < len(body) else None)


def page_handlers(
    assets: dict[str, Asset], proxies: TrustedProxies, embed_origins: Sequence[str] = ()
) -> list[HTTPRouteHandler]:
    """`/` is index.html; `/static/…` is everything. `embed_origins` may show it in a frame."""
    asked = PerMinute(FILES_PER_MINUTE)
    ancestors = " ".join(embed_origins) or "'none'"
    fixed = HEADERS | {
        "content-security-policy": POLICY.replace("frame-ancestors 'none'", f"frame-ancestors {ancestors}")
    }

    @route("/", http_method=READING)
    async def index(request: AnyRequest) -> Response[bytes]:
        asked.take(group(client_address(proxies, request.scope)))
        return _answer(assets, "index.html", request, fixed)

    @route("/static/{path:path}", http_method=READING)
    async def asset(request: AnyRequest) -> Response[bytes]:
        asked.take(group(client_address(proxies, request.scope)))
        return _answer(assets, Path(request.path_params["path"]).as_posix().lstrip("/"), request, fixed)

    return [index, asset]


def _answer(assets: dict[str, Asset], name: str, request: AnyRequest, fixed: Mapping[str, str]) -> Response[bytes]:
    found = assets.get(name)
    if found is None:
        raise NotFoundError("There is nothing at this path.")
    packed = found.packed if takes_gzip(request.headers.get("accept-encoding", "")) else None
    etag = f'"{found.etag}{"-gzip" if packed is not None else ""}"'
    headers = {**fixed, "etag": etag, "vary": "accept-encoding"}
    if etag in [each.strip() for each in request.headers.get("if-none-match", "").split(",")]:
        return Response(b"", status_code=304, headers=headers)
    if packed is not None:
        headers["content-encoding"] = "gzip"
    return Response(found.body if packed is None else packed, media_type=found.kind, headers=headers)
