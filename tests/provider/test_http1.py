"""The thin HTTP client: whole answers or an error, whatever the other side does."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from ws402.provider.http1 import HttpClient, TransferError

Respond = Callable[[bytes, int], Awaitable[bytes | None]]
"""From the request's head and its number on this connection: what to send; None closes."""

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Site:
    def __init__(self) -> None:
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.connections = 0
        self.respond: Respond = self.ok
        self.port = 0
        self.active = 0

    @staticmethod
    async def ok(head: bytes, number: int) -> bytes | None:
        return OK

    def always(self, answer: bytes, *, close: bool = False) -> None:
        async def respond(head: bytes, number: int) -> bytes | None:
            return answer if number == 0 or not close else None

        self.respond = respond
        self.close_after = close

    close_after = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.active += 1
        number = 0
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if line.startswith(b"Content-Length")]
                self.bodies.append(await reader.readexactly(int(lengths[0]) if lengths else 0))
                answer = await self.respond(head, number)
                number += 1
                if answer is None:
                    break
                writer.write(answer)
                await writer.drain()
                if self.close_after:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            self.active -= 1

    async def quiet(self) -> None:
        """Wait until every connection has ended."""
        async with asyncio.timeout(5):
            while self.active:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.01)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    server = await asyncio.start_server(site.serve, "127.0.0.1", 0)
    site.port = server.sockets[0].getsockname()[1]
    yield site
    server.close()
    await server.wait_closed()
    await site.quiet()


@pytest.fixture
async def client(site: Site) -> AsyncIterator[HttpClient]:
    client = HttpClient(f"http://127.0.0.1:{site.port}/base/", {"X-Key": "k"}, timeout=2, connect_timeout=1)
    yield client
    await client.close()


async def test_request_and_answer(client: HttpClient, site: Site) -> None:
    site.always(b"HTTP/1.1 429 Too Many\r\nRetry-After: 7\r\nContent-Length: 3\r\n\r\nno!")
    answer = await client.request("POST", "/api/x", b"body")
    assert (answer.status, answer.content, answer.headers["retry-after"]) == (429, b"no!", "7")
    head = site.heads[0]
    assert head.startswith(b"POST /base/api/x HTTP/1.1\r\n")
    assert f"Host: 127.0.0.1:{site.port}\r\n".encode() in head
    assert b"X-Key: k\r\n" in head
    assert site.bodies == [b"body"]


async def test_one_connection_serves_many_requests_in_turn(client: HttpClient, site: Site) -> None:
    for _ in range(20):
        assert (await client.request("GET", "/")).content == b"ok"
    assert site.connections == 1


async def test_requests_at_once_have_their_own_connections_and_a_limit(client: HttpClient, site: Site) -> None:
    async def slow(head: bytes, number: int) -> bytes:
        await asyncio.sleep(0.05)
        return OK

    site.respond = slow
    await asyncio.gather(*(client.request("GET", "/") for _ in range(100)))
    assert 2 <= site.connections <= 32


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde",
    ],
)
async def test_framings(client: HttpClient, site: Site, answer: bytes) -> None:
    site.always(answer)
    for _ in range(3):
        assert (await client.request("GET", "/")).content == b"abcde"
    assert site.connections == 1


async def test_an_answer_in_small_pieces(client: HttpClient, site: Site) -> None:
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde"

    async def drip(head: bytes, number: int) -> bytes:
        return whole

    site.respond = drip
    reading = [await client.request("GET", "/") for _ in range(2)]
    assert {answer.content for answer in reading} == {b"abcde"}


async def test_an_answer_without_a_length_ends_with_its_connection(client: HttpClient, site: Site) -> None:
    site.always(b"HTTP/1.0 200 OK\r\n\r\nabcde", close=True)
    for _ in range(2):
        assert (await client.request("GET", "/")).content == b"abcde"
    assert site.connections == 2


