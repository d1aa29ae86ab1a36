"""Who may see the console, and from where: keys, cookies, tokens, hosts and origins, by plain HTTP."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.cli.test_ops import ADMIN_KEY, SERVER_KEY
from tests.gateway.console.conftest import Till

from ws402.devchain.evm import EvmDevChain
from ws402.errors import NotFoundError, RateLimitedError, UnauthorizedError
from ws402.gateway.auth.keys import Authenticator, Scope
from ws402.gateway.auth.stored import revoke_key
from ws402.gateway.console.http import COOKIE
from ws402.gateway.console.visits import (
    IDLE_SECONDS,
    LONGEST_SECONDS,
    MOST_PLANS,
    MOST_VISITS,
    PLAN_SECONDS,
    TRIES,
    TRY_SECONDS,
    Visits,
)
from ws402.settings import GatewaySettings

PAGES = ("/", "/sessions", "/refunds", "/unclaimed", "/keys", "/search", "/audit")


@contextmanager
def signed_in(till: Till, key: str) -> Iterator[httpx.Client]:
    with till.visitor() as visitor:
        answer = visitor.post("/sign-in", data={"key": key})
        assert answer.status_code == 303, answer.text
        yield visitor


def csrf(visitor: httpx.Client) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', visitor.get("/").text)
    assert found
    return found[1]


def test_nothing_is_shown_to_nobody(till: Till) -> None:
    with till.visitor() as visitor:
        for path in (*PAGES, "/refund?id=x", "/case?what=x", "/nowhere"):
            answer = visitor.get(path)
            assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in"), path
        assert visitor.post("/change", data={"command": "keys/revoke"}).status_code == 401
        assert visitor.get("/sign-in").status_code == 200


@pytest.mark.parametrize("key", ["", "x" * 40, SERVER_KEY, "ü" * 40])
def test_a38_only_an_operators_key_opens_the_console(till: Till, key: str) -> None:
    with till.visitor() as visitor:
        answer = visitor.post("/sign-in", data={"key": key})
        assert answer.status_code in {401, 403, 429}
        assert "set-cookie" not in answer.headers


def test_the_cookie_is_for_this_site_and_no_script(till: Till) -> None:
    with till.visitor() as visitor:
        answer = visitor.post("/sign-in", data={"key": till.bob})
        cookie = answer.headers["set-cookie"]
        assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= {each.strip() for each in cookie.split(";")}
        assert till.bob not in cookie
        page = visitor.get("/")
        assert page.status_code == 200
        assert "bob (key_" in page.text
        assert till.bob not in page.text
        assert page.headers["cache-control"] == "no-store"
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src" not in policy
        assert "unsafe" not in policy
        assert "<script" not in page.text
        assert visitor.get("/", headers={"User-Agent": "another browser"}).status_code == 303, "a cookie that was taken"


def test_signing_out_ends_the_visit_at_the_gateway(till: Till) -> None:
    with signed_in(till, till.bob) as visitor:
        taken = dict(visitor.cookies)
        answer = visitor.post("/sign-out", data={"csrf": csrf(visitor)})
        assert "Max-Age=0" in answer.headers["set-cookie"]
        again = httpx.get(till.url, cookies=taken, headers={"User-Agent": visitor.headers["user-agent"]})
        assert again.status_code == 303


def test_a56_a_cookie_without_the_token_changes_nothing(till: Till) -> None:
    with signed_in(till, till.alice) as visitor:
        change = {"command": "signers/switch", "network": "base-sepolia", "action": "pause", "reason": "an attack"}
        for token in ({}, {"csrf": ""}, {"csrf": "x" * 43}):
            for path in ("/change", "/confirm", "/sign-out", "/search"):
                assert visitor.post(path, data={**change, **token}).status_code == 403
        assert visitor.get("/").status_code == 200, "and does not sign out"
    assert "an attack" not in str(till.run(till.gateway.audit_log.records()))


def test_a56_a_link_from_another_site_does_not_sign_out(till: Till) -> None:
    followed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    answer = httpx.get(till.url, headers=followed)  # a browser sends no SameSite=Strict cookie along
    assert (answer.status_code, answer.headers.get("set-cookie")) == (303, None)
    over = httpx.get(till.url, cookies={COOKIE: "of a visit that is over"})
    assert "Max-Age=0" in over.headers["set-cookie"]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("console.example:{port}", 421),
        ("127.0.0.1.example:{port}", 421),
        ("127.0.0.1@example", 421),
        ("10.0.0.7:{port}", 421),
        ("", 421),
        ("localhost:8443", 303),
        ("[::1]:{port}", 303),
        ("LOCALHOST:{port}", 303),
    ],
)
def test_a56_a_foreign_name_for_this_machine_is_refused(till: Till, host: str, status: int) -> None:
    port = till.url.rpartition(":")[2]
    assert httpx.get(till.url, headers={"Host": host.format(port=port)}).status_code == status


def test_a56_forms_of_other_sites_are_refused(till: Till) -> None:
    with signed_in(till, till.alice) as visitor:
        token = csrf(visitor)
        form = {"csrf": token, "what": "ses_none"}
        port = int(till.url.rpartition(":")[2])
        for origin in ("https://shop.example", "null", f"http://127.0.0.1:{port + 1}", f"https://127.0.0.1:{port}"):
            assert visitor.post("/search", data=form, headers={"Origin": origin}).status_code == 403, origin
            assert visitor.get("/", headers={"Origin": origin}).status_code == 403, origin
        for site in ("cross-site", "same-site"):
            assert visitor.post("/search", data=form, headers={"Sec-Fetch-Site": site}).status_code == 403
            assert visitor.get("/", headers={"Sec-Fetch-Site": site}).status_code == 403
        del visitor.headers["Origin"]
        assert visitor.post("/search", data=form).status_code == 403, "a form says where it is from"
        followed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
        assert visitor.get("/", headers=followed).status_code == 200


def test_a56_a_key_that_may_look_changes_nothing(till: Till) -> None:
    with signed_in(till, till.bob) as visitor:
        change = {"command": "signers/switch", "network": "base-sepolia", "action": "pause", "reason": "an attack"}
        answer = visitor.post("/change", data={**change, "csrf": csrf(visitor)})
        assert answer.status_code == 403
        assert "lacks the scope" in answer.text
        assert "Do it" not in answer.text
        assert "/change" not in visitor.get("/keys").text
    assert "an attack" not in str(till.run(till.gateway.audit_log.records()))


def test_a_change_that_was_tried_is_made_once_however_often_it_is_sent(till: Till) -> None:
    key_id, _ = till.run(till._key("erin", Scope.READ))
    with signed_in(till, till.alice) as visitor:
        form = {"csrf": csrf(visitor), "command": "keys/revoke", "id": key_id}
        tried = visitor.post("/change", data=form)
        assert f'Would be done on</dt><dd class="code">{key_id}' in tried.text
        found = re.search(r'name="plan" value="([^"]+)"', tried.text)
        assert found
        answers = [visitor.post("/confirm", data={"csrf": form["csrf"], "plan": found[1]}) for _ in range(3)]
        assert [each.status_code for each in answers] == [303, 404, 404]
        assert "There is no valid key" in visitor.post("/change", data=form).text, "the check of a dry run"
    records, _ = till.run(till.gateway.audit_log.records(kind="operator"))
    assert [each["arguments"]["id"] for each in records if each["command"] == "keys/revoke"] == [key_id]


@pytest.mark.parametrize(
    "form", [{"command": "capital"}, {"command": "keys/add"}, {}, {"command": "refunds/change", "action": "steal"}]
)
def test_a_form_that_the_console_does_not_have_is_refused(till: Till, form: dict[str, str]) -> None:
    with signed_in(till, till.alice) as visitor:
        assert visitor.post("/change", data={**form, "csrf": csrf(visitor)}).status_code == 400


def test_what_is_no_form_is_refused(till: Till) -> None:
    with signed_in(till, till.alice) as visitor:
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        bodies: list[tuple[bytes, dict[str, str]]] = [
            (b'{"csrf": "x"}', {"Content-Type": "application/json"}),
            (b"a=" + b"x" * 20_000, kind),
            (b"&".join(b"f%d=1" % each for each in range(40)), kind),
            (b"what=a&what=b", kind),
            (b"what=\xff", kind),
            (b"what=%ff", kind),
        ]
        for body, headers in bodies:
            assert visitor.post("/search", content=body, headers=headers).status_code == 400, body[:20]
        assert visitor.request("DELETE", "/").status_code == 405
        assert visitor.get("/sessions?state=lost").status_code == 400
        assert visitor.get("/sessions?colour=red").status_code == 400
        assert visitor.get("/nowhere").status_code == 404
        assert visitor.head("/").content == b""


def test_a_revoked_key_ends_its_visits(till: Till) -> None:
    key_id, key = till.run(till._key("dave", Scope.READ))
    till.run(till.gateway._stored.refresh())
    with signed_in(till, key) as visitor:
        assert visitor.get("/").status_code == 200
        till.run(revoke_key(till.gateway.database, key_id))
        till.run(till.gateway._stored.refresh())
        assert visitor.get("/").status_code == 303


def test_a_console_only_shows_unless_it_is_told_otherwise(shared_devchain: EvmDevChain, tmp_path: Path) -> None:
    reading = Till(shared_devchain, tmp_path, changes=False)
    try:
        with signed_in(reading, ADMIN_KEY) as visitor:
            assert "carol (GATEWAY_ADMIN_KEY 1), reading only" in visitor.get("/").text
            form = {"command": "signers/switch", "network": "base-sepolia", "action": "pause", "reason": "x"}
            answer = visitor.post("/change", data={**form, "csrf": csrf(visitor)})
            assert answer.status_code == 403
            assert "CONSOLE_CHANGES" in answer.text
    finally:
        reading.close()


def test_there_is_no_console_unless_its_port_is_set() -> None:
    settings = GatewaySettings()
    assert settings.console_port is None
    assert settings.console_changes is False


# --- visits by a clock of ours ---------------------------------------------------------------------------------------


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def visits(clock: Clock) -> Visits:
    return Visits(Authenticator(GatewaySettings(gateway_admin_key=ADMIN_KEY)), clock)  # type: ignore[arg-type]


def test_a_visit_ends_by_itself(visits: Visits, clock: Clock) -> None:
    token = visits.enter(ADMIN_KEY, "browser")
    for _ in range(int(LONGEST_SECONDS // (IDLE_SECONDS - 1))):
        clock.now += IDLE_SECONDS - 1
        assert visits.of(token, "browser") is not None
    clock.now += IDLE_SECONDS - 1
    assert visits.of(token, "browser") is None, "however much is looked at"
    token = visits.enter(ADMIN_KEY, "browser")
    clock.now += IDLE_SECONDS + 1
    assert visits.of(token, "browser") is None, "or when nothing is"
    assert visits.of("", "browser") is None


def test_a38_guessing_a_key_is_slow_even_for_the_right_one(visits: Visits, clock: Clock) -> None:
    for _ in range(TRIES):
        with pytest.raises(UnauthorizedError):
            visits.enter("x" * 40, "browser")
    with pytest.raises(RateLimitedError):
        visits.enter(ADMIN_KEY, "browser")
    clock.now += TRY_SECONDS + 0.1
    assert visits.enter(ADMIN_KEY, "browser")


def test_visits_and_tried_changes_are_bounded_and_a_change_is_made_once(visits: Visits, clock: Clock) -> None:
    first = visits.enter(ADMIN_KEY, "browser")
    token = ""
    for _ in range(MOST_VISITS):
        token = visits.enter(ADMIN_KEY, "browser")
    assert visits.of(first, "browser") is None
    known = visits.of(token, "browser")
    assert known is not None
    visit, _ = known
    plans = [visits.plan(visit, "keys/revoke", number, "/keys") for number in range(MOST_PLANS + 1)]
    with pytest.raises(NotFoundError):
        visits.take(visit, plans[0])
    assert visits.take(visit, plans[1]).command == 1
    with pytest.raises(NotFoundError):
        visits.take(visit, plans[1])
    clock.now += PLAN_SECONDS + 1
    with pytest.raises(NotFoundError):
        visits.take(visit, plans[2])


def test_the_cookie_of_one_visit_carries_out_no_change_of_another(visits: Visits) -> None:
    known: list[Any] = [visits.of(visits.enter(ADMIN_KEY, "browser"), "browser") for _ in range(2)]
    (one, _), (other, _) = known
    plan = visits.plan(one, "keys/revoke", 1, "/keys")
    with pytest.raises(NotFoundError):
        visits.take(other, plan)
    assert not other.is_from(one.csrf)
