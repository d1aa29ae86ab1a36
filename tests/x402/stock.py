"""An unmodified x402 client from PyPI, in a Python of its own: `stock.py httpx|requests URL KEY BYTES`.

Pays what the server asks for, reads so many bytes of the answer (0: all), leaves, and prints what it saw as JSON.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from typing import Any

from eth_account import Account
from x402.http.clients.httpx import x402HttpxClient
from x402.http.clients.requests import x402_requests
from x402.mechanisms.evm import EthAccountSigner
from x402.mechanisms.evm.exact import register_exact_evm_client

from x402 import x402Client, x402ClientSync

ALLOWED = {"allowed_assets": True}
"""The test's token is none that the client knows by itself."""


def seen(status: int, headers: Any, size: int) -> dict[str, Any]:
    receipt = headers.get("PAYMENT-RESPONSE")
    return {"status": status, "size": size, "receipt": json.loads(base64.b64decode(receipt)) if receipt else None}


async def by_httpx(url: str, key: str, most: int) -> dict[str, Any]:
    payer = x402Client()
    payer.set_spend_controls(ALLOWED)
    register_exact_evm_client(payer, EthAccountSigner(Account.from_key(key)))
    size = 0
    async with x402HttpxClient(payer, timeout=30) as client, client.stream("GET", url) as answer:
        async for piece in answer.aiter_raw():
            size += len(piece)
            if most and size >= most:
                break
        return seen(answer.status_code, answer.headers, size)


def by_requests(url: str, key: str, most: int) -> dict[str, Any]:
    payer = x402ClientSync()
    payer.set_spend_controls(ALLOWED)
    register_exact_evm_client(payer, EthAccountSigner(Account.from_key(key)))
    size = 0
    with x402_requests(payer) as session, session.get(url, stream=True, timeout=30) as answer:
        for piece in answer.iter_content(None):
            size += len(piece)
            if most and size >= most:
                break
        return seen(answer.status_code, answer.headers, size)


if __name__ == "__main__":
    kind, url, key, most = sys.argv[1:]
    work = by_httpx(url, key, int(most)) if kind == "httpx" else None
    print(json.dumps(by_requests(url, key, int(most)) if work is None else asyncio.run(work)))
