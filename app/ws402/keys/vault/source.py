"""Secrets from Vault's KV version 2, and the public halves of keys that sign in its transit engine."""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from ws402.keys.snapshot import (
    KEYS,
    PER_SECRET,
    PREVIOUS_KEYS,
    Counters,
    KeyVersion,
    SecretsUnavailableError,
    Snapshot,
    Wanted,
    fields,
    key_version,
    malformed,
)
from ws402.keys.vault.client import VaultClient
from ws402.keys.vault.command import TRANSIT
from ws402.settings import VaultSettings

log = logging.getLogger(__name__)

MOST_LOOKED_AT = 10
"""Earlier versions of a key that are looked at for those that can be used."""

Step = Callable[[Snapshot, str, int], Snapshot]


class VaultSource:
    """See `ws402.keys.snapshot.Source`. A look at versions reads metadata only; a new version is then read once."""

    kind = "vault"

    def __init__(self, settings: VaultSettings, wanted: Wanted, counters: Counters | None = None) -> None:
        self.counters = counters or Counters()
        self._settings = settings
        self._wanted = wanted
        self._client = VaultClient(settings, self.counters)

    def load(self) -> Snapshot:
        """See `Source.load`."""
        snapshot, troubles = self._read(Snapshot(), previous=PREVIOUS_KEYS)
        if troubles:
            raise troubles[0]
        return snapshot

    def refresh(self, held: Snapshot) -> tuple[Snapshot, list[SecretsUnavailableError]]:
        """See `Source.refresh`."""
        return self._read(held, previous=0)

    def close(self) -> None:
        """See `Source.close`."""
        self._client.close()

    def _read(self, held: Snapshot, *, previous: int) -> tuple[Snapshot, list[SecretsUnavailableError]]:
        snapshot, troubles = held, []
        steps: list[tuple[Step, str]] = [(self._secret, name) for name in self._wanted.names]
        steps += [(self._transit, network) for network in self._wanted.transit]
        for step, name in steps:
            try:
                snapshot = step(snapshot, name, previous)
            except SecretsUnavailableError as error:
                if error.reason not in PER_SECRET:
                    raise
                troubles.append(error)
        return snapshot, troubles

    # --- KV version 2 ------------------------------------------------------------------------------------------------

    def _secret(self, snapshot: Snapshot, name: str, previous: int) -> Snapshot:
        try:
            versions, newest, made = self._metadata(name)
        except SecretsUnavailableError as error:
            # A gateway may do without API keys, say: they can be in the ledger, or come later.
            if error.reason == "missing" and not name.startswith(KEYS) and name not in snapshot.versions:
                return snapshot
            raise
        if newest == snapshot.versions.get(name):
            return snapshot
        data = self._data(name, newest)
        seen: dict[str, Any] = {
            "versions": {**snapshot.versions, name: newest},
            "made": {**snapshot.made, name: made},
        }
        if not name.startswith(KEYS):
            return replace(snapshot, **fields(name, data, self._wanted), **seen)
        network = name.removeprefix(KEYS)
        found = [key_version(name, data, newest)]
        for number in sorted((each for each in versions if each < newest), reverse=True)[:MOST_LOOKED_AT]:
            if len(found) <= previous and (earlier := self._earlier(name, number)) is not None:
                found.append(earlier)
        return replace(snapshot, keys={**snapshot.keys, network: _line(found, snapshot, network)}, **seen)

    def _earlier(self, name: str, number: int) -> KeyVersion | None:
        """An earlier version of a key; one that cannot be read is none that ever signed."""
        try:
            return key_version(name, self._data(name, number), number)
        except SecretsUnavailableError as error:
            if error.reason not in PER_SECRET:
                raise
            log.warning("version %d of %s is passed over: %s", number, name, error.message)
            return None

    def _metadata(self, name: str) -> tuple[list[int], int, float]:
        """The versions that can be read, the newest, and when that was made."""
        path = self._path(name)
        answer = self._client.call(
            f"{path}",
            lambda client: client.secrets.kv.v2.read_secret_metadata(path, mount_point=self._settings.kv_mount),
            name=name,
        )
        data: dict[str, Any] = answer["data"]
        newest = int(data["current_version"])
        usable = [
            int(number)
            for number, each in data["versions"].items()
            if not each["destroyed"] and not each["deletion_time"]
        ]
        if newest not in usable:
            if not newest:
                raise SecretsUnavailableError(f"Vault's {path} has no version yet.", "missing", remedy="Write one.")
            raise SecretsUnavailableError(
                f"Version {newest} of Vault's {path} is deleted.",
                "deleted",
                remedy="Write a new version, or undelete this one; the version read before stays in use.",
            )
        return usable, newest, _seconds(data["versions"][str(newest)]["created_time"])

    def _data(self, name: str, version: int) -> dict[str, Any]:
        path = self._path(name)
        answer = self._client.call(
            f"version {version} of {path}",
            lambda client: client.secrets.kv.v2.read_secret_version(
                path, version=version, mount_point=self._settings.kv_mount, raise_on_deleted_version=True
            ),
            name=name,
        )
        data = answer["data"]["data"]
        if not isinstance(data, dict):
            raise malformed(path, "it is no table")
        return data

    def _path(self, name: str) -> str:
        return f"{self._settings.path}/{name}"

    # --- transit -----------------------------------------------------------------------------------------------------

    def _transit(self, snapshot: Snapshot, network: str, previous: int) -> Snapshot:
        name, mount = self._wanted.transit[network], self._settings.transit_mount
        data = self._client.call(
            f"transit key {name}",
            lambda client: client.secrets.transit.read_key(name, mount_point=mount),  # type: ignore[no-untyped-call]
            name=f"{TRANSIT}{name}",
        )["data"]
        if data["type"] != "ed25519":
            raise malformed(f"{mount}/keys/{name}", f"it is a key of type {data['type']}, not ed25519")
        newest = int(data["latest_version"])
        if newest == snapshot.versions.get(f"{KEYS}{network}"):
            return snapshot
        numbers = sorted((int(each) for each in data["keys"]), reverse=True)[: previous + 1]
        found = [
            KeyVersion(each, public_key=base64.b64decode(data["keys"][str(each)]["public_key"])) for each in numbers
        ]
        return replace(
            snapshot,
            keys={**snapshot.keys, network: _line(found, snapshot, network)},
            versions={**snapshot.versions, f"{KEYS}{network}": newest},
        )


def _seconds(written: str) -> float:
    """A time as Vault writes it (RFC 3339 with nanoseconds), in seconds since the epoch."""
    return datetime.strptime(written[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC).timestamp()


def _line(found: list[KeyVersion], held: Snapshot, network: str) -> tuple[KeyVersion, ...]:
    """New versions before those that are held, newest first, each once."""
    known = {each.version for each in found}
    line = found + [each for each in held.keys.get(network, ()) if each.version not in known]
    return tuple(sorted(line, key=lambda each: each.version, reverse=True))
