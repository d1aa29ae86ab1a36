"""200 paid sessions live through what operators and clusters do to their pods; the books agree after each.

One load for all: the tests of this file follow each other, after values that make an autoscaler act within a test.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest
import yaml
from tests.cluster.kube import get, helm, kubectl, run, until
from tests.cluster.release import CHART, Load, Release

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

SESSIONS = 200
QUICK = [
    # 200 sessions use some 30 m of CPU: by this request, far above what the autoscaler is to keep
    "--set=server.pod.resources.requests.cpu=10m",
    "--set=server.autoscaling.mode=hpa",
    "--set=server.autoscaling.maxReplicas=3",
    "--set=server.autoscaling.behavior.scaleDown.stabilizationWindowSeconds=5",
    '--set-json=server.autoscaling.behavior.scaleDown.policies=[{"type": "Pods", "value": 4, "periodSeconds": 5}]',
    "--set=server.settings.schema_per_minute=10000",
    "--set=server.settings.max_unpaid_per_address=200",
    "--set=server.settings.drain_seconds=8",
    "--set=server.settings.update_interval=1000",
]


@pytest.fixture(scope="module")
def loads(release: Release) -> Iterator[list[Load]]:
    """Two pods of payers, each with half of the sessions."""
    release.upgrade(*QUICK)  # until now the number was fixed
    assert replicas(release) >= 2
    release.balanced()
    both = [release.load(SESSIONS // 2, first) for first in (3, 6)]
    for load in both:
        load.opened(150)
    yield both
    for load in both:
        load.stop()


def live(loads: list[Load]) -> int:
    return sum(load.live() for load in loads)


def _resumed(loads: list[Load]) -> int:
    return sum(load.figures().get("resumed", 0) for load in loads)


def all_go_on(release: Release, loads: list[Load]) -> None:
    """Every session is live, on some server, and messages flow."""
    until("every session goes on", lambda: live(loads) == SESSIONS, 30)
    before = [load.figures()["messages"] for load in loads]
    until(
        "messages flow",
        lambda: all(load.figures()["messages"] > old for load, old in zip(loads, before, strict=True)),
        30,
    )
    until("the gateway counts them all as live", lambda: _counted(release) >= SESSIONS, 100, every=2)
    release.balanced()


def _counted(release: Release) -> int:
    return int(json.loads(release.ops("--json", "status").stdout)["sessions"].get("live", 0))


def replicas(release: Release) -> int:
    return int(get("-n", release.namespace, "deployment", f"{release.name}-server")["spec"]["replicas"])


def test_200_sessions_open_and_the_servers_scale_out(release: Release, loads: list[Load]) -> None:
    until("scaled out", lambda: replicas(release) == 3, 120)
    release.ready("server", 3)
    all_go_on(release, loads)


def test_servers_come_and_go_and_no_session_is_lost(release: Release, loads: list[Load]) -> None:
    """Scale-in deletes pods past every budget; what they drain goes on elsewhere, to the unit (see the last test)."""
    resumed = _resumed(loads)
    # The youngest would go first, which nobody came to yet: let it be the oldest.
    oldest = min(release.pods("server"), key=lambda pod: str(pod["metadata"]["creationTimestamp"]))["metadata"]["name"]
    cost = "controller.kubernetes.io/pod-deletion-cost=-100"
    kubectl("-n", release.namespace, "annotate", "pod", oldest, cost)
    for most in (2, 3, 2, 3):
        limit = json.dumps({"spec": {"maxReplicas": most}})
        kubectl("-n", release.namespace, "patch", "hpa", f"{release.name}-server", "--type=merge", "-p", limit)
        release.ready("server", most, 60)
    until("the drained ones are resumed", lambda: _resumed(loads) > resumed, 30)
    all_go_on(release, loads)


def test_an_upgrade_keeps_as_many_servers_as_there_are(release: Release) -> None:
    """From a fixed number to an autoscaler, and on: Helm alone would begin with one pod again."""
    release.ready("server", 3)
    planned = helm(
        "upgrade", release.name, CHART, "-n", release.namespace, "--reuse-values", "--dry-run=server", "-o", "json"
    )
    (deployment,) = [
        each
        for each in yaml.safe_load_all(json.loads(planned)["manifest"])
        if each and each["kind"] == "Deployment" and each["metadata"]["name"] == f"{release.name}-server"
    ]
    assert deployment["spec"]["replicas"] == 3


def test_a_rolling_restart_of_the_servers_loses_no_session(release: Release, loads: list[Load]) -> None:
    before = {pod["metadata"]["name"] for pod in release.pods("server")}
    kubectl("-n", release.namespace, "rollout", "restart", f"deployment/{release.name}-server")
    kubectl(
        "-n", release.namespace, "rollout", "status", f"deployment/{release.name}-server", "--timeout=150s", timeout=160
    )
    until("the old servers are gone", lambda: not before & _names(release), 90)
    all_go_on(release, loads)
    assert _resumed(loads) >= SESSIONS


def _names(release: Release) -> set[str]:
    listed = get("-n", release.namespace, "pods", "-l", release.selector("server"))
    return {pod["metadata"]["name"] for pod in listed}


def test_a_server_that_is_killed_loses_no_unit(release: Release, loads: list[Load]) -> None:
    victim = release.pods("server")[0]["metadata"]["name"]
    kubectl("-n", release.namespace, "delete", "pod", victim, "--force", "--grace-period=0")
    release.ready("server", replicas(release), 60)
    all_go_on(release, loads)


def test_the_gateway_is_killed_and_no_session_ends(release: Release, loads: list[Load]) -> None:
    kubectl("-n", release.private, "delete", "pod", f"{release.name}-gateway-0", "--force", "--grace-period=0")
    release.ready("gateway", 1, 90)
    all_go_on(release, loads)


def test_a_node_drain_honours_the_disruption_budget(release: Release, loads: list[Load]) -> None:
    """What a drain does: evict every server at once, again and again; never is more than one away."""
    want = replicas(release)
    release.ready("server", want)
    old = {pod["metadata"]["name"] for pod in release.pods("server")}
    refused = 0
    end = time.monotonic() + 150
    while left := old & {pod["metadata"]["name"] for pod in release.pods("server")}:
        assert time.monotonic() < end, f"not evicted: {left}"
        for name in sorted(left):
            refused += not evict(release.namespace, name)
            budget = get("-n", release.namespace, "poddisruptionbudget", f"{release.name}-server")["status"]
            assert budget["currentHealthy"] >= want - 1, budget
        time.sleep(1)
    assert refused, "the budget refused nothing, so it did nothing"
    release.ready("server", replicas(release))
    all_go_on(release, loads)


def evict(namespace: str, name: str) -> bool:
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": namespace}}
    said = run(
        "kubectl", "create", "--raw", f"/api/v1/namespaces/{namespace}/pods/{name}/eviction", "-f", "-",
        stdin=json.dumps(eviction), check=False,
    )  # fmt: skip
    if "Cannot evict pod" in said or "TooManyRequests" in said:
        return False
    assert '"Success"' in said or "NotFound" in said, said
    return True


def test_helm_upgrade_and_rollback_under_live_sessions(release: Release, loads: list[Load]) -> None:
    revision = json.loads(helm("history", release.name, "-n", release.namespace, "--max=1", "-o", "json"))[0][
        "revision"
    ]
    release.upgrade("--set=server.settings.ping_seconds=20")
    all_go_on(release, loads)
    helm("rollback", release.name, str(revision), "-n", release.namespace, "--wait", "--timeout=240s")
    settings = get("-n", release.namespace, "configmap", f"{release.name}-server")["data"]["server.toml"]
    assert "ping_seconds" not in settings
    all_go_on(release, loads)


def test_prices_change_without_a_restart_and_live_sessions_keep_theirs(release: Release, loads: list[Load]) -> None:
    before = _names(release)
    release.upgrade('--set-json=resources=[{"id": "ticker", "kind": "ticker", "price_per_second": 20000000000000}]')
    offer = "http://127.0.0.1:4030/ws402/schema/ticker"
    look = f"import urllib.request; print(urllib.request.urlopen('{offer}').read().decode())"
    for name in before:
        until(
            "the new price", lambda name=name: "20000000000000" in kubectl(  # type: ignore[misc]
                "-n", release.namespace, "exec", name, "--", "python", "-c", look
            ), 150, every=3,
        )  # fmt: skip
    assert _names(release) >= before
    assert live(loads) == SESSIONS


def test_the_sessions_end_to_the_unit_and_the_servers_scale_in(release: Release, loads: list[Load]) -> None:
    ends = [load.leave() for load in loads]
    for end in ends:
        assert end.get("failed", 0) == end.get("refused", 0) == 0, end
        assert end["exact"] == SESSIONS // 2, end
        assert end["paid"] == end["consumed"] + end["refund"], end
    until("scaled in", lambda: replicas(release) == 2, 150)
    release.ready("server", 2, 90)
    release.settled()
    release.balanced()
