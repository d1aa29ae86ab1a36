"""Secrets out of AWS Secrets Manager, or a likeness of it that AWS_ENDPOINT_URL names, by the same protocol."""

from __future__ import annotations

import json
import logging
import os
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest

from ws402.errors import ConfigurationError
from ws402.keys.aws import AwsSource
from ws402.keys.keyring import open_keyring
from ws402.keys.snapshot import SecretsUnavailableError, Wanted
from ws402.settings import AwsSettings, GatewaySettings

KEY, NEXT, THIRD = "11" * 32, "22" * 32, "33" * 32
WANTED = Wanted(keys=("base",), api_keys=True, database=True, rpc=("base",))


class Corner:
    """Names that no other test uses."""

    def __init__(self) -> None:
        self.prefix = f"test-{secrets.token_hex(6)}"
        self.client = boto3.client("secretsmanager")
        self._names: set[str] = set()

    def put(self, name: str, text: str = "", **data: str) -> None:
        """Write a new version."""
        secret_id, value = f"{self.prefix}/{name}", text or json.dumps(data)
        if name in self._names:
            self.client.put_secret_value(SecretId=secret_id, SecretString=value)
        else:
            self.client.create_secret(Name=secret_id, SecretString=value)
            self._names.add(name)

    def all(self) -> None:
        """Everything that a gateway reads."""
        self.put("keys/base", private_key=KEY)
        self.put("api-keys", servers="s" * 32, operators="o" * 32)
        self.put("database", url="postgresql://user:password@host/ws402")
        self.put("rpc", base="https://one.example/k3y")

    def settings(self, **more: Any) -> AwsSettings:
        return AwsSettings(prefix=self.prefix, **more)

    def close(self) -> None:
        for name in self._names:
            self.client.delete_secret(SecretId=f"{self.prefix}/{name}", ForceDeleteWithoutRecovery=True)
        self.client.close()


@pytest.fixture
def corner() -> Iterator[Corner]:
    if not os.environ.get("AWS_ENDPOINT_URL"):
        pytest.skip("AWS_ENDPOINT_URL names no AWS")
    made = Corner()
    yield made
    made.close()


def keys(line: Any) -> list[str]:
    return [each.private_key.get_secret_value() for each in line]


@pytest.mark.aws
def test_everything_is_read_and_nothing_shows(corner: Corner, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    corner.all()
    caplog.clear()
    source = AwsSource(corner.settings(), WANTED)
    snapshot = source.load()
    assert keys(snapshot.keys["base"]) == [KEY]
    assert [each.get_secret_value() for each in (*snapshot.servers, *snapshot.operators)] == ["s" * 32, "o" * 32]
    assert snapshot.database_url is not None
    assert len(snapshot.rpc["base"]) == 1
    shown = repr(snapshot) + caplog.text
    assert not any(each in shown for each in (KEY, "s" * 32, "o" * 32, "password", "k3y"))
    source.close()


@pytest.mark.aws
def test_a_new_version_makes_a_new_snapshot_that_keeps_the_key_before(corner: Corner) -> None:
    corner.all()
    source = AwsSource(corner.settings(), WANTED)
    first = source.load()
    assert source.refresh(first)[0] is first
    corner.put("keys/base", private_key=NEXT)
    second, troubles = source.refresh(first)
    assert troubles == []
    assert keys(second.keys["base"]) == [NEXT, KEY]
    assert second.versions["keys/base"] != first.versions["keys/base"]
    source.close()
    corner.put("keys/base", private_key=THIRD)
    later = AwsSource(corner.settings(), WANTED)
    assert keys(later.load().keys["base"]) == [THIRD, NEXT]
    later.close()


@pytest.mark.aws
def test_a_secret_that_is_missing_or_of_another_form_is_told(corner: Corner) -> None:
    source = AwsSource(corner.settings(), WANTED)
    with pytest.raises(SecretsUnavailableError) as refused:
        source.load()
    assert refused.value.reason == "missing"
    assert f"{corner.prefix}/keys/base" in refused.value.message
    corner.put("keys/base", private_key=KEY)
    held = source.load()
    corner.put("keys/base", text=f"{{{NEXT}")
    corner.put("api-keys", servers="s" * 32)
    found, (trouble,) = source.refresh(held)
    assert trouble.reason == "malformed"
    assert NEXT not in str(trouble)
    assert (keys(found.keys["base"]), len(found.servers)) == ([KEY], 1)
    source.close()


@pytest.mark.aws
def test_a_secret_that_is_marked_for_deletion_stays_in_use(corner: Corner) -> None:
    corner.all()
    source = AwsSource(corner.settings(), WANTED)
    held = source.load()
    corner.put("keys/base", private_key=NEXT)
    corner.client.delete_secret(SecretId=f"{corner.prefix}/keys/base", RecoveryWindowInDays=7)
    found, (trouble,) = source.refresh(held)
    assert (trouble.reason, found.keys) == ("deleted", held.keys)
    corner.client.restore_secret(SecretId=f"{corner.prefix}/keys/base")
    assert keys(source.refresh(found)[0].keys["base"]) == [NEXT, KEY]
    source.close()


@pytest.mark.aws
def test_a_gateway_takes_its_settings_from_there(corner: Corner) -> None:
    corner.all()
    network = {"network": "base", "chain_id": 8453, "signer": "aws"}
    settings = GatewaySettings(aws=corner.settings(), evm_networks=[network])  # type: ignore[list-item]
    keyring = open_keyring(settings)
    assert keyring is not None
    completed = keyring.settings(keyring.keeper.snapshot)
    assert completed.database_url.get_secret_value().startswith("postgresql://")
    assert [each.get_secret_value() for each in completed.gateway_api_key] == ["s" * 32]
    assert completed.networks()[0].rpc[0].get_secret_value() == "https://one.example/k3y"
    assert keyring.signer("base", keyring.keeper.snapshot.keys["base"][0]).algorithm == "secp256k1"
    assert KEY not in repr(completed)
    keyring.close_unused()


def test_an_endpoint_that_is_away_or_silent_is_told_in_time(
    monkeypatch: pytest.MonkeyPatch, likeness: Callable[..., str]
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "an-id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret")

    def refused(handler: Any, body: Any) -> tuple[int, Any]:
        return 400, {"__type": "AccessDeniedException", "message": "no"}

    for url, reason in (("http://127.0.0.1:9", "unreachable"), (likeness(refused), "denied")):
        settings = AwsSettings(region="eu-central-1", endpoint_url=url, timeout_seconds=0.5)
        source = AwsSource(settings, WANTED)
        with pytest.raises(SecretsUnavailableError) as error:
            source.load()
        assert error.value.reason == reason
        source.close()


def test_without_a_region_it_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with pytest.raises(ConfigurationError) as refused:
        AwsSource(AwsSettings(), WANTED)
    assert "AWS_REGION" in str(refused.value)
