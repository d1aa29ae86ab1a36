"""A file by ranges, for as long as it is paid for."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.server.conftest import PRICE, OpenShop
from tests.server.peer import Peer, Shop

CONTENT = bytes(range(256)) * 40


class Reader:
    def __init__(self, shop: Shop, peer: Peer, token: str) -> None:
        self.shop = shop
        self.peer = peer
        self.headers = {"Authorization": f"Bearer {token}"}

    async def read(self, method: str = "GET", path: str = "", **headers: str) -> tuple[int, bytes, dict[str, str]]:
        answer = await self.shop.http.request(method, f"/api/resource/film{path}", headers={**self.headers, **headers})
        return answer.status_code, answer.content, dict(answer.headers)


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "ein Film.mp4"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
async def reader(open_shop: OpenShop, film: Path) -> Reader:
    shop = await open_shop([{"id": "film", "kind": "file", "target": str(film), "price_per_second": PRICE}])
    peer = await shop.buy("film")
    return Reader(shop, peer, (await peer.expect("http_access_granted"))["httpToken"])


async def test_the_whole_file(reader: Reader) -> None:
    status, body, headers = await reader.read()
    assert (status, body) == (200, CONTENT)
    assert headers["content-type"] == "video/mp4"
    assert headers["content-length"] == str(len(CONTENT))
    assert headers["accept-ranges"] == "bytes"
    assert headers["content-disposition"] == "inline; filename*=UTF-8''ein%20Film.mp4"
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("wanted", "first", "last"),
    [
        ("bytes=0-99", 0, 99),
        ("bytes=100-", 100, len(CONTENT) - 1),
        ("bytes=-5", len(CONTENT) - 5, len(CONTENT) - 1),
        ("bytes=0-999999", 0, len(CONTENT) - 1),
        ("bytes=-999999", 0, len(CONTENT) - 1),
        ("bytes=7-7", 7, 7),
    ],
)
async def test_a_range(reader: Reader, wanted: str, first: int, last: int) -> None:
    status, body, headers = await reader.read(Range=wanted)
    assert (status, body) == (206, CONTENT[first : last + 1])
    assert headers["content-range"] == f"bytes {first}-{last}/{len(CONTENT)}"
    assert headers["content-length"] == str(last - first + 1)


@pytest.mark.parametrize("wanted", ["bytes=0-1,5-6", "bytes=9-3", "bytes=-", "lines=1-2", "bytes=a-b", "bytes 0-1"])
async def test_what_is_no_single_range_gets_the_whole(reader: Reader, wanted: str) -> None:
    status, body, _ = await reader.read(Range=wanted)
    assert (status, body) == (200, CONTENT)


@pytest.mark.parametrize("wanted", [f"bytes={len(CONTENT)}-", "bytes=999999-", "bytes=-0"])
async def test_a_range_beyond_the_end(reader: Reader, wanted: str) -> None:
    status, body, headers = await reader.read(Range=wanted)
    assert (status, body) == (416, b"")
    assert headers["content-range"] == f"bytes */{len(CONTENT)}"


async def test_validators(reader: Reader, film: Path) -> None:
    _, _, headers = await reader.read("HEAD")
    etag = headers["etag"]
    status, body, _ = await reader.read(**{"If-None-Match": f'"other", {etag}'})
    assert (status, body) == (304, b"")
    status, body, _ = await reader.read(Range="bytes=0-1", **{"If-Range": etag})
    assert (status, body) == (206, CONTENT[:2])
    film.write_bytes(b"another cut")
    status, body, _ = await reader.read(Range="bytes=0-1", **{"If-Range": etag})
    assert (status, body) == (200, b"another cut")


async def test_head_has_the_headers_and_no_body(reader: Reader) -> None:
    status, body, headers = await reader.read("HEAD")
    assert (status, body, headers["content-length"]) == (200, b"", str(len(CONTENT)))


async def test_nothing_else_can_be_done_to_it(reader: Reader, film: Path) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        status, _, _ = await reader.read(method)
        assert status == 405
    for path in ("/../secret", "/%2e%2e/secret", "/x"):
        status, _, _ = await reader.read(path=path)
        assert status == 404
    film.unlink()
    status, _, _ = await reader.read()
    assert status == 404


async def test_an_empty_file(reader: Reader, film: Path) -> None:
    film.write_bytes(b"")
    status, body, headers = await reader.read()
    assert (status, body, headers["content-length"]) == (200, b"", "0")
    assert (await reader.read(Range="bytes=0-"))[0] == 416


async def test_bytes_by_http_belong_to_the_usage(reader: Reader) -> None:
    await reader.read(Range="bytes=0-999")
    while (update := await reader.peer.expect("usage_update"))["bytesTransferred"] < 1000:
        pass
    assert update["bytesTransferred"] == 1000


async def test_a_download_is_cut_off_when_the_session_ends(reader: Reader, film: Path) -> None:
    film.write_bytes(b"x" * 50_000_000)
    connection, writer = await asyncio.open_connection("127.0.0.1", reader.shop.server.port)
    token = reader.headers["Authorization"]
    writer.write(f"GET /api/resource/film HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\n\r\n".encode())
    received = len(await connection.read(100_000))
    await reader.peer.close()
    await reader.shop.ended(reader.peer)
    try:
        async with asyncio.timeout(10):
            while piece := await connection.read(1_000_000):
                received += len(piece)
    except ConnectionError:
        pass
    assert received < 50_000_000
    writer.transport.abort()
