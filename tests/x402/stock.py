"""An unmodified client from PyPI, in a Python of its own: `stock.py httpx|requests|pympp URL KEY BYTES`.

Pays what the server asks for, reads so many bytes of the answer (0: all), leaves, and prints what it saw as JSON.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from typing import Any

import httpx
from eth_account import Account
from mpp import Challenge
from mpp._parsing import parse_payment_receipt
from mpp.client import Mpp
from mpp.methods.evm import client as evm
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


async def by_pympp(url: str, key: str, most: int) -> dict[str, Any]:
    async with httpx.AsyncClient() as client:
        details = Challenge.from_www_authenticate((await client.get(url)).headers["www-authenticate"]).request
    method = evm.charge(
        currency=details["currency"],
        chain_id=details["methodDetails"]["chainId"],
        decimals=details["methodDetails"]["decimals"],
        authorization={"name": "Demo Dollar", "version": "1"},
        account=Account.from_key(key),
        max_amount="1",
    )
    size = 0
    async with Mpp(methods=[method]) as payer, payer.client(timeout=30) as client, client.stream("GET", url) as answer:
        async for piece in answer.aiter_raw():
            size += len(piece)
            if most and size >= most:
                break
        told = answer.headers.get("payment-receipt")
        receipt = parse_payment_receipt(told) if told else None
        same = receipt and {"success": receipt.status == "success", "extensions": receipt.extra}
        return {"status": answer.status_code, "size": size, "receipt": same}


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
    if kind == "requests":
        told = by_requests(url, key, int(most))
    else:
        told = asyncio.run({"httpx": by_httpx, "pympp": by_pympp}[kind](url, key, int(most)))
    print(json.dumps(told))
