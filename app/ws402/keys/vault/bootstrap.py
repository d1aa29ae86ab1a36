"""Makes in Vault what a gateway needs, and no more: mounts, a policy, a role, keys. What exists already stays."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import hvac
import requests
from hvac.exceptions import Forbidden, InvalidPath, VaultDown, VaultError

from ws402.errors import ConfigurationError, UnavailableError
from ws402.keys.snapshot import API_KEYS, DATABASE, KEYS, RPC

GENERATE: Final = "generate"
"""In place of a key: make one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to stand in Vault. Paths and names as in the table `[vault]` of the gateway's settings."""

    kv_mount: str = "secret"
    path: str = "ws402"
    transit_mount: str = "transit"
    policy: str = "ws402-gateway"
    networks: tuple[str, ...] = ()
    """Networks whose key is in KV."""
    transit_keys: tuple[str, ...] = ()
    shared: tuple[str, ...] = (API_KEYS, DATABASE, RPC)
    """Which of the other secrets the gateway reads."""
    secrets: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """What to write, by secret's name; `generate` as a value makes one. Never shown."""
    auth: Literal["kubernetes", "approle"] = "kubernetes"
    auth_mount: str = "kubernetes"
    role: str = "ws402-gateway"
    service_account: str = "ws402-gateway"
    service_account_namespace: str = "ws402-private"
    audience: str = "vault"
    token_ttl: str = "15m"  # noqa: S105 - a duration
    token_max_ttl: str = "24h"  # noqa: S105 - likewise
    kubernetes: Mapping[str, Any] = field(default_factory=dict)
    """Configuration of the kubernetes login (kubernetes_host, …); empty: left as it is."""


def policy_of(order: Order) -> str:
    """The policy, in Vault's language: each path by its full name, no wildcard."""
    rules: list[tuple[str, str]] = []
    for name in [*(f"{KEYS}{network}" for network in order.networks), *order.shared]:
        rules += [(f"{order.kv_mount}/metadata/{order.path}/{name}", "read")]
        rules += [(f"{order.kv_mount}/data/{order.path}/{name}", "read")]
    for key in order.transit_keys:
        rules += [(f"{order.transit_mount}/keys/{key}", "read"), (f"{order.transit_mount}/sign/{key}", "update")]
    # Its own token, since it does without the policy `default`.
    rules += [("auth/token/renew-self", "update"), ("auth/token/revoke-self", "update")]
    return "".join(f'path "{path}" {{\n  capabilities = ["{right}"]\n}}\n' for path, right in rules)


def role_of(order: Order) -> dict[str, Any]:
    """The role of the login."""
    role: dict[str, Any] = {
        "token_policies": [order.policy],
        "token_no_default_policy": True,
        "token_ttl": order.token_ttl,
        "token_max_ttl": order.token_max_ttl,
    }
    if order.auth == "kubernetes":
        role |= {
            "bound_service_account_names": [order.service_account],
            "bound_service_account_namespaces": [order.service_account_namespace],
            "audience": order.audience,
        }
    return role


AccountOf = Callable[[str, str], str]
"""The account of a network's private key. Raises ConfigurationError when it is none."""


