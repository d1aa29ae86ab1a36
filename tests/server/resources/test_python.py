"""Python functions as resources."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.server import samples
from tests.server.conftest import PRICE, OpenShop

from ws402.errors import ConfigurationError
from ws402.protocol import EndReason


def function(name: str, **more: Any) -> dict[str, Any]:
    return {
        "id": name, "kind": "python", "target": f"tests.server.samples:{name}", "price_per_second": PRICE, **more
    }  # fmt: skip


async def test_it_reads_and_writes_text_and_binary(open_shop: OpenShop) -> None:
    shop = await open_shop([function("echo")])
    peer = await shop.buy("echo")
    for message in ("hello", b"\x00\xff", "", "äöü"):
        await peer.send(message)
        assert await peer.payload() == message


async def test_a_generator_that_ends_ends_the_session_with_a_refund(open_shop: OpenShop) -> None:
    shop = await open_shop([function("countdown")])
    peer = await shop.buy("countdown")
    assert (await peer.closed())[0] == 1000
    assert peer.data == ["3 for ann", "2 for ann", "1 for ann"]
    session = shop.book(peer)
    assert session.reason == EndReason.RESOURCE_ENDED
    assert session.refunded > 59 * PRICE
    assert peer.kinds()[-1] == "session_ended"


async def test_one_that_fails_tells_no_details_and_refunds_the_rest(
    open_shop: OpenShop, caplog: pytest.LogCaptureFixture
) -> None:
    shop = await open_shop([function("broken")])
    peer = await shop.buy("broken")
    await peer.send("go")
    assert await peer.closed() == (1011, "internal error")
    (error,) = [message for message in peer.seen if message["type"] == "error"]
    assert error["code"] == "server_error"
    assert "secret" not in error["message"]
    assert "a secret detail" in caplog.text
    assert shop.book(peer).reason == EndReason.SERVER_ERROR


async def test_it_is_cancelled_when_its_client_leaves(open_shop: OpenShop) -> None:
    shop = await open_shop([function("patient")])
    peer = await shop.buy("patient")
    await peer.close()
    await shop.until(lambda: peer.id in samples.cancelled)


async def test_it_waits_for_a_client_that_reads_slowly(open_shop: OpenShop) -> None:
    shop = await open_shop([function("forever")], max_write_buffer_bytes=10_000_000)
    peer = await shop.buy("forever")
    peer.socket.transport.pause_reading()
    socket = shop.server.sessions.live[peer.id].socket
    await asyncio.sleep(0.5)
    held = socket.waiting_bytes
    assert held < 500_000
    await asyncio.sleep(0.3)
    assert socket.waiting_bytes <= held + 10_000
    peer.socket.transport.resume_reading()
    for _ in range(200):
        assert len(await peer.payload()) == 10_000


async def test_messages_faster_than_the_function_are_held_back_and_none_is_lost(open_shop: OpenShop) -> None:
    shop = await open_shop([function("slow_to_read")])
    peer = await shop.buy("slow_to_read")

    async def write() -> None:
        for size in range(300):
            await peer.send(b"x" * size)

    writing = asyncio.create_task(write())
    feed = shop.server.sessions.live[peer.id].state
    most = 0
    for size in range(300):
        assert await peer.payload() == f"{size}"
        most = max(most, len(feed._messages))
    await writing
    assert most < 300


async def test_a_client_that_is_held_back_is_not_taken_for_dead(open_shop: OpenShop) -> None:
    shop = await open_shop([function("patient")], ping_seconds=0.15)
    peer = await shop.buy("patient")
    for _ in range(200):
        await peer.send("nobody reads this")
    socket = shop.server.sessions.live[peer.id].socket
    await shop.until(lambda: socket.held)
    await asyncio.sleep(0.8)
    assert peer.id in shop.server.sessions.live


@pytest.mark.parametrize("name", ["not_a_function", "not_async", "not_there", "without_stream", "wants_more"])
async def test_what_cannot_be_a_resource_is_refused_at_the_start(open_shop: OpenShop, name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"samples:{name}"):
        await open_shop([function(name)])
