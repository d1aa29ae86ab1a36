"""TLS between servers and gateway: whom each trusts, renewed files, and what is told to whom speaks something else."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from tests.fixtures.certificates import Authority, Pair

from ws402 import files, tls
from ws402.errors import ConfigurationError, ForbiddenError, UnavailableError
from ws402.gateway.api.app import GatewayApp
from ws402.gateway.auth.keys import Authenticator
from ws402.protocol import GenerateRequest
from ws402.provider.credentials import LinkFiles
from ws402.provider.mock.service import MockPaymentService
from ws402.provider.proxy import ProxyPaymentProvider
from ws402.serving import HttpServer
from ws402.settings import GatewaySettings, load

KEY = "k" * 40
GENERATE = GenerateRequest(amount=1000, resource_id="feed", estimated_duration=10)


@pytest.fixture(autouse=True)
def _look_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LOOK_SECONDS", 0.0)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@asynccontextmanager
async def serving(pair: Pair, client_ca: Path | None = None) -> AsyncIterator[str]:
    settings = load(GatewaySettings, gateway_api_key=KEY)
    app = GatewayApp(MockPaymentService(), Authenticator(settings), settings)
    server = HttpServer("127.0.0.1", 0, tls=tls.serving(pair.cert, pair.key, client_ca))
    await server.start(app.app, strangers=app.strangers if client_ca else None)
    yield server.url
    await server.close()


def provider(url: str, ca: Path | None, pair: Pair | None = None) -> ProxyPaymentProvider:
    mine = LinkFiles(ca, *(pair or (None, None)))
    return ProxyPaymentProvider(url, KEY, files=mine, timeout=5, retry_attempts=1)


async def asks(provider: ProxyPaymentProvider) -> bool:
    return (await provider.generate_payment_details(GENERATE)).amount == 1000


async def certificate(url: str) -> bytes:
    """The certificate that a new connection is shown."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", int(url.rsplit(":", 1)[1]), ssl=context)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    await writer.wait_closed()
    return bytes(shown)


async def test_a_server_trusts_the_gateways_authority_and_no_other(authority: Authority, tmp_path: Path) -> None:
    async with serving(authority.issue("gateway")) as url:
        good = provider(url, authority.file)
        assert url.startswith("https://")
        assert await asks(good)
        assert await good.health_check()
        for ca, told in ((Authority(tmp_path / "other").file, "certificate"), (None, "certificate")):
            refused = provider(url, ca)
            with pytest.raises(UnavailableError, match=told):
                await asks(refused)
            await refused.close()
        await good.close()


async def test_a_certificate_for_another_name_is_refused(authority: Authority) -> None:
    async with serving(authority.issue("gateway", ["gateway.elsewhere.example"])) as url:
        refused = provider(url, authority.file)
        with pytest.raises(UnavailableError, match=r"certificate is not accepted: .*not valid for '127\.0\.0\.1'"):
            await asks(refused)
        await refused.close()


async def test_a_renewed_certificate_is_shown_and_open_connections_stay(authority: Authority) -> None:
    pair = authority.issue("gateway")
    trust = ssl.create_default_context(cafile=str(authority.file))
    async with serving(pair) as url, httpx.AsyncClient(verify=trust) as http:
        stream = (await http.get(f"{url}/api/health")).extensions["network_stream"]
        first = await certificate(url)
        authority.issue("gateway")
        second = await certificate(url)
        assert first != second
        kept = await http.get(f"{url}/api/health")
        assert kept.extensions["network_stream"] is stream
        assert (await certificate(url)) == second


