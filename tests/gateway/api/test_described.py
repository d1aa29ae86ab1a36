"""The gateway does what its OpenAPI document says, whatever is asked."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
from tests.fixtures.described import ask
from tests.gateway.api.test_gateway import ADMIN_KEY, KEY, evm, running

from ws402.devchain.evm import EvmDevChain

__all__ = ["evm"]


async def test_the_gateway_answers_as_its_document_says(
    shared_devchain: EvmDevChain, evm: object, tmp_path: Path
) -> None:
    async with running(evm, tmp_path, verify_wait_seconds=0) as gateway:  # type: ignore[arg-type]
        async with httpx.AsyncClient(base_url=gateway.url) as http:
            described = (await http.get("/openapi.json", headers={"authorization": f"Bearer {KEY}"})).json()

        def headers(path: str) -> dict[str, str]:
            return {"authorization": f"Bearer {ADMIN_KEY if '/admin/' in path else KEY}"}

        asked = await asyncio.to_thread(ask, described, gateway.url, headers=headers, batches=["/api/ops"])
    assert asked > 200
