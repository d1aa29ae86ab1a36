"""The reverse proxy: faithful to the upstream, and never a way around it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin

import httpx
import pytest
from tests.fixtures.asgi import lifespan
from tests.server.conftest import PRICE, OpenShop
from tests.server.peer import Peer, Shop

from ws402.serving import HttpServer

Upstream = Callable[..., Awaitable[None]]


class Web:
    """A service that says what it was asked."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.hold = asyncio.Event()
        self.server = HttpServer("127.0.0.1", 0)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
            return
        path = scope["raw_path"].decode()
        if path.endswith("/slow"):
            await self._slowly(send)
            return
        if path.endswith("/moved"):
            address = (
                dict(scope["headers"])[b"x-location"]
                .replace(b"//HOST", self.server.url[5:].encode())
                .replace(b"HOST", self.server.url.encode())
            )
            await send({"type": "http.response.start", "status": 302, "headers": [(b"location", address)]})
            await send({"type": "http.response.body"})
            return
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        seen = {
            "method": scope["method"],
            "path": path,
            "query": scope["query_string"].decode(),
            "headers": {name.decode(): value.decode("latin-1") for name, value in scope["headers"]},
            "body": body.decode("latin-1"),
        }
        self.requests.append(seen)
        encoded = json.dumps(seen).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(encoded)).encode()),
            (b"set-cookie", b"upstream=1"),
            (b"x-own", b"kept"),
            (b"content-security-policy", b"default-src *"),
            (b"cache-control", b"public, max-age=99"),
        ]
        await send(
            {"type": "http.response.start", "status": 404 if path.endswith("/gone") else 200, "headers": headers}
        )
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else encoded})

    async def _slowly(self, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        await self.hold.wait()
        await send({"type": "http.response.body", "body": b"second", "more_body": False})


@pytest.fixture
async def web() -> AsyncIterator[Web]:
    web = Web()
    await web.server.start(web)
    yield web
    web.hold.set()
    await web.server.close()


class Visitor:
    def __init__(self, shop: Shop, peer: Peer, token: str) -> None:
        self.shop = shop
        self.peer = peer
        self.token = token

    async def ask(self, path: str = "", method: str = "GET", **options: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token}", **options.pop("headers", {})}
        return await self.shop.http.request(method, f"/api/resource/api{path}", headers=headers, **options)

    async def raw(self, path: str, *, headers: str = "") -> bytes:
        """A request line exactly as given."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.shop.server.port)
        writer.write(
            f"GET /api/resource/api{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            f"Authorization: Bearer {self.token}\r\n{headers}\r\n".encode("latin-1")
        )
        async with asyncio.timeout(5):
            answer = await reader.read(-1)
        writer.close()
        await writer.wait_closed()
        return answer


@pytest.fixture
async def visitor(open_shop: OpenShop, web: Web) -> Visitor:
    target = f"{web.server.url}/base"
    shop = await open_shop([{"id": "api", "kind": "http", "target": target, "price_per_second": PRICE}])
    peer = await shop.buy("api")
    return Visitor(shop, peer, (await peer.expect("http_access_granted"))["httpToken"])


@pytest.mark.parametrize(
    ("path", "query", "expected"),
    [
        ("", {}, "/base"),
        ("/", {}, "/base/"),
        ("/a/b", {"x": "1", "y": "a b"}, "/base/a/b"),
        ("/a%20b/%C3%A4", {}, "/base/a%20b/%C3%A4"),
        ("/a//b", {}, "/base/a//b"),
        ("/schema-of/this", {}, "/base/schema-of/this"),
        ("/a;v=1/b;w", {}, "/base/a;v=1/b;w"),
        ("/...", {}, "/base/..."),
        ("/.well-known/x..y", {}, "/base/.well-known/x..y"),
        ("/%E4", {}, "/base/%E4"),
    ],
)
async def test_the_path_and_query_go_below_the_target(
    visitor: Visitor, path: str, query: dict[str, str], expected: str
) -> None:
    seen = (await visitor.ask(path, params=query)).json()
    assert seen["path"] == expected
    assert seen["query"] == "&".join(f"{name}={quote(value).replace('%20', '+')}" for name, value in query.items())


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
async def test_method_body_and_headers_pass(visitor: Visitor, method: str) -> None:
    seen = (await visitor.ask("/x", method, content=b"a\x00b", headers={"X-Mine": "7", "Accept": "x/y"})).json()
    assert (seen["method"], seen["body"]) == (method, "a\x00b")
    assert seen["headers"]["x-mine"] == "7"
    assert seen["headers"]["accept"] == "x/y"
    assert seen["headers"]["content-length"] == "3"


async def test_a_body_of_unknown_length_is_streamed(visitor: Visitor) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(50):
            yield b"x" * 10_000

    seen = (await visitor.ask("/x", "POST", content=pieces())).json()
    assert len(seen["body"]) == 500_000


async def test_the_token_and_cookies_stay_here(visitor: Visitor, web: Web) -> None:
    await visitor.ask("/x", headers={"Cookie": "ours=1", "X-WS402-User": "root", "X-WS402-Session": "forged"})
    await visitor.shop.get("/api/resource/api/x", params={"token": visitor.token, "keep": "1"})
    for seen in web.requests:
        assert visitor.token not in json.dumps(seen)
        assert "cookie" not in seen["headers"]
        assert seen["headers"]["x-ws402-user"] == "ann"
        assert seen["headers"]["x-ws402-session"] == visitor.peer.id
    assert web.requests[1]["query"] == "keep=1"


async def test_an_authorization_for_the_upstream_passes_when_the_token_is_in_the_query(
    visitor: Visitor, web: Web
) -> None:
    header = {"Authorization": "Basic dXA6cGFzcw=="}
    await visitor.shop.get("/api/resource/api/x", params={"token": visitor.token}, headers=header)
    assert web.requests[0]["headers"]["authorization"] == header["Authorization"]


async def test_the_upstream_is_told_nothing_that_the_client_did_not_say(visitor: Visitor, web: Web) -> None:
    await visitor.raw("/x", headers="X-Latin: caf\xe9\r\n")
    ours = {"x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-ws402-session", "x-ws402-user"}
    assert set(web.requests[0]["headers"]) == {"host", "x-latin", *ours}
    assert web.requests[0]["headers"]["x-latin"] == "caf\xe9"
    await visitor.raw("/x", headers="Accept-Encoding: br\r\nUser-Agent: mine\r\nAccept: a/b\r\n")
    seen = web.requests[1]["headers"]
    assert (seen["accept-encoding"], seen["user-agent"], seen["accept"]) == ("br", "mine", "a/b")


FORGED = (
    "X-Forwarded-For: 192.0.2.77\r\nX-Forwarded-Host: evil.example\r\nX-Forwarded-Proto: https\r\n"
    "Forwarded: for=192.0.2.77\r\nX-Real-IP: 192.0.2.77\r\nTrue-Client-IP: 192.0.2.77\r\n"
    "X_Forwarded_For: 192.0.2.77\r\n"
    "X-Forwarded-Port: 77\r\nX_WS402_User: root\r\nX-WS402_Session: forged\r\nX.WS402.User: root\r\n"
)


async def test_what_a_client_says_of_itself_is_not_passed_as_what_we_saw(visitor: Visitor, web: Web) -> None:
    await visitor.raw("/x", headers=FORGED)
    seen = web.requests[0]["headers"]
    assert "192.0.2.77" not in json.dumps(seen)
    assert "root" not in json.dumps(seen)
    assert "forged" not in json.dumps(seen)
    assert "x-forwarded-port" not in seen
    told = (seen["x-forwarded-for"], seen["x-forwarded-proto"], seen["x-forwarded-host"])
    assert told == ("127.0.0.1", "http", "x")


async def test_what_a_trusted_proxy_says_is_passed_on(open_shop: OpenShop, web: Web) -> None:
    api = {"id": "api", "kind": "http", "target": f"{web.server.url}/base", "price_per_second": PRICE}
    shop = await open_shop([api], trusted_proxies=["127.0.0.1"])
    peer = await shop.buy("api")
    visitor = Visitor(shop, peer, (await peer.expect("http_access_granted"))["httpToken"])
    await visitor.raw("/x", headers=FORGED.replace("evil", "shop"))
    seen = web.requests[0]["headers"]
    told = (seen["x-forwarded-for"], seen["x-forwarded-proto"], seen["x-forwarded-host"])
    assert told == ("192.0.2.77", "https", "shop.example")


async def test_a_redirect_stays_below_the_path_of_a_site(open_shop: OpenShop, web: Web) -> None:
    api = {"id": "api", "kind": "http", "target": f"{web.server.url}/base", "price_per_second": PRICE}
    shop = await open_shop([api], public_url="https://host.example/shop")
    peer = await shop.buy("api")
    granted = await peer.expect("http_access_granted")
    visitor = Visitor(shop, peer, granted["httpToken"])
    for path in ("/moved", "/a/b/moved"):
        answer = await visitor.ask(path, headers={"X-Location": "HOST/base/there/"})
        seen = urljoin(granted["resourceUrl"] + path, answer.headers["location"])
        assert seen == "https://host.example/shop/api/resource/api/there/"


async def test_headers_of_one_hop_do_not_pass(visitor: Visitor, web: Web) -> None:
    await visitor.raw(
        "/x", headers="Connection: x-drop, keep-alive\r\nX-Drop: 1\r\nTE: trailers\r\nProxy-Authorization: y\r\n"
    )
    for name in ("x-drop", "te", "proxy-authorization", "upgrade"):
        assert name not in web.requests[0]["headers"]


async def test_the_answer_passes_but_for_what_would_touch_our_own_origin(visitor: Visitor) -> None:
    answer = await visitor.ask("/gone")
    assert answer.status_code == 404
    assert answer.headers["x-own"] == "kept"
    assert "set-cookie" not in answer.headers
    assert answer.headers["cache-control"] == "private, no-store"
    assert answer.headers["content-security-policy"].startswith("sandbox")


@pytest.mark.parametrize(
    "path",
    [
        "/../secret",
        "/a/../../secret",
        "/..",
        "/./x",
        "/%2e%2e/secret",
        "/%252e%252e/secret",
        "/..%2fsecret",
        "/a%5c..%5csecret",
        "/..%00/secret",
        "/a%0d%0aX-Evil:%201",
        "/..;/secret",
        "/..;x=1/secret",
        "/a/%2e%2e;/secret",
        "/..%3bx/secret",
        "/.;/secret",
        "/..%20/secret",
        "/%u002e%u002e/secret",
        "/%25u002e%25u002e/secret",
        "/%c0%ae%c0%ae/secret",
        "/%ef%bc%8e%ef%bc%8e/secret",
        "/a%ef%bc%8fb",
        "/.%09./secret",
        "/a%2fb",
        "/a%",
    ],
)
async def test_nothing_leads_out_of_the_target(visitor: Visitor, web: Web, path: str) -> None:
    answer = await visitor.raw(path)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert web.requests == []


@pytest.mark.parametrize("path", ["//evil.example/x", "/@evil.example/x", "/http://evil.example/x", "/?u=http://evil/"])
async def test_an_address_in_the_path_is_only_a_path(visitor: Visitor, web: Web, path: str) -> None:
    await visitor.raw(path)
    assert web.requests[0]["path"].startswith("/base/")


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("/base/there?x=1#part", "/api/resource/api/there?x=1#part"),
        ("HOST/base/there", "/api/resource/api/there"),
        ("/base", "/api/resource/api"),
        ("next", "/api/resource/api/a/next"),
        ("../up?x", "/api/resource/api/up?x"),
        ("../../up", None),
        ("//HOST/base/there", "/api/resource/api/there"),
        ("/base/..;/x", None),
        ("https://elsewhere.example/there", "https://elsewhere.example/there"),
        ("/status", None),  # of the upstream, not ours
        ("HOST/other", None),
        ("/baseless", None),
        ("/base/../other", None),
    ],
)
async def test_a_redirect_leads_through_this_server(visitor: Visitor, address: str, shown: str | None) -> None:
    headers = {"X-Location": address}
    answer = await visitor.ask("/a/moved", headers=headers)
    assert answer.status_code == 302
    location = answer.headers.get("location")
    assert (location if location is None else urljoin("/api/resource/api/a/moved", location)) == shown
    with_token = await visitor.shop.get("/api/resource/api/a/moved", params={"token": visitor.token}, headers=headers)
    inside = shown is not None and not shown.startswith("https:")
    assert (visitor.token in with_token.headers.get("location", "")) is inside


@pytest.mark.parametrize("query", ["a=1&&b", "x=a+b%20c&x=%2F", "flag", "=", "q=%C3%A4&q=~"])
async def test_a_query_passes_as_it_was_written(visitor: Visitor, web: Web, query: str) -> None:
    await visitor.raw(f"/x?{query}&%74oken={visitor.token}")
    assert web.requests[0]["query"] == query


async def test_a_range_is_asked_for_and_its_part_is_told(open_shop: OpenShop, tmp_path: Path) -> None:
    """By a server that knows ranges: another of ours, which sells a file."""
    (tmp_path / "film").write_bytes(bytes(range(256)) * 40)
    film = {"id": "film", "kind": "file", "target": str(tmp_path / "film"), "price_per_second": PRICE}
    inner = await open_shop([film])
    seat = await inner.buy("film")
    token = (await seat.expect("http_access_granted"))["httpToken"]
    outer = await open_shop(
        [{"id": "api", "kind": "http", "target": f"{inner.url}/api/resource/film", "price_per_second": PRICE}]
    )
    peer = await outer.buy("api")
    mine = (await peer.expect("http_access_granted"))["httpToken"]
    headers = {"Authorization": f"Bearer {token}", "Range": "bytes=250-259"}
    answer = await outer.get("/api/resource/api", params={"token": mine}, headers=headers)
    assert (answer.status_code, answer.headers["content-range"]) == (206, "bytes 250-259/10240")
    assert answer.content == bytes([250, 251, 252, 253, 254, 255, 0, 1, 2, 3])
    none = await outer.get("/api/resource/api", params={"token": mine}, headers=headers | {"Range": "bytes=99999-"})
    assert none.status_code == 416
    head = await outer.http.head("/api/resource/api", params={"token": mine}, headers=headers)
    assert head.content == b""


@pytest.mark.parametrize("framing", ["Content-Length: 100", "Transfer-Encoding: chunked"])
async def test_an_upstream_that_breaks_off_is_not_taken_for_whole(open_shop: OpenShop, framing: str) -> None:
    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 200 OK\r\n{framing}\r\n\r\n5\r\nfirst\r\n".encode())
        await writer.drain()
        writer.write_eof()  # half-closed: it would still listen
        await reader.read()
        writer.close()

    upstream = await asyncio.start_server(cut, "127.0.0.1", 0)
    port = upstream.sockets[0].getsockname()[1]
    shop = await open_shop(
        [{"id": "api", "kind": "http", "target": f"http://127.0.0.1:{port}", "price_per_second": PRICE}]
    )
    peer = await shop.buy("api")
    token = (await peer.expect("http_access_granted"))["httpToken"]
    with pytest.raises(httpx.RemoteProtocolError):
        await shop.get("/api/resource/api", params={"token": token})
    assert (await peer.expect("usage_update"))["bytesTransferred"] > 0  # the session goes on
    upstream.close()


async def test_pieces_arrive_as_they_are_made_and_the_end_of_the_session_cuts_them(visitor: Visitor, web: Web) -> None:
    headers = {"Authorization": f"Bearer {visitor.token}"}
    async with visitor.shop.http.stream("GET", "/api/resource/api/slow", headers=headers) as answer:
        pieces = answer.aiter_raw()
        assert await anext(pieces) == b"first"
        await visitor.peer.close()
        await visitor.shop.ended(visitor.peer)
        web.hold.set()
        with pytest.raises(httpx.TransportError):
            await anext(pieces)


async def test_an_upstream_that_is_away_is_502_and_says_no_more(open_shop: OpenShop) -> None:
    shop = await open_shop([{"id": "api", "kind": "http", "target": "http://127.0.0.1:1", "price_per_second": PRICE}])
    peer = await shop.buy("api")
    token = (await peer.expect("http_access_granted"))["httpToken"]
    answer = await shop.get("/api/resource/api/x", params={"token": token})
    assert (answer.status_code, answer.json()["code"]) == (502, "resource_unavailable")
    assert "127.0.0.1" not in answer.text