async def test_a_volume_of_kubernetes_is_swapped_whole(authority: Authority, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()

    def mount(version: str) -> None:
        (volume / version).mkdir()
        pair = authority.issue("gateway")
        (volume / version / "tls.crt").write_bytes(pair.cert.read_bytes())
        (volume / version / "tls.key").write_bytes(pair.key.read_bytes())
        (volume / "..data_tmp").symlink_to(version)
        os.replace(volume / "..data_tmp", volume / "..data")

    mount("..1")
    for name in ("tls.crt", "tls.key"):
        (volume / name).symlink_to(f"..data/{name}")
    async with serving(Pair(volume / "tls.crt", volume / "tls.key")) as url:
        first = await certificate(url)
        mount("..2")
        assert await certificate(url) != first


@pytest.mark.parametrize("broken", ["no PEM", "gone", "the key of another"])
async def test_a_broken_pair_leaves_the_old_one_in_use(
    authority: Authority, caplog: pytest.LogCaptureFixture, broken: str
) -> None:
    pair = authority.issue("gateway")
    async with serving(pair) as url:
        first = await certificate(url)
        match broken:
            case "no PEM":
                pair.cert.write_text("nothing")
            case "gone":
                pair.key.unlink()
            case _:
                pair.key.write_bytes(authority.issue("another").key.read_bytes())
        with caplog.at_level(logging.ERROR):
            assert await certificate(url) == first
            assert await certificate(url) == first
        (told,) = [record.getMessage() for record in caplog.records if record.name == "ws402.files"]
        assert "The one before stays in use." in told
        assert "PRIVATE KEY" not in told
        authority.issue("gateway")
        assert await certificate(url) != first


def test_files_that_are_broken_at_the_start_are_told(authority: Authority, tmp_path: Path) -> None:
    pair = authority.issue("gateway")
    for cert, key, ca, told in (
        (tmp_path / "none.crt", pair.key, None, "none.crt cannot be read"),
        (pair.cert, authority.issue("another").key, None, "do not belong together"),
        (pair.cert, pair.key, pair.key, "holds no certificates"),
    ):
        with pytest.raises(ConfigurationError, match=told):
            tls.serving(cert, key, ca)


async def test_a38_mutual_tls_serves_nobody_without_a_certificate_of_ours(authority: Authority, tmp_path: Path) -> None:
    foreign = Authority(tmp_path / "other").issue("server")
    async with serving(authority.issue("gateway"), authority.file) as url:
        ours = provider(url, authority.file, authority.issue("server"))
        assert await asks(ours)
        await ours.close()
        bare = provider(url, authority.file)
        with pytest.raises(ForbiddenError, match="client certificate is needed"):
            await asks(bare)
        assert await bare.health_check()
        await bare.close()
        other = provider(url, authority.file, foreign)
        with pytest.raises(UnavailableError):
            await asks(other)
        assert not await other.health_check()
        await other.close()
        async with httpx.AsyncClient(verify=ssl.create_default_context(cafile=str(authority.file))) as http:
            for path, status in {"/health/ready": 200, "/health/live": 200, "/openapi.json": 403, "/": 403}.items():
                assert (await http.get(url + path, headers={"Authorization": f"Bearer {KEY}"})).status_code == status


async def test_renewed_authorities_and_client_certificates_are_taken_over(authority: Authority, tmp_path: Path) -> None:
    """The gateway stops trusting the old clients' authority; the server's new pair comes a moment later."""
    old, new = Authority(tmp_path / "old"), Authority(tmp_path / "new")
    trusted = tmp_path / "clients.crt"
    trusted.write_bytes(old.file.read_bytes())
    async with serving(authority.issue("gateway"), trusted) as url:
        pair = old.issue("server")
        before = provider(url, authority.file, pair)
        assert await asks(before)
        trusted.write_bytes(new.file.read_bytes())
        late = provider(url, authority.file, pair)
        with pytest.raises(UnavailableError):
            await asks(late)
        renewed = new.issue("server")
        pair.key.write_bytes(renewed.key.read_bytes())
        pair.cert.write_bytes(renewed.cert.read_bytes())
        assert await asks(late)
        assert await asks(before)  # on its old connection
        await late.close()
        await before.close()


async def test_a_plain_text_call_to_the_tls_port_is_refused_and_harms_nobody(authority: Authority) -> None:
    async with serving(authority.issue("gateway")) as url:
        plain = provider(url.replace("https", "http"), None)
        with pytest.raises(UnavailableError):
            await asks(plain)
        await plain.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rsplit(":", 1)[1]))
        writer.write(b"GET /api/health HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + KEY.encode() + b"\r\n\r\n")
        try:
            answer = await asyncio.wait_for(reader.read(), 5)
        except ConnectionError:
            answer = b""
        assert b"HTTP" not in answer
        writer.close()
        good = provider(url, authority.file)
        assert await asks(good)
        await good.close()


async def test_a_tls_call_to_a_plain_port_is_refused_and_says_so(authority: Authority) -> None:
    server = HttpServer("127.0.0.1", 0)
    settings = load(GatewaySettings, gateway_api_key=KEY)
    await server.start(GatewayApp(MockPaymentService(), Authenticator(settings), settings).app)
    wrong = provider(server.url.replace("http", "https"), authority.file)
    with pytest.raises(UnavailableError, match="no TLS connection"):
        await asks(wrong)
    await wrong.close()
    await server.close()


def test_protocols_before_tls_1_2_are_not_spoken(authority: Authority) -> None:
    pair = authority.issue("gateway")
    for context in (tls.serving(pair.cert, pair.key, None), tls.calling(authority.file, None, None).value):
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2


async def test_a39_a_client_that_sends_no_request_or_a_letter_at_a_time_is_dropped(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ws402.serving.HEAD_SECONDS", 0.5)
    async with serving(authority.issue("gateway")) as url:
        trust = ssl.create_default_context(cafile=str(authority.file))
        good = provider(url, authority.file)
        assert await asks(good)

        async def dropped(*, drip: bool, first: bytes = b"") -> float:
            reader, writer = await asyncio.open_connection("localhost", int(url.rsplit(":", 1)[1]), ssl=trust)
            writer.write(first)
            if first:
                await reader.readuntil(b"}")
            began = time.monotonic()
            with contextlib.suppress(ConnectionError):
                async with asyncio.timeout(5):
                    for letter in "GET /api/health HTTP/1.1\r\nHost: x\r\nX: " + "x" * 100 if drip else "":
                        writer.write(letter.encode())
                        await asyncio.sleep(0.05)
                        if reader.at_eof():
                            break
                    await reader.read()
            writer.close()
            return time.monotonic() - began

        whole = b"GET /api/health HTTP/1.1\r\nHost: x\r\n\r\n"
        waits = await asyncio.gather(dropped(drip=False), dropped(drip=True), dropped(drip=True, first=whole))
        assert all(0.3 < each < 4 for each in waits), waits
        assert await asks(good)  # a kept connection between two calls is not overdue
        await good.close()
