"""The list of resources changes while a server runs."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.server.conftest import PRICE, OpenShop
from tests.server.peer import Shop, any_proof
from websockets.asyncio.server import ServerConnection, serve

from ws402.errors import ConfigurationError
from ws402.server import reload as reloading
from ws402.settings import ServerSettings, load
from ws402.settings.resources import resources_source

Write = Callable[..., None]
TICKER: dict[str, Any] = {"id": "ticker", "kind": "ticker", "price_per_second": PRICE}


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reloading, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr("ws402.files.LOOK_SECONDS", 0.05)
    monkeypatch.setattr(reloading, "RETIRED_SECONDS", 0.1)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """As Kubernetes mounts a ConfigMap: a link through a folder of the version, which is swapped."""
    (tmp_path / "resources.toml").symlink_to("..data/resources.toml")
    return tmp_path / "resources.toml"


@pytest.fixture
def write(file: Path) -> Write:
    version = 0

    def put(*resources: dict[str, Any], text: str | None = None) -> None:
        nonlocal version
        version += 1
        folder = file.parent / f"..{version}"
        folder.mkdir()
        lines = [
            f"{key} = {json.dumps(value)}" for each in resources for key, value in [("[[resources]]", 0), *each.items()]
        ]
        content = text if text is not None else "\n".join(lines).replace("[[resources]] = 0", "[[resources]]")
        (folder / file.name).write_text(content)
        (file.parent / "..new").symlink_to(folder.name)
        os.replace(file.parent / "..new", file.parent / "..data")

    return put


@pytest.fixture
async def shop(open_shop: OpenShop, file: Path, write: Write) -> Shop:
    write(TICKER)
    return await open_shop(resources_file=file)


async def sold(shop: Shop) -> dict[str, int]:
    return {each["id"]: each["pricing"]["pricePerSecond"] for each in (await shop.get("/api/resources")).json()}


async def until_sold(shop: Shop, wanted: dict[str, int]) -> None:
    await eventually(shop, lambda: sold(shop), wanted)


async def eventually(shop: Shop, look: Callable[[], Awaitable[Any]], wanted: Any) -> None:
    async with asyncio.timeout(5):
        while await look() != wanted:
            await asyncio.sleep(0.02)


async def detail(shop: Shop) -> tuple[int, bool]:
    answer = await shop.get("/health/ready")
    return answer.status_code, "detail" in answer.json()


async def test_new_changed_and_removed_resources_without_a_restart(shop: Shop, write: Write) -> None:
    write(TICKER | {"price_per_second": 2 * PRICE}, TICKER | {"id": "other"})
    await until_sold(shop, {"ticker": 2 * PRICE, "other": PRICE})
    peer = await shop.buy("other")
    assert peer.started["pricePerSecond"] == PRICE
    write(TICKER)
    await until_sold(shop, {"ticker": PRICE})
    assert (await shop.get("/ws402/schema/other")).status_code == 404
    assert json.loads(await peer.payload())["type"] == "tick"  # what was sold goes on


async def test_a42_a_price_that_moves_binds_neither_an_invoice_nor_a_session(shop: Shop, write: Write) -> None:
    live = await shop.buy(seconds=60)
    quoted = await shop.invoice(seconds=60)
    write(TICKER | {"price_per_second": 3 * PRICE})
    await until_sold(shop, {"ticker": 3 * PRICE})
    late = await shop.connect()
    await late.prove(any_proof(quoted))
    assert (await late.expect("session_started"))["pricePerSecond"] == PRICE
    update = await live.expect("usage_update")
    assert update["consumedAmount"] + update["remainingBalance"] == 60 * PRICE
    top_up = await shop.schema(duration=10, sessionId=live.id, token=live.started["resumeToken"])
    assert top_up["pricing"] == {
        "pricePerSecond": PRICE,
        "currency": "ETH",
        "estimatedDuration": 10,
        "totalPrice": 10 * PRICE,
    }
    assert (await shop.buy(seconds=10)).started["pricePerSecond"] == 3 * PRICE


async def test_a_payment_for_what_is_gone_is_refunded_whole(shop: Shop, write: Write) -> None:
    quoted = await shop.invoice(seconds=60)
    waiting = await shop.connect()
    write(TICKER | {"id": "other"})
    await until_sold(shop, {"other": PRICE})
    await waiting.prove(any_proof(quoted))
    assert "all is refunded" in (await waiting.expect("payment_rejected"))["reason"]
    (session,) = shop.provider.sessions.values()
    await shop.until(lambda: session.state == "ended")
    assert session.refund.amount == 60 * PRICE


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[[resources]", "is not TOML"),
        ("", "No resources are configured"),
        ('[[resources]]\nid = "a"\nkind = "http"\ntarget = "ftp://x"\nprice_per_second = 1', "no HTTP URL"),
        ('[[resources]]\nid = "a"\nkind = "ticker"\nprice_per_second = 0', "resources.0.price_per_second"),
        ('[[resources]]\nid = "a"\nkind = "ticker"\nprice = 1\nprice_per_second = 1', "resources.0.price"),
        ('[[resources]]\nid = "a"\nkind = "ticker"\nprice_per_secnd = 1', "Did you mean 'price_per_second'?"),
    ],
)
async def test_a_broken_list_leaves_the_old_one_and_is_told(
    shop: Shop, write: Write, caplog: pytest.LogCaptureFixture, text: str, told: str
) -> None:
    assert await detail(shop) == (200, False)
    with caplog.at_level(logging.ERROR):
        write(text=text)
        await eventually(shop, lambda: detail(shop), (200, True))
    assert told in caplog.text
    assert await sold(shop) == {"ticker": PRICE}
    assert (await shop.buy()).started["pricePerSecond"] == PRICE
    write(TICKER, TICKER | {"id": "mended"})
    await until_sold(shop, {"ticker": PRICE, "mended": PRICE})
    assert await detail(shop) == (200, False)


async def test_a_session_keeps_its_upstream_when_the_target_changes(
    open_shop: OpenShop, file: Path, write: Write
) -> None:
    def upstream(name: str) -> Callable[[ServerConnection], Awaitable[None]]:
        async def answer(socket: ServerConnection) -> None:
            async for message in socket:
                await socket.send(f"{name}: {message!s}")

        return answer

    async with serve(upstream("old"), "127.0.0.1", 0) as old, serve(upstream("new"), "127.0.0.1", 0) as new:
        targets = [f"ws://127.0.0.1:{each.sockets[0].getsockname()[1]}" for each in (old, new)]
        feed = {"id": "feed", "kind": "websocket", "price_per_second": PRICE}
        write(feed | {"target": targets[0]})
        shop = await open_shop(resources_file=file)
        before = await shop.buy("feed")
        write(feed | {"target": targets[1]}, TICKER)
        await until_sold(shop, {"feed": PRICE, "ticker": PRICE})
        after = await shop.buy("feed")
        for peer, name in ((before, "old"), (after, "new")):
            await peer.send("hello")
            assert await peer.payload() == f"{name}: hello"
            await peer.close()
            await shop.ended(peer)


async def test_an_http_session_outlives_its_resource(
    open_shop: OpenShop, file: Path, write: Write, tmp_path: Path
) -> None:
    (tmp_path / "film.txt").write_text("the film")
    write(TICKER | {"id": "film", "kind": "file", "target": str(tmp_path / "film.txt")}, TICKER)
    shop = await open_shop(resources_file=file)
    peer = await shop.buy("film")
    token = (await peer.expect("http_access_granted"))["httpToken"]
    write(TICKER)
    await until_sold(shop, {"ticker": PRICE})
    shown = {"Authorization": f"Bearer {token}"}
    assert (await shop.get("/api/resource/film", headers=shown)).text == "the film"
    assert (await shop.get("/api/resource/film")).status_code == 404
    assert (await shop.get("/api/resource/ticker", headers=shown)).status_code == 403
    await peer.close()
    await shop.ended(peer)
    assert (await shop.get("/api/resource/film", headers=shown)).status_code == 404


def test_what_the_environment_or_a_caller_gives_is_fixed(
    file: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(TICKER)
    monkeypatch.setenv("WS402_CONFIG", str(file))
    assert resources_source(load(ServerSettings)) == file
    assert resources_source(load(ServerSettings, resources=[TICKER | {"id": "mine"}])) is None
    monkeypatch.setenv("RESOURCES", json.dumps([TICKER]))
    assert resources_source(load(ServerSettings)) is None


async def test_a_file_that_is_broken_at_the_start_is_an_error(open_shop: OpenShop, file: Path, write: Write) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        await open_shop(resources_file=file)
