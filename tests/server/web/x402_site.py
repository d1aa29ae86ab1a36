"""A server that sells by x402 on a gateway that collects, and what a test shows it by hand."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from eth_account.signers.local import LocalAccount
from tests.gateway.collect.world import TENANT, Running, running
from tests.gateway.collect.world import Shop as Chain

from ws402.protocol import SignedTransfer
from ws402.provider.direct import DirectPaymentProvider
from ws402.server import create_server
from ws402.settings import ResourceSettings, ServerSettings


class Site:
    """A server that sells a film, and an upstream that answers as slowly as a test wants."""

    def __init__(self, chain: Chain, gateway: Running, url: str) -> None:
        self.chain = chain
        self.gateway = gateway
        self.url = url

    async def offer(self, client: httpx.AsyncClient, path: str = "/api/resource/film") -> dict[str, Any]:
        """What an unpaid request is told."""
        answer = await client.get(self.url + path)
        assert answer.status_code == 402
        return decoded(answer.headers["payment-required"])

    async def get(
        self, client: httpx.AsyncClient, headers: dict[str, str], path: str = "/api/resource/film"
    ) -> httpx.Response:
        """Show a payment, again while nobody knows what became of it."""
        while (answer := await client.get(self.url + path, headers=headers)).status_code == 503:
            assert answer.json()["code"] == "settlement_pending"
            assert "payment-required" not in answer.headers
        return answer

    async def pay(self, payer: LocalAccount, offer: dict[str, Any], **changes: Any) -> dict[str, str]:
        """The header that a version 2 client sends."""
        amount = int(offer["accepts"][0]["amount"])
        signed = await asyncio.to_thread(self.chain.sign, payer, amount=amount)
        content = {
            "x402Version": 2,
            "payload": payload(signed),
            "accepted": offer["accepts"][0],
            "resource": offer["resource"],
            "extensions": offer["extensions"],
        }
        return {"payment-signature": encoded(content | changes)}


def encoded(content: Any) -> str:
    return base64.b64encode(json.dumps(content).encode()).decode()


def decoded(header: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(base64.b64decode(header, validate=True))
    return found


def payload(signed: SignedTransfer) -> dict[str, Any]:
    return {
        "authorization": {
            "from": signed.payer,
            "to": signed.recipient,
            "value": str(signed.amount),
            "validAfter": str(signed.valid_after),
            "validBefore": str(signed.valid_before),
            "nonce": signed.nonce,
        },
        "signature": signed.signature,
    }


@asynccontextmanager
async def selling(chain: Chain, resources: list[dict[str, Any]], **more: Any) -> AsyncIterator[Site]:
    """A gateway and a server that run."""
    async with running(chain) as gateway:
        settings = ServerSettings(
            port=0,
            resources=[ResourceSettings(network="base-sepolia", asset="DUSD", **each) for each in resources],
            checkpoint_seconds=0.2,
            drain_seconds=0,
            **more,
        )
        server = create_server(settings, DirectPaymentProvider(gateway.gateway.service, TENANT))
        started = asyncio.Event()
        task = asyncio.create_task(server.serve(started=started.set))
        await started.wait()
        await server.sessions.terms.refresh()
        try:
            yield Site(chain, gateway, f"http://127.0.0.1:{server.port}")
        finally:
            await server.stop()
            await task
