"""How the checkout page's files are served; what the page does is tested in a browser."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from litestar import Litestar

from ws402.errors import WS402Error
from ws402.server.addresses import TrustedProxies
from ws402.server.web.answers import ws402_error
from ws402.server.web.page import page_handlers, read_assets


@pytest.fixture
async def web(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    folder = tmp_path / "static"
    (folder / "modules").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html><title>Pay</title>")
    (folder / "modules" / "app.js").write_text("export const answer = 42")
    (folder / "style.css").write_text("body {}")
    (folder / ".hidden").write_text("secret")
    (tmp_path / "outside.txt").write_text("secret")
    app = Litestar(
        page_handlers(read_assets(folder), TrustedProxies([])),
        openapi_config=None,
        exception_handlers={WS402Error: ws402_error},
    )
    transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://shop.example") as client:
        yield client


async def test_the_page_runs_its_own_scripts_only(web: httpx.AsyncClient) -> None:
    answer = await web.get("/")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = answer.headers["Content-Security-Policy"]
    for rule in ("default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"):
        assert rule in policy
    assert "unsafe" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"


async def test_sites_that_are_named_may_show_it_in_a_frame_and_no_others() -> None:
    handlers = page_handlers(read_assets(), TrustedProxies([]), ["https://shop.example", "https://a.example:8443"])
    transport = httpx.ASGITransport(app=Litestar(handlers, openapi_config=None))  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://pay.example") as client:
        policy = (await client.get("/")).headers["Content-Security-Policy"]
    assert policy.endswith("; frame-ancestors https://shop.example https://a.example:8443")
    assert "'none'; form-action 'none'" in policy


async def test_head_has_no_body(web: httpx.AsyncClient) -> None:
    answer = await web.head("/")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/static/modules/app.js", "text/javascript; charset=utf-8"),
        ("/static/style.css", "text/css; charset=utf-8"),
        ("/static/index.html", "text/html; charset=utf-8"),
    ],
)
async def test_files_have_their_types(web: httpx.AsyncClient, path: str, kind: str) -> None:
    answer = await web.get(path)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, kind)


async def test_a_browser_asks_again_and_is_told_that_nothing_changed(web: httpx.AsyncClient) -> None:
    for path in ("/", "/static/modules/app.js"):
        first = await web.get(path)
        assert first.headers["Cache-Control"] == "no-cache"
        again = await web.get(path, headers={"If-None-Match": first.headers["ETag"]})
        assert (again.status_code, again.content) == (304, b"")
        other = await web.get(path, headers={"If-None-Match": '"another"'})
        assert other.status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/static/../outside.txt",
        "/static/%2e%2e/outside.txt",
        "/static/.hidden",
        "/static/modules",
        "/static//etc/passwd",
    ],
)
async def test_nothing_else_is_served(web: httpx.AsyncClient, path: str) -> None:
    answer = await web.get(path)
    assert answer.status_code == 404
    assert "secret" not in answer.text
