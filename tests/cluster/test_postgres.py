"""Two gateways on PostgreSQL: restarted and killed under live sessions; no session fails, and the books agree."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import asyncpg
import pytest
from tests.cluster.chain import CHAIN, chain_pod, given_secret
from tests.cluster.kube import get, kubectl, until
from tests.cluster.release import Load, Release

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

SESSIONS = 40


@pytest.fixture(scope="module")
def database() -> str:
    """A new database, on a server that pods reach too (WS402_CLUSTER_DATABASE_URL)."""
    url = os.environ.get("WS402_CLUSTER_DATABASE_URL")
    if not url:
        pytest.skip("WS402_CLUSTER_DATABASE_URL is not set: no PostgreSQL that pods reach")
    name = f"ws402_{secrets.token_hex(4)}"

    async def create() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute(f"CREATE DATABASE {name}")
        await connection.close()

    asyncio.run(create())
    return urlsplit(url)._replace(path=f"/{name}").geturl()


@pytest.fixture(scope="module")
def pair(cluster: None, database: str) -> Iterator[Release]:
    release = Release("ws402-pair", "ws402-pair", rpc=f"http://chain.{CHAIN}.svc:8545", admin_secret="given")
    parts = urlsplit(database)
    address = f"{socket.gethostbyname(str(parts.hostname))}/32"
    with chain_pod(), given_secret(release, base_rpc=release.rpc, database_url=database):
        release.upgrade(
            "--set=gateway.namespace.create=false",
            "--set=gateway.database.kind=postgresql",
            "--set=gateway.replicas=2",
            f"--set-json=gateway.egress.database={json.dumps([{'cidr': address, 'ports': [parts.port or 5432]}])}",
            "--set=secrets.source=existingSecret",
            "--set=secrets.existingSecret=given",
            f"--set-json=gateway.egress.rpc={json.dumps([{'namespace': CHAIN, 'ports': [8545]}])}",
            "--set=server.autoscaling.mode=none",
            "--set=server.replicas=1",
            f"--set-json=server.clients={json.dumps([{'namespace': CHAIN}])}",
            "--set=server.settings.schema_per_minute=10000",
            "--set=server.settings.max_unpaid_per_address=200",
        )
        yield release
        release.uninstall()
        kubectl("delete", "namespace", release.namespace, "--ignore-not-found", "--wait=false")


@pytest.fixture(scope="module")
def load(pair: Release) -> Iterator[Load]:
    load = pair.load(SESSIONS, 3, namespace=CHAIN)
    load.opened(120)
    yield load
    load.stop()


def all_go_on(release: Release, load: Load) -> None:
    before = load.figures()["messages"]
    until("messages flow", lambda: load.figures()["messages"] > before, 30)
    now = load.figures()
    assert load.live() == SESSIONS, now
    assert not now.get("failed"), now
    release.balanced()


def test_both_gateways_serve_one_ledger(pair: Release, load: Load) -> None:
    assert len(pair.ready("gateway", 2)) == 2
    all_go_on(pair, load)


def test_a_rolling_restart_of_the_gateways_fails_no_session(pair: Release, load: Load) -> None:
    name = f"deployment/{pair.name}-gateway"
    kubectl("-n", pair.private, "rollout", "restart", name)
    kubectl("-n", pair.private, "rollout", "status", name, "--timeout=150s", timeout=160)
    all_go_on(pair, load)
    more = pair.load(4, 6, namespace=CHAIN)  # and new ones open
    more.opened(60)
    assert not more.leave().get("failed")


def test_a_gateway_that_is_killed_fails_no_session(pair: Release, load: Load) -> None:
    victim = pair.pods("gateway")[0]["metadata"]["name"]
    kubectl("-n", pair.private, "delete", "pod", victim, "--force", "--grace-period=0")
    all_go_on(pair, load)
    pair.ready("gateway", 2, 120)


def test_the_disruption_budget_keeps_one_gateway(pair: Release) -> None:
    budget = get("-n", pair.private, "poddisruptionbudget", f"{pair.name}-gateway")["status"]
    assert (budget["currentHealthy"], budget["disruptionsAllowed"]) == (2, 1)


def test_all_sessions_end_to_the_unit(pair: Release, load: Load) -> None:
    end = load.leave()
    assert (end["exact"], end.get("failed", 0), end.get("refused", 0)) == (SESSIONS, 0, 0), end
    assert end["paid"] == end["consumed"] + end["refund"]
    pair.settled()
    pair.balanced()
