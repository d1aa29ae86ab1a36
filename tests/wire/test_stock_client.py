"""A stock client pays, streams and is refunded by our server and gateway, in strict and in legacy mode."""

import asyncio
import time
from typing import Any

from tests.fixtures.stack import PRICE, Stack
from tests.wire.conftest import MakeClient
from tests.wire.peers.client import Mode


async def test_the_whole_way_pay_stream_leave_early_and_get_the_rest_back(wire: Stack, client: MakeClient) -> None:
    peer = await client()
    session = await peer.buy("ticker")
    paid = session.balance
    began = time.monotonic()
    funds = await peer.wallet.balance()
    first = await session.expect("usage_update")
    second = await session.expect("usage_update")
    await session.close()
    elapsed = time.monotonic() - began
    assert paid == 300 * PRICE
    assert first["sessionId"] == session.session_id
    assert 0 < first["consumedAmount"] < second["consumedAmount"]
    for update in (first, second):
        assert update["consumedAmount"] + update["remainingBalance"] == paid
        assert isinstance(update["elapsedSeconds"], int)
    after = await peer.wallet.wait_for_balance(funds + 1)
    refund = after - funds
    consumed = paid - refund
    assert second["consumedAmount"] <= consumed <= int((elapsed + 2) * PRICE)
    await asyncio.sleep(1)
    assert await peer.wallet.balance() == after, "the refund came twice"


async def test_session_started_has_what_a_stock_client_reads(client: MakeClient) -> None:
    peer = await client()
    schema = await peer.schema("ticker", 60)
    proof = await peer.pay(schema["paymentDetails"])
    async with await peer.open("ticker") as session:
        started = await session.start(proof)
        assert started["sessionId"]
        assert started["balance"] == 60 * PRICE == schema["pricing"]["totalPrice"]
        assert started["pricePerSecond"] == PRICE == schema["pricing"]["pricePerSecond"]


async def test_the_schema_is_shaped_as_the_wire_says(wire: Stack, client: MakeClient, mode: Mode) -> None:
    peer = await client()
    schema = await peer.schema("ticker")
    assert schema["protocol"] == "ws402"
    assert isinstance(schema["version"], str)
    assert schema["resourceId"] == "ticker"
    assert schema["websocketEndpoint"].startswith("ws://")
    pricing = schema["pricing"]
    assert (pricing["pricePerSecond"], pricing["estimatedDuration"]) == (PRICE, 300)
    assert isinstance(pricing["currency"], str)
    assert isinstance(schema["maxSessionDuration"], int)
    details = schema["paymentDetails"]
    assert (details["type"], details["network"], details["chainId"]) == ("base", "base-sepolia", 84532)
    assert details["recipient"].lower() == wire.merchant.lower()
    assert details["amount"] == details["amountWei"] == pricing["totalPrice"]
    assert details["amountETH"] == "0.003"
    assert details["currency"] == "ETH"
    assert len(details["reference"]) >= 32
    assert details["expiresAt"] > time.time() * 1000
    assert details["instructions"]["step1"]
    again = (await peer.schema("ticker"))["paymentDetails"]
    assert again["reference"] != details["reference"], "each invoice has a reference of its own"


async def test_the_resource_schema_adds_what_the_resource_is(client: MakeClient) -> None:
    peer = await client()
    answer = (await peer.get("/api/resource/ticker/schema")).json()
    assert answer["protocol"] == "ws402"
    assert answer["paymentDetails"]["reference"]
    assert answer["resourceInfo"]["name"] == "Ticker"
    assert {"name", "type", "estimatedTime"} <= set(answer["resourceInfo"])


async def test_resources_are_listed_with_their_prices(client: MakeClient) -> None:
    peer = await client()
    listing = (await peer.get("/api/resources")).json()
    by_id = {each["id"]: each for each in (listing if isinstance(listing, list) else listing["resources"])}
    assert by_id["ticker"]["name"] == "Ticker"
    assert by_id["ticker"]["type"] == "ticker"
    assert by_id["ticker"]["pricing"]["pricePerSecond"] == PRICE


