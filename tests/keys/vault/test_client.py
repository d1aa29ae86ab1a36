"""Logging in to a real Vault: kinds of login, renewal, and what is told when Vault refuses or does not answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.fixtures.vault import Reviewer, VaultCorner

from ws402.keys.snapshot import Counters, SecretsUnavailableError
from ws402.keys.vault.client import VaultClient
from ws402.settings import VaultSettings

Open = Callable[[VaultSettings], VaultClient]


@pytest.fixture
def opened() -> Iterator[Open]:
    """Makes clients, and closes them."""
    made: list[VaultClient] = []

    def make(settings: VaultSettings) -> VaultClient:
        made.append(VaultClient(settings, Counters()))
        return made[-1]

    yield make
    for each in made:
        each.close()


def whoami(client: VaultClient) -> Any:
    """The token that a client uses now, and its id."""
    return client.call("its token", lambda vault: vault.token)


def counters(client: VaultClient) -> Counters:
    return client._counters


def refused(client: VaultClient, path: str = "secret/metadata/none") -> SecretsUnavailableError:
    with pytest.raises(SecretsUnavailableError) as error:
        client.call(f"secret {path}", lambda vault: vault.read(path) or {})
    return error.value


@pytest.mark.vault
def test_a_short_token_is_renewed_and_at_its_end_replaced(vault: VaultCorner, opened: Open) -> None:
    vault.put("api-keys", servers="k" * 32)
    client = opened(vault.approle("--token-ttl", "1s", "--token-max-ttl", "3s"))
    path, seen, end = f"secret/data/{vault.path}/api-keys", [whoami(client)], time.monotonic() + 5
    while time.monotonic() < end:
        assert client.call("api-keys", lambda v: v.read(path))
        seen.append(whoami(client))
        time.sleep(0.1)
    assert len(set(seen)) >= 2, "a token that came to its longest life was not replaced"
    assert counters(client).renewals >= 2
    assert counters(client).logins == len(set(seen))


@pytest.mark.vault
def test_a_revoked_token_is_replaced_within_the_same_call(vault: VaultCorner, opened: Open) -> None:
    vault.put("api-keys", servers="k" * 32)
    client = opened(vault.approle())
    path = f"secret/data/{vault.path}/api-keys"
    token = whoami(client)
    vault.root.auth.token.revoke(token)
    assert client.call("api-keys", lambda v: v.read(path))["data"]["data"] == {"servers": "k" * 32}
    assert whoami(client) != token
    assert counters(client).logins == 2


@pytest.mark.vault
def test_a_token_from_a_file_is_read_anew_when_it_ends(vault: VaultCorner, opened: Open) -> None:
    vault.put("api-keys", servers="k" * 32)
    vault.bootstrap()
    made = vault.root.auth.token.create(policies=[vault.path], ttl="1h", no_parent=True)["auth"]["client_token"]
    file = vault.file("token", made)
    client = opened(vault.settings(auth="token", token_file=file))
    path = f"secret/data/{vault.path}/api-keys"
    client.call("api-keys", lambda v: v.read(path))
    vault.root.auth.token.revoke(made)
    error = refused(client, path)
    assert error.reason == "login"
    assert str(file) in error.message
    assert made not in f"{error} {error.remedy}"
    again = vault.root.auth.token.create(policies=[vault.path], ttl="1h", no_parent=True)["auth"]["client_token"]
    vault.file("token", again)
    assert client.call("api-keys", lambda v: v.read(path))["data"]["data"]


@pytest.mark.vault
def test_a_service_account_logs_in_and_its_token_is_read_anew_each_time(
    vault: VaultCorner, reviewer: Reviewer, opened: Open
) -> None:
    client, file = kubernetes(vault, reviewer, opened)
    first = whoami(client)
    vault.root.auth.token.revoke(first)
    file.write_text(reviewer.token(account="stranger"))  # what the kubelet wrote meanwhile
    error = refused(client)
    assert (error.reason, "stranger" in error.message) == ("login", True)
    file.write_text(reviewer.token())
    assert whoami(client) != first
    assert reviewer.reviews >= 2


@pytest.mark.vault
@pytest.mark.parametrize(
    ("claims", "told"),
    [
        ({"audience": "ws402-gateway"}, "for the audience ['ws402-gateway']"),
        ({"namespace": "default"}, "system:serviceaccount:default:ws402-gateway"),
        ({"account": "ws402-server"}, "system:serviceaccount:ws402-private:ws402-server"),
        ({"seconds": -5}, "and ended at"),
    ],
)
def test_a46_another_account_audience_or_time_gets_no_key(
    vault: VaultCorner, reviewer: Reviewer, opened: Open, claims: dict[str, Any], told: str
) -> None:
    client, file = kubernetes(vault, reviewer, opened)
    file.write_text(reviewer.token(**claims))
    error = refused(client)
    assert error.reason == "login"
    assert "role 'ws402-gateway'" in error.message
    assert told in error.message
    assert file.read_text() not in str(error)
    assert "ws402 vault bootstrap" in str(error.remedy)


def kubernetes(vault: VaultCorner, reviewer: Reviewer, opened: Open) -> tuple[VaultClient, Path]:
    """A client that logs in as a ServiceAccount, not logged in yet, and its token file."""
    reviewing = vault.file("reviewer", reviewer.token(account="vault", audience="https://kubernetes.default.svc"))
    where = ("--kubernetes-host", reviewer.url, "--reviewer-token", str(reviewing))
    vault.bootstrap(*where, "--kubernetes-ca", str(vault.ca_file), auth="kubernetes")
    file = vault.file("service-account", reviewer.token())
    return opened(vault.settings(auth_mount=f"kubernetes-{vault.path}", token_file=file)), file


@pytest.mark.vault
def test_a_token_file_that_is_not_there_is_told(vault: VaultCorner, opened: Open) -> None:
    error = refused(opened(vault.settings(token_file=vault.folder / "none")))
    assert error.reason == "token"
    assert "none" in error.message


@pytest.mark.vault
def test_another_authority_than_the_pinned_one_gets_no_word(
    vault: VaultCorner, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(vault.ca_file))  # what the environment trusts does not count
    error = refused(opened(vault.settings(auth="token", token_file=vault.file("token", "t"), ca_file=None)))
    assert error.reason == "certificate"
    assert "nothing was sent" in str(error.remedy)


def test_a_vault_that_is_silent_or_away_is_told_in_time(
    tmp_path: Path, opened: Open, likeness: Callable[..., str]
) -> None:
    (tmp_path / "token").write_text("t")

    def silent(handler: Any, body: Any) -> tuple[int, Any]:
        time.sleep(1.2)
        return 200, {}

    slow = VaultSettings(address=likeness(silent), auth="token", token_file=tmp_path / "token", timeout_seconds=0.5)
    begun = time.monotonic()
    error = refused(opened(slow))
    assert (error.reason, time.monotonic() - begun < 1.1) == ("slow", True)
    assert "0.5 s" in error.message
    away = slow.model_copy(update={"address": "http://127.0.0.1:9"})
    assert refused(opened(away)).reason == "unreachable"


def test_nothing_is_taken_from_the_environment_and_the_namespace_is_named(
    tmp_path: Path, opened: Open, likeness: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAULT_TOKEN", "the-operators-own")
    monkeypatch.setenv("VAULT_NAMESPACE", "elsewhere")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    seen: list[dict[str, str]] = []

    def answer(handler: Any, body: Any) -> tuple[int, Any]:
        seen.append(dict(handler.headers))
        return 200, {"data": {"ttl": 0, "renewable": False}}

    (tmp_path / "token").write_text("the-gateways")
    settings = {"address": likeness(answer), "auth": "token", "token_file": tmp_path / "token", "namespace": "team/a"}
    opened(VaultSettings(**settings)).call("a thing", lambda v: v.read("secret/data/x"))  # type: ignore[arg-type]
    assert {each["X-Vault-Token"] for each in seen} == {"the-gateways"}
    assert {each["X-Vault-Namespace"] for each in seen} == {"team/a"}


@pytest.mark.parametrize(
    ("status", "reason"), [(429, "busy"), (500, "busy"), (501, "sealed"), (502, "busy"), (400, "denied")]
)
def test_what_vault_answers_in_trouble_has_a_reason(
    tmp_path: Path, opened: Open, likeness: Callable[..., str], status: int, reason: str
) -> None:
    def answer(handler: Any, body: Any) -> tuple[int, Any]:
        if "lookup-self" in handler.path:
            return 200, {"data": {"ttl": 0}}
        return status, {"errors": ["local node not active"]}

    (tmp_path / "token").write_text("t")
    settings = VaultSettings(address=likeness(answer), auth="token", token_file=tmp_path / "token")
    assert refused(opened(settings)).reason == reason


@pytest.mark.vault
def test_a_sealed_vault_is_told_and_used_again_when_it_is_unsealed(vault: VaultCorner, opened: Open) -> None:
    vault.put("api-keys", servers="k" * 32)
    client = opened(vault.approle())
    path = f"secret/data/{vault.path}/api-keys"
    client.call("api-keys", lambda v: v.read(path))
    vault.seal()
    try:
        error = refused(client, path)
        assert (error.reason, "sealed" in error.message) == ("sealed", True)
    finally:
        vault.unseal()
    assert client.call("api-keys", lambda v: v.read(path))
