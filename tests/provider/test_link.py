"""What tells a server that its gateway is away, and what does not."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from ws402.errors import NoSolanaError, UnavailableError
from ws402.provider.proxy import ProxyPaymentProvider

Told = dict[bytes, tuple[int, bytes]]


@asynccontextmanager
async def answering(told: Told) -> AsyncIterator[tuple[ProxyPaymentProvider, list[bytes]]]:
    """A provider whose gateway answers these paths so and breaks off all others; the paths that it was asked for."""
    asked: list[bytes] = []
    tasks: list[asyncio.Task[None]] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.append(task)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                asked.append(head.split(b" ")[1].partition(b"?")[0])
                if b"content-length: " in head:
                    await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
                if asked[-1] not in told:
                    break
                status, body = told[asked[-1]]
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body))
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    provider = ProxyPaymentProvider(f"http://127.0.0.1:{port}", "k" * 40, retry_attempts=2)
    yield provider, asked
    await provider.close()
    server.close()
    await server.wait_closed()
    await asyncio.gather(*tasks)


REFUND = b'{"results":[{"ok":{"refundId":"rf_1","state":"due","amount":"1","recipient":"0x"}}]}'


async def test_a39_what_a_gateway_answers_never_keeps_it_from_being_asked() -> None:
    no = b'{"error":"Not Implemented","message":"No Solana.","code":"not_implemented"}'
    broken = b'{"error":"Internal Server Error","message":"It failed.","code":"internal"}'
    told = {b"/api/blockhash": (501, no), b"/api/ops": (500, broken)}
    async with answering(told) as (provider, asked):
        for _ in range(6):
            with pytest.raises(NoSolanaError) as refused:
                await provider.blockhash("solana")
            assert (refused.value.status, refused.value.code) == (501, "not_implemented")
        assert len(asked) == 6, "such an answer is not asked for again"
        for _ in range(6):
            with pytest.raises(UnavailableError, match="It failed"):
                await provider.refund_status("rf_1")
        told[b"/api/ops"] = (200, REFUND)
        assert (await provider.refund_status("rf_1")).state == "due"


async def test_an_answer_that_no_gateway_wrote_is_a_failure_of_the_link() -> None:
    async with answering({b"/api/ops": (502, b"<html>Bad Gateway</html>")}) as (provider, asked):
        for _ in range(20):
            with pytest.raises(UnavailableError):
                await provider.refund_status("rf_1")
        assert len(asked) < 20, "the breaker is open"


async def test_a39_calls_that_strangers_bring_about_keep_no_other_from_the_gateway() -> None:
    async with answering({b"/api/ops": (200, REFUND)}) as (provider, _):
        for _ in range(8):
            with pytest.raises(UnavailableError):
                await provider.blockhash()
        assert (await provider.refund_status("rf_1")).state == "due"
