"""ServiceAccount tokens instead of API keys, over HTTP, against a cluster's keys shown by a real HTTPS server."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.fixtures.cluster import ISSUER, Cluster

from ws402.errors import UnauthorizedError
from ws402.gateway.api.app import GatewayApp
from ws402.gateway.auth import cluster_keys
from ws402.gateway.auth.keys import FAILURE_BURST, FAILURES_PER_SECOND, Authenticator
from ws402.limits import Buckets
from ws402.protocol import GenerateRequest
from ws402.provider.mock.service import MockPaymentService
from ws402.provider.proxy import ProxyPaymentProvider
from ws402.serving import HttpServer
from ws402.settings import GatewaySettings, load

KEY = "k" * 40
GENERATE = {"amount": 1000, "resourceId": "feed", "estimatedDuration": 10}


class Gateway:
    def __init__(self, url: str, authenticator: Authenticator) -> None:
        self.url = url
        self.authenticator = authenticator
        self._http = httpx.AsyncClient(base_url=url, timeout=10)

    async def ask(self, token: str) -> httpx.Response:
        return await self._http.post(
            "/api/payment/generate", json=GENERATE, headers={"Authorization": f"Bearer {token}"}
        )

    async def get(self, path: str, token: str) -> httpx.Response:
        return await self._http.get(path, headers={"Authorization": f"Bearer {token}"})

    async def status(self, token: str) -> int:
        return (await self.ask(token)).status_code

    async def ready(self) -> int:
        return (await self._http.get("/health/ready")).status_code

    async def close(self) -> None:
        await self._http.aclose()


@asynccontextmanager
async def serving(cluster: Cluster, **identity: Any) -> AsyncIterator[Gateway]:
    settings = load(GatewaySettings, gateway_api_key=KEY, kubernetes_identity=cluster.settings | identity)
    failures = Buckets(FAILURES_PER_SECOND, FAILURE_BURST, clock=lambda: 0.0)  # no guess is forgiven meanwhile
    authenticator = Authenticator(settings, failures=failures)
    assert authenticator.identity is not None
    await authenticator.identity.keys.start()
    server = HttpServer("127.0.0.1", 0)
    await server.start(GatewayApp(MockPaymentService(), authenticator, settings).app)
    gateway = Gateway(server.url, authenticator)
    yield gateway
    await gateway.close()
    await server.close()
    await authenticator.identity.keys.close()


@pytest.fixture
async def gateway(cluster: Cluster) -> AsyncIterator[Gateway]:
    async with serving(cluster) as started:
        yield started


def principal(gateway: Gateway, token: str) -> tuple[str, frozenset[str]]:
    found = gateway.authenticator.authenticate(f"Bearer {token}".encode(), "127.0.0.1")
    return found.tenant, found.scopes


async def test_a_token_is_as_good_as_a_key_and_names_its_tenant(gateway: Gateway, cluster: Cluster) -> None:
    token = cluster.token()
    assert await gateway.status(token) == 200
    assert principal(gateway, token) == ("shop/server", frozenset({"payments"}))
    assert await gateway.status(KEY) == 200
    assert await gateway.ready() == 200
    cluster.rotate("ec-1", curve=True)
    assert await gateway.status(cluster.token()) == 200


async def test_an_account_can_be_given_a_tenant(cluster: Cluster) -> None:
    async with serving(cluster, allow=["default:shop/server"]) as gateway:
        assert principal(gateway, cluster.token())[0] == "default"


def _none(cluster: Cluster) -> str:
    head = base64.urlsafe_b64encode(b'{"alg":"none","kid":"rsa-cluster"}').rstrip(b"=").decode()
    return f"{head}.{cluster.token().split('.')[1]}."


def _confused(cluster: Cluster) -> str:
    """HS256 with the public key as the secret, which everybody knows."""
    key = cluster.keys["rsa-cluster"].public_key()
    pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    head, body = (
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")
        for part in ({"alg": "HS256", "kid": "rsa-cluster", "typ": "JWT"}, cluster.claims())
    )
    algorithm = jwt.get_algorithm_by_name("HS256")
    signature = base64.urlsafe_b64encode(algorithm.sign(head + b"." + body, pem)).rstrip(b"=")
    return b".".join((head, body, signature)).decode()


def _foreign(cluster: Cluster) -> str:
    """By another cluster's key under this one's name."""
    return jwt.encode(cluster.claims(), rsa.generate_private_key(65537, 2048), "RS256", headers={"kid": "rsa-cluster"})


def _altered(cluster: Cluster) -> str:
    head, _, signature = cluster.token("thief/server").split(".")
    body = base64.urlsafe_b64encode(json.dumps(cluster.claims()).encode()).rstrip(b"=").decode()
    return f"{head}.{body}.{signature}"


def _claims(**changed: Any) -> Callable[[Cluster], str]:
    return lambda cluster: cluster.sign(cluster.claims(**changed))


def _without(claim: str) -> Callable[[Cluster], str]:
    return lambda cluster: cluster.sign({key: each for key, each in cluster.claims().items() if key != claim})


NOW = int(time.time())

STOLEN = {
    "another namespace": lambda cluster: cluster.token("thief/server"),
    "another account": lambda cluster: cluster.token("shop/default"),
    "another audience": lambda cluster: cluster.token(audience=ISSUER),
    "two audiences": _claims(aud=["ws402-gateway", "vault"]),
    "another issuer": _claims(iss="https://other.example"),
    "expired": _claims(iat=NOW - 7200, nbf=NOW - 7200, exp=NOW - 3600),
    "not yet good": _claims(nbf=NOW + 3600, exp=NOW + 7200),
    "made for a year": _claims(exp=NOW + 31_536_000),
    "a subject that the other claims deny": _claims(sub="system:serviceaccount:shop:admin"),
    "another namespace in the private claims": _claims(
        **{"kubernetes.io": {"namespace": "thief", "serviceaccount": {"name": "server"}}}
    ),
    "no private claims": _without("kubernetes.io"),
    **{f"no {claim}": _without(claim) for claim in ("exp", "aud", "iss", "nbf", "sub")},
    "no signature": _none,
    "a public key as a secret": _confused,
    "another cluster's key": _foreign,
    "altered": _altered,
    "no token": lambda _: "a.b.c",
    "too long": lambda cluster: cluster.token(padding="x" * 9000),
}


async def test_a37_a38_a_token_that_proves_nothing_is_refused_without_saying_why(
    gateway: Gateway, cluster: Cluster
) -> None:
    answers = {kind: await gateway.ask(make(cluster)) for kind, make in STOLEN.items()}
    told = (await gateway.ask("no-key-of-anybody")).json()
    assert {kind: answer.status_code for kind, answer in answers.items()} == dict.fromkeys(STOLEN, 401)
    assert {kind: answer.json() for kind, answer in answers.items()} == dict.fromkeys(STOLEN, told)
    assert await gateway.status(cluster.token()) == 200  # and the right one is


async def test_a38_guessed_tokens_are_slowed_down(gateway: Gateway, cluster: Cluster) -> None:
    answers = [await gateway.status(cluster.token("thief/server", jti=str(number))) for number in range(110)]
    assert answers[0] == 401
    assert answers[-1] == 429
    assert await gateway.status(cluster.token()) == 429  # not checked for an address that only guesses


async def test_a38_guesses_do_not_lock_out_whom_that_address_belongs_to(gateway: Gateway, cluster: Cluster) -> None:
    assert await gateway.status(cluster.token()) == 200
    for number in range(110):
        await gateway.status(cluster.token("thief/server", jti=str(number)))
    assert await gateway.status(cluster.token(jti="renewed")) == 200


async def test_a38_a_flood_of_unknown_keys_asks_the_cluster_once(gateway: Gateway, cluster: Cluster) -> None:
    asked = cluster.asked
    tokens = [cluster.sign(cluster.claims(), key_id=f"made-up-{number}") for number in range(40)]
    assert set(await asyncio.gather(*map(gateway.status, tokens))) == {401}
    assert cluster.asked == asked + 1


async def test_a_rotated_key_is_learnt_from_the_first_token_that_it_signed(gateway: Gateway, cluster: Cluster) -> None:
    cluster.rotate("rsa-2")
    cluster.slow = 0.2
    tokens = [cluster.token(jti=str(number)) for number in range(10)]
    assert set(await asyncio.gather(*map(gateway.status, tokens))) == {200}


@pytest.mark.parametrize(("path", "status"), [("/api/blockhash?network=none", 501), ("/api/stats", 200)])
async def test_a_rotated_key_is_learnt_by_calls_without_a_body_as_well(
    gateway: Gateway, cluster: Cluster, path: str, status: int
) -> None:
    cluster.rotate("rsa-2")
    assert (await gateway.get(path, cluster.token())).status_code == status


async def test_a_key_that_the_cluster_takes_back_ends_what_it_signed(
    cluster: Cluster,
) -> None:
    async with serving(cluster, refresh_seconds=1) as gateway:
        token = cluster.token()
        assert await gateway.status(token) == 200
        cluster.rotate("rsa-2", keep=False)
        async with asyncio.timeout(10):
            while await gateway.status(token) != 401:
                await asyncio.sleep(0.1)
        assert await gateway.status(cluster.token()) == 200


async def test_the_keys_outlive_the_api_server(cluster: Cluster) -> None:
    async with serving(cluster, refresh_seconds=1) as gateway:
        cluster.away = True
        asked = cluster.asked
        async with asyncio.timeout(10):
            while cluster.asked == asked:
                await asyncio.sleep(0.05)
        assert await gateway.status(cluster.token()) == 200
        assert await gateway.ready() == 200


async def test_keys_that_were_never_read_are_503_until_they_are(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_keys, "ASKED_SECONDS", 0.1)
    cluster.away = True
    async with serving(cluster) as gateway:
        answer = await gateway.ask(cluster.token())
        assert (answer.status_code, answer.json()["code"]) == (503, "keys_unavailable")
        assert await gateway.ready() == 503
        assert await gateway.status(KEY) == 200
        cluster.away = False
        await asyncio.sleep(0.15)
        assert await gateway.status(cluster.token()) == 200


async def test_a38_a_flood_of_tokens_before_the_keys_are_known_asks_the_cluster_once(cluster: Cluster) -> None:
    cluster.away = True
    async with serving(cluster) as gateway:
        asked = cluster.asked
        for number in range(10):
            assert await gateway.status(cluster.token(jti=str(number))) == 503
        assert cluster.asked == asked + 1


async def test_a_token_ends_when_it_says_although_it_was_good(gateway: Gateway, cluster: Cluster) -> None:
    token = cluster.token(exp=int(time.time()) - 28)  # good for two seconds yet, by the leeway
    assert await gateway.status(token) == 200
    async with asyncio.timeout(5):
        while await gateway.status(token) == 200:
            await asyncio.sleep(0.2)


@pytest.mark.parametrize("wrong", ["ca", "token"])
async def test_a_cluster_that_is_not_the_one_gives_no_keys(cluster: Cluster, tmp_path: Path, wrong: str) -> None:
    other = Cluster(tmp_path / "other")
    values = {"ca_file": other.authority.file} if wrong == "ca" else {"token_file": other.token_file}
    async with serving(cluster, **values) as gateway:
        assert await gateway.status(cluster.token()) == 503
    await other.close()


async def test_a_servers_token_file_is_renewed_without_a_failed_call(
    gateway: Gateway, cluster: Cluster, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text(cluster.token(exp=int(time.time()) - 28))
    provider = ProxyPaymentProvider(gateway.url, token_file=file, retry_attempts=1)
    request = GenerateRequest(amount=1000, resource_id="feed", estimated_duration=10)
    assert (await provider.generate_payment_details(request)).amount == 1000
    assert "eyJ" not in repr(provider)
    until = time.monotonic() + 3
    file.write_text(cluster.token(jti="renewed"))
    while time.monotonic() < until:  # beyond the end of the first one
        assert (await provider.generate_payment_details(request)).amount == 1000
        await asyncio.sleep(0.1)
    file.write_text(cluster.token("thief/server"))
    await asyncio.sleep(1.1)
    with pytest.raises(UnauthorizedError):
        await provider.generate_payment_details(request)
    await provider.close()
