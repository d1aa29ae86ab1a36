"""Makes in Vault what a gateway needs, and no more: mounts, a policy, a role, keys.

It adds to what exists. Only what an order removes by name is taken away, and only from the policy and the role: a
gateway that runs keeps every right that it has.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import hvac
import requests
from hvac.exceptions import Forbidden, InvalidPath, VaultDown, VaultError

from ws402.errors import ConfigurationError, UnavailableError
from ws402.keys.snapshot import KEYS, WEBHOOKS
from ws402.keys.vault.command import BOOTSTRAP, DEFAULTS, ROTATE, TRANSIT, to_change, to_write
from ws402.keys.vault.order import GENERATE, LOGIN_CONFIG, Order, role_of
from ws402.keys.vault.policy import granted, with_rules, without_paths, written
from ws402.settings.webhooks import new_secret

AccountOf = Callable[[str, str], str]
"""The account of a network's private key. Raises ConfigurationError when it is none."""

AccountOfPublic = Callable[[bytes], str]
"""The account of an ed25519 public key."""


class Bootstrap:
    """Carries an order out, or says what it would do. Raises ConfigurationError, UnavailableError."""

    def __init__(
        self,
        client: hvac.Client,
        say: Callable[[str], None],
        account_of: AccountOf,
        account_of_public: AccountOfPublic,
        *,
        dry_run: bool,
    ) -> None:
        """`client` has an operator's token."""
        self._client = client
        self._account_of = account_of
        self._account_of_public = account_of_public
        self._say = say
        self._dry_run = dry_run

    def run(self, order: Order) -> None:
        """Mounts, policy, login, keys, secrets; each step is told."""
        with _explained(order):
            self._mount("secrets engine", order.kv_mount, {"type": "kv", "options": {"version": "2"}}, "sys/mounts")
            if order.transit_keys:
                self._mount("secrets engine", order.transit_mount, {"type": "transit"}, "sys/mounts")
            self._mount("login", order.auth_mount, {"type": order.auth}, "sys/auth")
            if order.kubernetes:
                self._login_config(order)
            role = self._read(f"auth/{order.auth_mount}/role/{order.role}")
            order = replace(order, policy=order.policy or _policy_of(order, role))
            rules = self._policy(order)
            self._role(order, role)
            names = {path.removeprefix(f"{order.transit_mount}/keys/") for path, _ in rules}
            for key in sorted(name for name in names if "/" not in name):
                self._transit_key(order, key)
            base = f"{order.kv_mount}/data/{order.path}/"
            read = {path.removeprefix(base) for path, _ in rules if path.startswith(base)}
            for name in dict.fromkeys([*order.secrets, *sorted(each for each in read if each.startswith(KEYS))]):
                self._secret(order, name, order.secrets.get(name, {}))

    def rotate(self, order: Order, network: str, key: str) -> None:
        """Write a new version of a network's key: gateways take it at their next look."""
        path, data = f"{order.path}/{KEYS}{network}", {"private_key": secrets.token_hex(32) if key == GENERATE else key}
        with _explained(order, f"{KEYS}{network}"):
            account = self._account_of(network, data["private_key"])
            held = self._client.secrets.kv.v2.read_secret_metadata(path, mount_point=order.kv_mount)
            version = int(held["data"]["current_version"])
            # Only after the version that was looked at, whoever else rotates at the same time.
            body = {"data": data, "options": {"cas": version}}
            shown = "" if key == GENERATE and self._dry_run else f", account {account}: see that it holds a float"
            told = f"write version {version + 1} of {order.kv_mount}/{path}{shown}"
            self._do(told, f"{order.kv_mount}/data/{path}", body)

    # --- mounts, login, rights ---------------------------------------------------------------------------------------

    def _mount(self, what: str, mount: str, body: dict[str, Any], where: str) -> None:
        found = (self._read(where) or {}).get(f"{mount}/")
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

    def _login_config(self, order: Order) -> None:
        """Vault replaces such a configuration as a whole: one that exists would lose its reviewer token."""
        path = f"auth/{order.auth_mount}/config"
        held = self._read(path) or {}
        if not held.get("kubernetes_host") or LOGIN_CONFIG in order.remove:
            self._do(f"write {path}: where the login asks Kubernetes", path, dict(order.kubernetes))
            return
        told = f"{path}: it asks {held['kubernetes_host']}"
        if any(name != "token_reviewer_jwt" and held.get(name) != value for name, value in order.kubernetes.items()):
            told += f"; what was given is not written. To replace the whole of it, add: --remove {LOGIN_CONFIG}"
        self._keep(told)

    def _policy(self, order: Order) -> set[tuple[str, str]]:
        """Add to the policy what is missing; all that it grants then."""
        held = self._read(f"sys/policies/acl/{order.policy}")
        before = held["policy"] if held else ""
        gone = {path for name in order.remove if "/" not in name or name.startswith((KEYS, TRANSIT))
                for path, _ in order.rules_of(name)} & {path for path, _ in granted(before)}  # fmt: skip
        text, added = with_rules(without_paths(before, gone), order.rules(new=held is None))
        if text == before:
            self._keep(f"the policy {order.policy}")
        else:
            verb = "add to" if held else "make"
            told = [f"{verb} the policy {order.policy}:\n{_indent(written(added))}"] if added else []
            told += (
                [f"take away from the policy {order.policy}:\n{_indent(chr(10).join(sorted(gone)))}"] if gone else []
            )
            self._do("\n".join(told), f"sys/policies/acl/{order.policy}", {"policy": text})
        return granted(text)

    def _role(self, order: Order, held: Mapping[str, Any] | None) -> None:
        assert order.policy is not None  # noqa: S101 - found before
        changed = role_of(order, order.policy, held)
        role = {**(held or {}), **changed}
        told = f"auth/{order.auth_mount}/role/{order.role}: {_bound(order, role)}"
        if changed:
            self._do(f"write {told}", f"auth/{order.auth_mount}/role/{order.role}", changed)
        else:
            self._keep(told)

    # --- keys and secrets --------------------------------------------------------------------------------------------

    def _transit_key(self, order: Order, name: str) -> None:
        path = f"{order.transit_mount}/keys/{name}"
        held = self._read(path)
        if held is None:
            body = {"type": "ed25519", "exportable": False, "allow_plaintext_backup": False}
            self._do(f"make the key {path} (ed25519, not exportable)", path, body)
            if not self._dry_run and (made := self._read(path)):
                self._say(f"  account {self._transit_account(made)}: see that it holds a float")
            return
        if held["type"] != "ed25519" or held["exportable"]:
            raise ConfigurationError(f"{path} is no ed25519 key, or may be exported.", remedy="Name another key.")
        self._keep(f"the key {path}, account {self._transit_account(held)}")

    def _transit_account(self, key: Mapping[str, Any]) -> str:
        newest = key["keys"][str(key["latest_version"])]
        return self._account_of_public(base64.b64decode(newest["public_key"]))

    def _secret(self, order: Order, name: str, data: Mapping[str, str]) -> None:
        """Write what is given where there is none, entry by entry."""
        path = f"{order.path}/{name}"
        full = f"{order.kv_mount}/{path}"
        version, held = self._newest(order, path)
        if version and held is None:
            change = f"vault kv undelete -versions={version} -mount={order.kv_mount} {path}"
            self._keep(f"the secret {full}, whose newest version {version} is deleted; to have it back: {change}")
            return
        before = held or {}
        if not before and not data:
            self._say(f"there is no secret {full} yet; to make it: {order.command(BOOTSTRAP, *to_write(name))}")
            return
        fresh = {entry: value for entry, value in data.items() if not before.get(entry)}
        made = {entry: _made(name) if value == GENERATE else value for entry, value in fresh.items()}
        if before:
            self._keep(f"the secret {full}{self._account(name, before, known=True)}")
        for entry in sorted(set(data) - set(fresh)):
            if data[entry] not in {GENERATE, before[entry]}:
                self._kept_entry(order, name, entry)
        if fresh:
            told = ", ".join(f"{entry}{' (generated)' if value == GENERATE else ''}" for entry, value in fresh.items())
            known = not self._dry_run or GENERATE not in fresh.values()
            # Only after the version that was looked at, whoever else writes at the same time.
            body = {"data": {**before, **made}, "options": {"cas": version}}
            verb = "add to" if before else "write"
            account = self._account(name, made, known=known)
            self._do(f"{verb} the secret {full}: {told}{account}", f"{order.kv_mount}/data/{path}", body)

    def _kept_entry(self, order: Order, name: str, entry: str) -> None:
        change = to_change(order.kv_mount, order.path, name, entry)
        if name.startswith(KEYS):
            change = order.command(ROTATE, name.removeprefix(KEYS), "--key", "-")
        self._say(f"  its '{entry}' was kept, and what was given is not written; to change it: {change}")

    def _account(self, name: str, data: Mapping[str, Any], *, known: bool) -> str:
        if not name.startswith(KEYS) or not known:
            return ""
        return f", account {self._account_of(name.removeprefix(KEYS), str(data.get('private_key', '')))}"

    def _newest(self, order: Order, path: str) -> tuple[int, Mapping[str, Any] | None]:
        """The newest version of a secret, 0 when there is none, and its content, None when it is deleted."""
        kv = self._client.secrets.kv.v2
        try:
            version = int(kv.read_secret_metadata(path, mount_point=order.kv_mount)["data"]["current_version"])
        except InvalidPath:
            return 0, None
        if not version:
            return 0, None
        try:
            answer = kv.read_secret_version(
                path, version=version, mount_point=order.kv_mount, raise_on_deleted_version=True
            )
        except InvalidPath:
            return version, None
        return version, answer["data"]["data"]

    # --- doing -------------------------------------------------------------------------------------------------------

    def _read(self, path: str) -> dict[str, Any] | None:
        answer = self._client.read(path)
        return answer["data"] if isinstance(answer, dict) else None

    def _do(self, what: str, path: str, body: dict[str, Any]) -> None:
        self._say(f"{'would ' if self._dry_run else ''}{what}")
        if not self._dry_run:
            self._client.write_data(path, data=body)

    def _keep(self, what: str) -> None:
        self._say(f"keep {what}")


