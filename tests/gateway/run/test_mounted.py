"""A mounted Secret that changes under a running gateway, and under the servers that call it."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr
from tests.fixtures.stack import Stack

from ws402.errors import UnauthorizedError
from ws402.gateway.auth.keys import Authenticator
from ws402.gateway.run.mounted import MountedSecrets
from ws402.settings import GatewaySettings, load
from ws402.settings.sources import mounted

OLD, NEW, ADMIN = "o" * 40, "n" * 40, "a" * 40


class Volume:
    """A Secret as the kubelet mounts it: a change swaps all files at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._version = 0

    def write(self, **files: str) -> None:
        self._version += 1
        made = self.folder / f"..{self._version}"
        made.mkdir(parents=True)
        for name, content in files.items():
            (made / name).write_text(content)
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(f"..data/{name}")
        (self.folder / "..tmp").symlink_to(made.name)
        os.replace(self.folder / "..tmp", self.folder / "..data")


@pytest.fixture
def volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Volume:
    monkeypatch.setenv("WS402_SECRETS_DIR", str(tmp_path / "secrets"))
    volume = Volume(tmp_path / "secrets")
    volume.write(gateway_api_key=OLD, gateway_admin_key=ADMIN, base_rpc="http://127.0.0.1:9")
    return volume


def accepts(authenticator: Authenticator, key: str) -> bool:
    try:
        authenticator.authenticate(f"Bearer {key}".encode(), "127.0.0.1")
    except UnauthorizedError:
        return False
    return True


@pytest.fixture
def followed(volume: Volume) -> tuple[Authenticator, MountedSecrets]:
    authenticator = Authenticator(load(GatewaySettings))
    return authenticator, MountedSecrets(volume.folder, authenticator)


Followed = tuple[Authenticator, MountedSecrets]


async def test_a38_api_keys_of_a_mounted_secret_are_swapped_while_the_gateway_runs(
    volume: Volume, followed: Followed
) -> None:
    authenticator, secrets = followed
    volume.write(gateway_api_key=f"{OLD},x:{NEW}", gateway_admin_key=ADMIN, base_rpc="http://127.0.0.1:9")
    await secrets.look()
    assert [accepts(authenticator, key) for key in (OLD, NEW, ADMIN)] == [True, True, True]
    volume.write(gateway_api_key=NEW, gateway_admin_key=ADMIN, base_rpc="http://127.0.0.1:9")
    await secrets.look()
    assert [accepts(authenticator, key) for key in (NEW, OLD)] == [True, False]


@pytest.mark.parametrize("broken", ["short", f"{NEW},{NEW}"])
async def test_what_cannot_be_used_changes_nothing_and_is_told(
    volume: Volume, followed: Followed, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    authenticator, secrets = followed
    volume.write(gateway_api_key=broken, gateway_admin_key=ADMIN, base_rpc="http://127.0.0.1:9")
    with caplog.at_level(logging.ERROR):
        await secrets.look()
        await secrets.look()
    assert accepts(authenticator, OLD)
    assert [record.name for record in caplog.records] == ["ws402.files"]
    assert NEW not in caplog.text


async def test_the_environment_goes_before_a_mounted_key(volume: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_API_KEY", "e" * 40)
    authenticator = Authenticator(load(GatewaySettings))
    secrets = MountedSecrets(volume.folder, authenticator)
    volume.write(gateway_api_key=NEW, gateway_admin_key=ADMIN, base_rpc="http://127.0.0.1:9")
    await secrets.look()
    assert [accepts(authenticator, key) for key in ("e" * 40, NEW)] == [True, False]


async def test_what_needs_a_restart_is_told(
    volume: Volume, followed: Followed, caplog: pytest.LogCaptureFixture
) -> None:
    volume.write(gateway_api_key=OLD, gateway_admin_key=ADMIN, base_rpc="http://127.0.0.1:10/secret")
    with caplog.at_level(logging.WARNING):
        await followed[1].look()
    assert "base_rpc changed: it counts from the gateway's next start on" in caplog.text
    assert "secret" not in caplog.text.replace("mounted secrets", "")


def test_a_servers_key_of_a_mounted_secret_is_the_file_that_is_followed(
    volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert mounted("gateway_api_key", SecretStr(OLD)) == volume.folder / "gateway_api_key"
    assert mounted("gateway_api_key", SecretStr(NEW)) is None, "it is set elsewhere"
    assert mounted("gateway_api_key", None) is None
    monkeypatch.delenv("WS402_SECRETS_DIR")
    assert mounted("gateway_api_key", SecretStr(OLD)) is None


def test_a38_gateway_and_server_change_to_another_key_without_a_restart(tmp_path: Path) -> None:
    """As processes: each follows its own Secret, and no payer is refused between."""
    stack = Stack(tmp_path)
    gateway_volume, server_volume = Volume(tmp_path / "gateway"), Volume(tmp_path / "server")
    keys = {"merchant_private_key": stack.merchant_key, "gateway_admin_key": ADMIN}
    gateway_volume.write(gateway_api_key=OLD, **keys)
    server_volume.write(gateway_api_key=OLD)

    def sells() -> bool:
        return httpx.get(f"{stack.server_url}/ws402/schema/ticker", timeout=20).status_code == 200

    def refused(key: str) -> bool:
        answer = httpx.get(f"{stack.gateway_url}/api/stats", headers={"Authorization": f"Bearer {key}"}, timeout=20)
        return answer.status_code == 401

    def until(check: Callable[[], bool]) -> None:
        end = time.monotonic() + 30
        while not check():
            assert sells()
            assert time.monotonic() < end, stack.logs()
            time.sleep(0.1)

    try:
        stack.start(gateways=0, servers=0)
        for process, volume in (
            (stack.add_gateway(start=False), gateway_volume),
            (stack.add_server(start=False), server_volume),
        ):
            for name in ("GATEWAY_API_KEY", "GATEWAY_ADMIN_KEY", "MERCHANT_PRIVATE_KEY"):
                process.environment.pop(name, None)
            process.environment["WS402_SECRETS_DIR"] = str(volume.folder)
            process.start()
        assert sells()
        gateway_volume.write(gateway_api_key=f"{OLD},{NEW}", **keys)
        until(lambda: not refused(NEW))
        server_volume.write(gateway_api_key=NEW)
        gateway_volume.write(gateway_api_key=NEW, **keys)
        until(lambda: refused(OLD))
        assert sells()
        assert NEW not in stack.logs()
    finally:
        stack.stop()
