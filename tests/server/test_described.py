"""A server does what its OpenAPI document says, whatever is asked."""

from __future__ import annotations

import asyncio

import httpx
from tests.fixtures.described import ask
from tests.server.conftest import OpenShop


async def test_a_server_answers_as_its_document_says(open_shop: OpenShop) -> None:
    shop = await open_shop(schema_per_minute=10_000, status_key="k" * 40)
    url = f"http://127.0.0.1:{shop.server.port}"
    async with httpx.AsyncClient(base_url=url) as http:
        described = (await http.get("/openapi.json")).json()
    asked = await asyncio.to_thread(
        ask, described, url, headers=lambda _: {"authorization": "Bearer " + "k" * 40}, examples=10
    )
    assert asked > 60
