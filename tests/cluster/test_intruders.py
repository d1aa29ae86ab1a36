"""Attacks on the installed release: stolen and guessed credentials, silent sockets, values that would expose it."""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
from collections.abc import Iterator

import pytest
from tests.cluster.kube import forwarded, helm, kubectl, token
from tests.cluster.release import CHART, Release
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect as open_socket

from ws402.client import EvmWallet, Options, connect
from ws402.devchain.evm.accounts import derive
from ws402.protocol import ServerMessage, SessionStarted

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

INTRUDER = "ws402-intruder"


@pytest.fixture(scope="module")
def intruder(release: Release) -> Iterator[str]:
    kubectl("create", "namespace", INTRUDER)
    kubectl("-n", INTRUDER, "create", "serviceaccount", f"{release.name}-server")
    yield INTRUDER
    kubectl("delete", "namespace", INTRUDER, "--wait=false")


def test_a_servers_own_token_is_accepted(release: Release, early_token: tuple[str, float]) -> None:
    assert release.status(early_token[0]) == 200


def test_a37_a_stolen_token_of_another_namespace_is_refused(release: Release, intruder: str) -> None:
    assert release.status(token(intruder, f"{release.name}-server", "ws402-gateway")) in {401, 403}


def test_a37_a_token_of_another_account_of_the_same_namespace_is_refused(release: Release) -> None:
    assert release.status(token(release.namespace, "default", "ws402-gateway")) in {401, 403}


def test_a37_a_token_for_another_audience_is_refused(release: Release) -> None:
    for audience in ("vault", "https://kubernetes.default.svc.cluster.local"):
        assert release.status(token(release.namespace, f"{release.name}-server", audience)) == 401


def test_a37_a_token_with_a_changed_claim_is_refused(release: Release, early_token: tuple[str, float]) -> None:
    head, body, signature = early_token[0].split(".")
    assert release.status(f"{head}.{body[:-4]}AAAA.{signature}") == 401
    assert release.status(f"{head}.{body}.") == 401


def test_a38_guessed_keys_are_refused(release: Release) -> None:
    for guess in (None, "your-secret-api-key", "root", "0" * 64, secrets.token_hex(32)):
        assert release.status(guess) == 401


def test_a_servers_token_opens_no_operators_door(release: Release, early_token: tuple[str, float]) -> None:
    with release.gateway(Authorization=f"Bearer {early_token[0]}") as gateway:
        assert gateway.get("/api/admin/audit").status_code in {401, 403}


def test_a_plain_text_call_to_the_tls_port_gets_no_answer(release: Release) -> None:
    with (
        forwarded(release.private, f"svc/{release.name}-gateway", 4029) as port,
        socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
    ):
        plain.sendall(b"GET /api/health HTTP/1.1\r\nHost: gateway\r\n\r\n")
        answer = b""
        with contextlib.suppress(OSError):
            answer = plain.recv(4096)
        assert not answer.startswith(b"HTTP/"), answer


async def test_a36_a_stolen_resume_token_gives_one_socket_and_works_once(release: Release) -> None:
    tokens: list[str] = []

    def event(message: ServerMessage) -> None:
        if isinstance(message, SessionStarted) and message.resume_token:
            tokens.append(message.resume_token)

    with (
        forwarded(release.namespace, f"svc/{release.name}-server", 80) as port,
        forwarded(release.namespace, f"svc/{release.name}-devchain", 8545) as rpc,
    ):
        wallet = EvmWallet(f"http://127.0.0.1:{rpc}", derive(4)[3].key)
        try:
            async with connect(
                f"http://127.0.0.1:{port}/#ticker",
                wallet=wallet,
                max_amount=10**18,
                duration=60,
                trust_first_use=True,
                options=Options(on_event=event, reconnect_seconds=0),
            ) as session:
                await anext(session)
                stolen = tokens[0]
            # The owner has left: the session is settled, and what was stolen opens nothing.
            url = f"ws://127.0.0.1:{port}/?userId=thief&resourceId=ticker"
            for guess in (stolen, stolen, "A" * len(stolen)):
                with open_socket(url, proxy=None) as thief:
                    thief.send(json.dumps({"type": "resume", "token": guess}))
                    assert "session_started" not in str(thief.recv(timeout=20))
        finally:
            await wallet.close()
    release.balanced()


def test_a39_silent_sockets_of_one_address_have_a_limit(release: Release) -> None:
    """Port-forward comes from one address: past its 20 unpaid sockets it gets no more."""
    held = 0
    with (
        forwarded(release.namespace, f"svc/{release.name}-server", 80) as port,
        contextlib.ExitStack() as sockets,
    ):
        url = f"ws://127.0.0.1:{port}/?userId=silent&resourceId=ticker"
        for _ in range(26):
            try:
                silent = sockets.enter_context(open_socket(url, proxy=None, open_timeout=10))
                silent.ping().wait(5)
            except (InvalidStatus, ConnectionClosed, OSError, EOFError):
                continue
            held += 1
    assert 10 < held <= 20


@pytest.mark.parametrize(
    "values",
    [
        "gateway.service.type=LoadBalancer",
        "gateway.service.type=NodePort",
        "gateway.ingress.enabled=true",
        "gateway.httpRoute.enabled=true",
        "gateway.hostNetwork=true",
        "gateway.namespace.name=ws402",
    ],
)
def test_values_that_would_expose_the_gateway_are_refused(release: Release, values: str) -> None:
    said = helm(
        "upgrade", release.name, CHART, "-n", release.namespace, "--reset-then-reuse-values", "--dry-run=server",
        f"--set={values}", check=False,
    )  # fmt: skip
    refused = values.removeprefix("gateway.").partition("=")[0].partition(".")[0]
    assert ("additional properties" in said and f"'{refused}'" in said) or "share the namespace" in said, said
    assert "kind: Deployment" not in said
