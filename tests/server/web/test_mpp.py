"""MPP over plain HTTP: challenges beside x402's offer, credentials with either nonce, and what forgers get."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from eth_account.signers.local import LocalAccount
from eth_utils.crypto import keccak
from tests.gateway.collect.world import AMOUNT, PRICE
from tests.gateway.collect.world import Shop as Chain
from tests.server.web.x402_site import Site, payload, selling

from ws402.server.web.mpp_wire import credential_of
from ws402.server.web.x402_wire import MalformedPaymentError

CONTENT = b"film" * 1000

Nonce = Callable[[str, str], bytes]


def joined(id_: str, realm: str) -> bytes:
    """As npm's mppx makes it."""
    return bytes(keccak(text=id_ + realm))


def listed(id_: str, realm: str) -> bytes:
    """As PyPI's pympp makes it."""
    return bytes(keccak(text=json.dumps([id_, realm], separators=(",", ":"))))


@pytest.fixture
async def site(chain: Chain, tmp_path: Path) -> AsyncIterator[Site]:
    film = tmp_path / "film.bin"
    film.write_bytes(CONTENT)
    film_: dict[str, Any] = {"kind": "file", "target": str(film), "price_per_second": PRICE}
    async with selling(chain, [{"id": "film", **film_}, {"id": "other", **film_}]) as site:
        yield site


def plain64(text: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


def url64(content: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(content, separators=(",", ":")).encode()).rstrip(b"=").decode()


async def challenge(client: httpx.AsyncClient, site: Site, path: str = "/api/resource/film") -> dict[str, str]:
    """What an unpaid request is challenged with."""
    answer = await client.get(site.url + path)
    assert answer.status_code == 402
    kind, _, rest = answer.headers["www-authenticate"].partition(" ")
    assert kind == "Payment"
    return dict(re.findall(r'(\w+)="([^"]*)"', rest))


async def credential(
    site: Site, payer: LocalAccount, told: dict[str, str], nonce: Nonce = joined, **changes: Any
) -> dict[str, str]:
    """The header that a client sends."""
    amount = int(plain64(told["request"])["amount"])
    bound = nonce(told["id"], told["realm"])
    signed = payload(await asyncio.to_thread(site.chain.sign, payer, amount=amount, nonce=bound))
    shown = signed["authorization"] | {"signature": signed["signature"], "type": "authorization"}
    source = f"did:pkh:eip155:{site.chain.evm.chain_id}:{payer.address}"
    return {"authorization": f"Payment {url64({'challenge': told, 'payload': shown, 'source': source} | changes)}"}


async def test_an_unpaid_request_is_challenged_for_what_x402_is_offered_too(site: Site) -> None:
    async with httpx.AsyncClient() as client:
        told = await challenge(client, site)
        again = await challenge(client, site)
    assert plain64(told["request"]) == {
        "amount": str(AMOUNT),
        "currency": site.chain.token.address,
        "methodDetails": {"chainId": site.chain.evm.chain_id, "credentialTypes": ["authorization"], "decimals": 6},
        "recipient": site.chain.keys.refunds.address,
    }
    assert (told["method"], told["intent"]) == ("evm", "charge")
    assert f"http://{told['realm']}" == site.url
    assert again["id"] != told["id"]


@pytest.mark.parametrize("nonce", [joined, listed])
async def test_a_credential_with_either_nonce_gets_the_content_and_the_rest_goes_back(site: Site, nonce: Nonce) -> None:
    payer = await asyncio.to_thread(site.chain.payer)
    async with httpx.AsyncClient(timeout=30) as client:
        headers = await credential(site, payer, await challenge(client, site), nonce)
        answer = await site.get(client, headers)
        assert (answer.status_code, answer.content) == (200, CONTENT)
        assert answer.headers["cache-control"] == "private, no-store"
        assert "payment-response" not in answer.headers
        receipt = plain64(answer.headers["payment-receipt"])
        assert (receipt["status"], receipt["method"]) == ("success", "evm")
        assert receipt["reference"].startswith("0x")
        again = await site.get(client, headers)
        assert (again.status_code, again.json()["code"]) == (409, "payment_used")
        assert "www-authenticate" not in again.headers
        session = await site.gateway.refunded(receipt["extra"]["ws402"]["info"]["sessionId"])
        assert site.chain.held(payer.address) == 10 * AMOUNT - int(session.consumed_amount or 0)
        assert await site.gateway.sent() == 1
        await site.gateway.check()


async def test_a57_a_challenge_that_is_not_ours_or_of_another_resource_is_challenged_anew(site: Site) -> None:
    payer = await asyncio.to_thread(site.chain.payer)
    async with httpx.AsyncClient(timeout=30) as client:
        told = await challenge(client, site)
        cheaper = url64(dict(sorted((plain64(told["request"]) | {"amount": "1"}).items())))
        for wrong in (
            told | {"request": cheaper},
            told | {"id": "A" * 43},
            told | {"id": "é"},
            told | {"realm": "elsewhere.example"},
            told | {"expires": "2099-01-01T00:00:00Z"},
            told | {"digest": "sha-256=AA"},
            await challenge(client, site, "/api/resource/other"),
            await challenge(client, site, "/api/resource/film?duration=600"),
        ):
            headers = await credential(site, payer, wrong)
            answer = await client.get(f"{site.url}/api/resource/film", headers=headers)
            assert answer.status_code == 402, wrong
            assert answer.headers["www-authenticate"].startswith("Payment ")
    assert await site.gateway.sent() == 0


async def test_a58_a_transfer_that_was_signed_for_another_challenge_is_not_collected(site: Site) -> None:
    payer = await asyncio.to_thread(site.chain.payer)
    async with httpx.AsyncClient(timeout=30) as client:
        other = await challenge(client, site)
        headers = await credential(site, payer, await challenge(client, site), lambda *_: joined(other["id"], "x"))
        answer = await client.get(f"{site.url}/api/resource/film", headers=headers)
        assert answer.status_code == 402
        assert answer.headers["www-authenticate"].startswith("Payment ")
    assert await site.gateway.sent() == 0


async def test_a52_a_credential_that_cannot_be_read_is_400(site: Site) -> None:
    async with httpx.AsyncClient(timeout=30) as client:
        told = await challenge(client, site)
        for value in ("!", "e30", url64([]), url64({"challenge": told}), "A" * 9000, '"eyJ9"'):
            answer = await client.get(f"{site.url}/api/resource/film", headers={"authorization": f"Payment {value}"})
            assert (answer.status_code, answer.json()["code"]) == (400, "malformed_payment"), value


@pytest.mark.parametrize("value", [b" " * 10**6 + b"b", b"a" + b" " * 10**6 + b"b", b"a " * 10**6])
def test_a52_a_credential_costs_no_more_than_its_bytes(value: bytes) -> None:
    """Matched by a pattern that tries each space anew, one of these takes hours."""
    with pytest.raises(MalformedPaymentError):
        credential_of([(b"authorization", b"Payment " + value)])


def test_the_scheme_is_read_as_http_has_it() -> None:
    others = [(b"authorization", each) for each in (b"Payment", b"Bearer Payment e30", b"Payments e30", b"")]
    assert credential_of([*others, (b"x-payment", b"Payment e30")]) is None
    with pytest.raises(MalformedPaymentError, match="two payments"):
        credential_of([*others, (b"authorization", b"Payment e30"), (b"authorization", b"  pAYMENT\t e30 ")])