async def test_a_connection_that_must_close_is_not_used_again(client: HttpClient, site: Site) -> None:
    site.always(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
    for _ in range(3):
        await client.request("GET", "/")
    assert site.connections == 3


async def test_a_kept_connection_that_was_closed_is_replaced(client: HttpClient, site: Site) -> None:
    async def once(head: bytes, number: int) -> bytes | None:
        return OK if number == 0 else None

    site.respond = once
    for _ in range(4):
        assert (await client.request("POST", "/", b"x")).content == b"ok"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"SMTP ready\r\n\r\n",
        b"\x00\x01\x02",
    ],
)
async def test_what_is_cut_off_or_no_http_is_an_error(client: HttpClient, site: Site, answer: bytes) -> None:
    site.always(answer, close=True)
    with pytest.raises(TransferError):
        await client.request("GET", "/")
    site.always(OK)
    site.close_after = False
    assert (await client.request("GET", "/")).content == b"ok"


async def test_an_answer_that_is_too_large_is_an_error(
    client: HttpClient, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ws402.provider.http1.MAX_ANSWER_BYTES", 100)
    site.always(b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n" + b"x" * 101)
    with pytest.raises(TransferError, match="too large"):
        await client.request("GET", "/")


async def test_silence_times_out_and_its_late_answer_goes_to_nobody(client: HttpClient, site: Site) -> None:
    async def late(head: bytes, number: int) -> bytes:
        if b"/late" in head:
            await asyncio.sleep(0.3)
            return OK.replace(b"ok", b"no")
        return OK

    site.respond = late
    await client.request("GET", "/")
    began = time.monotonic()
    with pytest.raises(TransferError, match="timed out"):
        await client.request("GET", "/late", seconds=0.1)
    assert time.monotonic() - began < 0.3
    for _ in range(5):
        assert (await client.request("GET", "/")).content == b"ok"
        await asyncio.sleep(0.1)


async def test_a_cancelled_request_leaves_no_answer_for_the_next(client: HttpClient, site: Site) -> None:
    async def slow(head: bytes, number: int) -> bytes:
        if b"/slow" in head:
            await asyncio.sleep(0.1)
            return OK.replace(b"ok", b"no")
        return OK

    site.respond = slow
    task = asyncio.create_task(client.request("GET", "/slow"))
    await asyncio.sleep(0.05)
    task.cancel()
    assert (await client.request("GET", "/")).content == b"ok"
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_nobody_listens() -> None:
    client = HttpClient("http://127.0.0.1:1", {}, timeout=2, connect_timeout=1)
    with pytest.raises(TransferError, match="ConnectionRefusedError"):
        await client.request("GET", "/")
    await client.close()


async def test_a_name_that_does_not_exist() -> None:
    client = HttpClient("http://gateway.invalid", {}, timeout=5, connect_timeout=5)
    with pytest.raises(TransferError):
        await client.request("GET", "/")
    await client.close()


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\0b"])
def test_a_header_cannot_hold_another(value: str) -> None:
    with pytest.raises(ValueError, match="line break"):
        HttpClient("http://127.0.0.1", {"X-Key": value}, timeout=1, connect_timeout=1)


async def test_tls_is_verified(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-keyout", str(key), "-out", str(certificate), "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost"],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    site = Site()
    async with AsyncExitStack() as stack:
        server = await asyncio.start_server(site.serve, "127.0.0.1", 0, ssl=context)
        stack.push_async_callback(site.quiet)
        stack.push_async_callback(server.wait_closed)
        stack.callback(server.close)
        url = f"https://localhost:{server.sockets[0].getsockname()[1]}"
        for trusted in (True, False):
            tls = ssl.create_default_context(cafile=str(certificate) if trusted else None)
            client = HttpClient(url, {}, timeout=2, connect_timeout=1, tls=lambda tls=tls: tls)
            if trusted:
                assert (await client.request("GET", "/")).content == b"ok"
            else:
                with pytest.raises(TransferError, match="certificate is not accepted: self-signed"):
                    await client.request("GET", "/")
            await client.close()