async def test_the_socket_opens_on_any_path(client: MakeClient) -> None:
    peer = await client()
    schema = await peer.schema("ticker", 60)
    proof = await peer.pay(schema["paymentDetails"])
    async with await peer.open("ticker", path="/some/where") as session:
        await session.start(proof)
        assert session.balance == 60 * PRICE


async def test_what_the_client_sends_is_counted(client: MakeClient) -> None:
    peer = await client()
    async with await peer.buy("ticker", 120) as session:
        for message in ("four", b"12345678", '{"type": "anything"}'):
            await session.send(message)
        while (update := await session.expect("usage_update"))["messageCount"] < 3:
            pass
        assert update["messageCount"] == 3
        assert update["bytesTransferred"] >= 4 + 8 + 20


async def test_messages_before_the_proof_are_ignored(client: MakeClient) -> None:
    peer = await client()
    schema = await peer.schema("ticker", 60)
    proof = await peer.pay(schema["paymentDetails"])
    async with await peer.open("ticker") as session:
        for message in ("nonsense", '{"type":"ws402:init"}', '{"type":"unheard_of"}', "[1,2]", b"\x00\x01"):
            await session.send(message)
        await session.start(proof)
        assert session.balance == 60 * PRICE


async def test_an_exhausted_balance_is_told_and_closes_1000(client: MakeClient) -> None:
    peer = await client()
    session = await peer.buy("dear", 1)
    code, _ = await session.closed()
    kinds = [message["type"] for message in session.seen]
    assert code == 1000
    assert "balance_exhausted" in kinds
    exhausted = next(message for message in session.seen if message["type"] == "balance_exhausted")
    assert exhausted["message"]


async def test_a_refused_proof_is_told_and_closes_1008(client: MakeClient) -> None:
    peer = await client()
    async with await peer.open("ticker") as session:
        await session.init()
        await session.prove({"txHash": "0x" + "ab" * 32, "reference": "nobody", "senderAddress": peer.wallet.address})
        rejected = await session.expect("payment_rejected")
        code, _ = await session.closed()
    assert rejected["reason"]
    assert code == 1008


async def test_a_malformed_proof_closes_1008_and_the_server_goes_on(client: MakeClient) -> None:
    peer = await client()
    malformed: list[Any] = [{}, {"txHash": 7}, {"txHash": None, "reference": [], "senderAddress": {}}, "proof", None, 5]
    for proof in malformed:
        async with await peer.open("ticker") as session:
            await session.send_json({"type": "payment_proof", "proof": proof})
            await session.expect("payment_rejected")
            code, _ = await session.closed()
            assert code == 1008, proof
    assert (await peer.schema("ticker"))["protocol"] == "ws402"


async def test_two_servers_sell_beside_each_other(wire: Stack, client: MakeClient) -> None:
    first = await client(wire.server_urls[0])
    second = await client(wire.server_urls[1])
    async with await first.buy("ticker", 60) as one, await second.buy("ticker", 60) as two:
        assert one.session_id != two.session_id
        await asyncio.gather(one.expect("usage_update"), two.expect("usage_update"))


async def test_an_invoice_of_one_server_is_honoured_by_another(wire: Stack, client: MakeClient) -> None:
    first = await client(wire.server_urls[0])
    second = await client(wire.server_urls[1], first.wallet)
    schema = await first.schema("ticker", 60)
    proof = await first.pay(schema["paymentDetails"])
    async with await second.open("ticker") as session:
        await session.start(proof)
        assert session.balance == 60 * PRICE


async def test_amounts_beyond_json_numbers_are_strings(client: MakeClient) -> None:
    peer = await client()
    schema = await peer.schema("dear", 3600)
    total = 3600 * 1000 * PRICE
    assert schema["pricing"]["totalPrice"] == str(total)
    assert schema["paymentDetails"]["amountWei"] == str(total)
    assert schema["paymentDetails"]["amountETH"] == "36"
