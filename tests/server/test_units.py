"""Prices of more than time: messages, bytes, and what a resource charges."""

from __future__ import annotations

from typing import Any

from tests.fixtures.asgi import lifespan
from tests.server import samples
from tests.server.conftest import OpenShop
from tests.server.peer import Shop, any_proof
from websockets.asyncio.server import ServerConnection, serve

from ws402.protocol import EndReason
from ws402.serving import HttpServer


def sold(price: str, use: str, *, kind: str = "python", target: str = "echo", **more: Any) -> dict[str, Any]:
    if kind == "python":
        target = f"tests.server.samples:{target}"
    return {"id": "model", "kind": kind, "target": target, "price": price, "estimated_use": use, **more}


async def settled(shop: Shop, peer: Any) -> Any:
    await peer.send({"type": "end_session"})
    await peer.closed()
    return await shop.ended(peer)


async def test_messages_and_bytes_are_counted_both_ways_and_told(open_shop: OpenShop) -> None:
    shop = await open_shop([sold("1 USDC per 1000 messages + 3 USDC per MB", "600 messages + 6 kB")])
    schema = await shop.schema("model", duration=100)
    assert schema["pricing"]["estimatedUnits"] == {"messages": 200, "bytes": 2000}
    assert schema["paymentDetails"]["amount"] == schema["pricing"]["totalPrice"] == 200 * 1000 + 2000 * 3
    assert schema["pricing"]["pricePerSecond"] == 0
    peer = await shop.buy("model", seconds=100)
    for message in ("four", b"\x00\xff", "äöü"):
        await peer.send(message)
        assert await peer.payload() == message
    units = {"messages": 6, "bytes": 24}
    update = await peer.expect("usage_update")
    assert (update["units"], update["consumedAmount"]) == (units, 6072)
    assert (update["messageCount"], update["bytesTransferred"]) == (3, 12), "as ever: what the client sent"
    session = await settled(shop, peer)
    assert (session.units, session.consumed, session.refunded) == (units, 6072, 206_000 - 6072)
    (ended,) = [each for each in peer.seen if each["type"] == "session_ended"]
    assert (ended["units"], ended["consumedAmount"]) == (units, 6072)


async def test_a_resource_charges_its_own_unit_beside_time(open_shop: OpenShop) -> None:
    shop = await open_shop(
        [sold("0.36 USDC per hour + 0.5 USDC per 1M tokens", "1M tokens", target="model", estimated_seconds=60)]
    )
    peer = await shop.buy("model", seconds=60)
    assert shop.book(peer).paid == 60 * 100 + 500_000
    await peer.send("1001")
    assert await peer.payload() == "True True"
    session = await settled(shop, peer)
    assert session.units == {"tokens": 1001}
    assert session.consumed == (session.elapsed_ms * 100 * 10 + 1001 * 5000) // 10_000


async def test_what_is_charged_beyond_the_balance_ends_the_session_and_costs_no_more(open_shop: OpenShop) -> None:
    shop = await open_shop([sold("0.36 USDC per hour + 1 USDC per 1M tokens", "1000 tokens", target="model")])
    peer = await shop.buy("model", seconds=300)
    assert shop.book(peer).paid == 31_000
    await peer.send("31000000")
    assert (await peer.closed())[0] == 1000
    assert peer.kinds()[-2:] == ["balance_exhausted", "session_ended"]
    session = await shop.ended(peer)
    assert (session.consumed, session.refunded, session.reason) == (31_000, 0, EndReason.BALANCE_EXHAUSTED)
    await shop.until(lambda: peer.id in samples.cancelled)


async def test_a_session_takes_its_units_along_to_another_server_and_a_top_up_counts(open_shop: OpenShop) -> None:
    resource = sold("1 USDC per 1000 messages", "3000 messages")
    first = await open_shop([resource])
    second = await open_shop([resource], provider=first.provider)
    peer = await first.buy("model", seconds=10)
    paid = first.book(peer).paid
    assert paid == 100_000
    for _ in range(3):
        await peer.send("x")
        await peer.payload()
    await peer.close(4000)
    await first.until(lambda: first.book(peer).state == "released")
    again = await second.connect("model")
    await again.send({"type": "resume", "token": peer.started["resumeToken"]})
    again.started = await again.expect("session_started")
    assert again.started["balance"] == paid - 6000
    assert again.started["price"]["rates"] == [{"unit": "messages", "amount": 1000, "per": 1}]
    schema = await second.schema("model", duration=5, sessionId=peer.id, token=again.started["resumeToken"])
    assert schema["pricing"]["totalPrice"] == schema["paymentDetails"]["amount"] == 50_000
    await again.prove(any_proof(schema["paymentDetails"]["reference"]))
    assert (await again.expect("balance_updated"))["remainingBalance"] == paid - 6000 + 50_000
    await again.send("x")
    await again.payload()
    session = await settled(second, again)
    assert (session.paid, session.units, session.consumed) == (150_000, {"messages": 8}, 8000)


async def test_a_charge_that_is_no_count_fails_the_resource_and_charges_nothing(open_shop: OpenShop) -> None:
    shop = await open_shop([sold("1 USDC per 1000 tokens", "1000 tokens", target="model")])
    peer = await shop.buy("model", seconds=300)
    await peer.send("-5")
    assert (await peer.closed())[0] == 1011
    session = await shop.ended(peer)
    assert (session.consumed, session.reason) == (0, EndReason.SERVER_ERROR)


async def test_an_upstream_charges_by_a_frame_that_its_client_does_not_see(open_shop: OpenShop) -> None:
    async def upstream(socket: ServerConnection) -> None:
        async for _ in socket:
            await socket.send('{"type":"ws402:charge","unit":"tokens","count":40}')
            await socket.send('{"type":"ws402:charge","unit":"tokens","count":-1}')
            await socket.send('{"type":"answer"}')

    async with serve(upstream, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        target = f"ws://127.0.0.1:{port}/"
        shop = await open_shop([sold("1 USDC per 1M tokens", "1M tokens", kind="websocket", target=target)])
        peer = await shop.buy("model", seconds=60)
        for _ in range(2):
            await peer.send("go")
            await peer.expect("answer")
        session = await settled(shop, peer)
        assert not peer.data
        assert set(peer.kinds()) <= {"session_started", "usage_update", "answer", "session_ended"}
    assert (session.units, session.consumed) == ({"tokens": 80}, 80)


async def test_an_upstream_charges_by_a_header_that_its_client_does_not_see(open_shop: OpenShop) -> None:
    async def upstream(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
            return
        more = True
        while more:
            more = (await receive()).get("more_body", False)
        headers = [(b"x-ws402-charge", b"tokens=250, images=2, tokens=x"), (b"x-other", b"kept")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"four"})

    web = HttpServer("127.0.0.1", 0)
    await web.start(upstream)
    try:
        price = "1 USDC per 1M tokens + 0.01 USDC per images + 1 USDC per MB"
        shop = await open_shop([sold(price, "1M tokens + 5 images + 1 MB", kind="http", target=web.url)])
        peer = await shop.buy("model", seconds=60)
        granted = await peer.expect("http_access_granted")
        answer = await shop.http.post(
            granted["resourceUrl"], params={"token": granted["httpToken"]}, content=b"seven.."
        )
        assert (answer.content, "x-ws402-charge" in answer.headers, answer.headers["x-other"]) == (
            b"four",
            False,
            "kept",
        )
        session = await settled(shop, peer)
        assert session.units == {"tokens": 250, "images": 2, "bytes": 11}
        assert session.consumed == 250 + 20_000 + 11
    finally:
        await web.close()