class Bootstrap:
    """Carries an order out, or says what it would do. Raises ConfigurationError, UnavailableError."""

    def __init__(
        self, client: hvac.Client, say: Callable[[str], None], account_of: AccountOf, *, dry_run: bool
    ) -> None:
        """`client` has an operator's token; `account_of` tells the account of a network's private key."""
        self._client = client
        self._account_of = account_of
        self._say = say
        self._dry_run = dry_run

    def run(self, order: Order) -> None:
        """Mounts, policy, login, keys, secrets; each step is told."""
        with _explained():
            self._mount("secrets engine", order.kv_mount, {"type": "kv", "options": {"version": "2"}}, "sys/mounts")
            if order.transit_keys:
                self._mount("secrets engine", order.transit_mount, {"type": "transit"}, "sys/mounts")
            self._mount("login", order.auth_mount, {"type": order.auth}, "sys/auth")
            if order.kubernetes:
                self._write(f"auth/{order.auth_mount}/config", order.kubernetes, "where the login asks Kubernetes")
            self._policy(order)
            self._write(f"auth/{order.auth_mount}/role/{order.role}", role_of(order), _bound(order))
            for key in order.transit_keys:
                self._transit_key(order.transit_mount, key)
            for name, data in order.secrets.items():
                self._secret(order, name, data)

    def rotate(self, order: Order, network: str, key: str) -> None:
        """Write a new version of a network's key: gateways take it at their next look."""
        path, data = f"{order.path}/{KEYS}{network}", {"private_key": secrets.token_hex(32) if key == GENERATE else key}
        with _explained():
            account = self._account_of(network, data["private_key"])
            held = self._client.secrets.kv.v2.read_secret_metadata(path, mount_point=order.kv_mount)
            version = int(held["data"]["current_version"])
            # Only after the version that was looked at, whoever else rotates at the same time.
            body = {"data": data, "options": {"cas": version}}
            shown = "" if key == GENERATE and self._dry_run else f", account {account}: see that it holds a float"
            told = f"write version {version + 1} of {order.kv_mount}/{path}{shown}"
            self._do(told, f"{order.kv_mount}/data/{path}", body)

    # --- steps -------------------------------------------------------------------------------------------------------

    def _mount(self, what: str, mount: str, body: dict[str, Any], where: str) -> None:
        mounts = self._client.read(where)
        assert isinstance(mounts, dict)  # noqa: S101 - hvac answers JSON
        found = mounts["data"].get(f"{mount}/")
        if found is None:
            self._do(f"make the {what} {mount}/ ({body['type']})", f"{where}/{mount}", body)
            return
        version = (found.get("options") or {}).get("version")
        if found["type"] != body["type"] or (body["type"] == "kv" and version != "2"):
            raise ConfigurationError(
                f"{mount}/ is of another type: {found['type']}{f' version {version}' if version else ''}.",
                remedy="Name another mount.",
            )
        self._keep(f"the {what} {mount}/")

    def _policy(self, order: Order) -> None:
        text = policy_of(order)
        held = self._client.read(f"sys/policies/acl/{order.policy}")
        if isinstance(held, dict) and held["data"]["policy"] == text:
            self._keep(f"the policy {order.policy}")
            return
        verb = "make" if held is None else "change"
        told = f"{verb} the policy {order.policy}:\n{_indent(text)}"
        self._do(told, f"sys/policies/acl/{order.policy}", {"policy": text})

    def _write(self, path: str, body: Mapping[str, Any], about: str) -> None:
        self._do(f"write {path}: {about}", path, dict(body))

    def _transit_key(self, mount: str, name: str) -> None:
        path = f"{mount}/keys/{name}"
        held = self._client.read(path)
        if isinstance(held, dict):
            if held["data"]["type"] != "ed25519" or held["data"]["exportable"]:
                raise ConfigurationError(f"{path} is no ed25519 key, or may be exported.", remedy="Name another key.")
            self._keep(f"the key {path}")
            return
        body = {"type": "ed25519", "exportable": False, "allow_plaintext_backup": False}
        self._do(f"make the key {path} (ed25519, not exportable)", path, body)

    def _secret(self, order: Order, name: str, data: Mapping[str, str]) -> None:
        path = f"{order.path}/{name}"
        try:
            self._client.secrets.kv.v2.read_secret_metadata(path, mount_point=order.kv_mount)
        except InvalidPath:
            pass
        else:
            self._keep(f"the secret {order.kv_mount}/{path}")
            return
        made = {entry: secrets.token_hex(32) if value == GENERATE else value for entry, value in data.items()}
        account = ""
        if name.startswith(KEYS) and not self._dry_run:
            account = f", account {self._account_of(name.removeprefix(KEYS), made['private_key'])}"
        told = ", ".join(f"{entry}{' (generated)' if value == GENERATE else ''}" for entry, value in data.items())
        # cas 0: only where there is none, whoever else writes at the same time.
        body = {"data": made, "options": {"cas": 0}}
        full = f"{order.kv_mount}/{path}"
        self._do(f"write the secret {full} with {told}{account}", f"{order.kv_mount}/data/{path}", body)

    # --- doing -------------------------------------------------------------------------------------------------------

    def _do(self, what: str, path: str, body: dict[str, Any]) -> None:
        self._say(f"{'would ' if self._dry_run else ''}{what}")
        if not self._dry_run:
            self._client.write_data(path, data=body)

    def _keep(self, what: str) -> None:
        self._say(f"keep {what}")


def _bound(order: Order) -> str:
    life = f"tokens of {order.token_ttl}, at most {order.token_max_ttl}, with the policy {order.policy} alone"
    if order.auth == "approle":
        return life
    who = f"{order.service_account_namespace}/{order.service_account}"
    return f"for the ServiceAccount {who}, audience {order.audience}; {life}"


def _indent(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.rstrip().splitlines())


@contextmanager
def _explained() -> Iterator[None]:
    """Vault's refusals in words. Raises ConfigurationError, UnavailableError."""
    try:
        yield
    except Forbidden as error:
        raise ConfigurationError(
            f"Vault denies it: {error.method} {error.url}.", remedy="Use the token of an operator who may do this."
        ) from None
    except InvalidPath:
        raise ConfigurationError("Vault has no such secret.", remedy="Make it first: ws402 vault bootstrap") from None
    except VaultDown:
        raise UnavailableError("Vault is sealed.", remedy="Unseal it first.") from None
    except VaultError as error:
        told = ", ".join(str(each) for each in error.errors or [type(error).__name__])
        raise ConfigurationError(f"Vault refuses: {told}.") from None
    except requests.RequestException as error:
        raise UnavailableError(
            f"Vault cannot be reached: {type(error).__name__}.", remedy="Check VAULT_ADDR and VAULT_CACERT."
        ) from None