def _made(name: str) -> str:
    """A new value of a secret."""
    return new_secret() if name == WEBHOOKS else secrets.token_hex(32)


def _policy_of(order: Order, role: Mapping[str, Any] | None) -> str:
    """The policy of a role that exists, or the default. Raises ConfigurationError when it cannot be told."""
    held = [each for each in (role or {}).get("token_policies") or [] if f"policy/{each}" not in order.remove]
    if not held or DEFAULTS["policy"] in held:
        return DEFAULTS["policy"]
    if len(held) > 1:
        raise ConfigurationError(
            f"The role {order.role} has the policies {', '.join(held)}.", remedy="Say which one, by --policy."
        )
    return str(held[0])


def _bound(order: Order, role: Mapping[str, Any]) -> str:
    policies = ", ".join(role["token_policies"])
    life = f"tokens of {_time(role['token_ttl'])}, at most {_time(role['token_max_ttl'])}, with the policy {policies}"
    if order.auth == "approle":
        return life
    accounts = "ServiceAccount " + ", ".join(role["bound_service_account_names"])
    spaces = "namespace " + ", ".join(role["bound_service_account_namespaces"])
    return f"for {accounts} of {spaces}, audience {role.get('audience') or 'any'}; {life}"


def _time(given: str | int) -> str:
    return given if isinstance(given, str) else f"{given}s"


def _indent(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.rstrip().splitlines())


@contextmanager
def _explained(order: Order, name: str = "") -> Iterator[None]:
    """Vault's refusals in words. `name`: the secret that it is about. Raises ConfigurationError, UnavailableError."""
    try:
        yield
    except Forbidden as error:
        raise ConfigurationError(
            f"Vault denies it: {error.method} {error.url}.", remedy="Use the token of an operator who may do this."
        ) from None
    except InvalidPath:
        make = order.command(BOOTSTRAP, *to_write(name)) if name else order.command()
        raise ConfigurationError("Vault has no such secret.", remedy=f"Make it first: {make}") from None
    except VaultDown:
        raise UnavailableError("Vault is sealed.", remedy="Unseal it first.") from None
    except VaultError as error:
        told = ", ".join(str(each) for each in error.errors or [type(error).__name__])
        raise ConfigurationError(f"Vault refuses: {told}.") from None
    except requests.RequestException as error:
        raise UnavailableError(
            f"Vault cannot be reached: {type(error).__name__}.", remedy="Check VAULT_ADDR and VAULT_CACERT."
        ) from None
