"""What is to stand in Vault for a gateway."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

from ws402.errors import ConfigurationError
from ws402.keys.snapshot import API_KEYS, DATABASE, KEYS, RPC, WEBHOOKS
from ws402.keys.vault.command import BOOTSTRAP, DEFAULTS, TRANSIT, command
from ws402.keys.vault.policy import OWN_TOKEN, Rule, secret_rules, transit_rules

GENERATE: Final = "generate"
"""In place of a key: make one."""

BOUND: Final = {
    "service-account/": "bound_service_account_names",
    "service-account-namespace/": "bound_service_account_namespaces",
    "policy/": "token_policies",
}
"""What can be taken from a role, and its name there."""

AUDIENCE: Final = "audience"
LOGIN_CONFIG: Final = "login-config"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to stand in Vault. Paths and names as in the table `[vault]` of the gateway's settings.

    None: as it is in Vault, or the default where Vault has nothing yet.
    """

    kv_mount: str = DEFAULTS["kv_mount"]
    path: str = DEFAULTS["path"]
    transit_mount: str = DEFAULTS["transit_mount"]
    policy: str | None = None
    networks: tuple[str, ...] = ()
    """Networks whose key is in KV."""
    transit_keys: tuple[str, ...] = ()
    shared: tuple[str, ...] = (API_KEYS, DATABASE, RPC)
    """Which of the other secrets a policy reads that is made now."""
    added: tuple[str, ...] = ()
    """Which of them a policy that exists reads from now on, too."""
    remove: tuple[str, ...] = ()
    """What is taken away: names as in `removable`."""
    secrets: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)
    """What to write, by secret's name; `generate` as a value makes one. Never shown."""
    auth: Literal["kubernetes", "approle"] = "kubernetes"
    auth_mount: str = "kubernetes"
    role: str = DEFAULTS["role"]
    service_account: str | None = None
    service_account_namespace: str | None = None
    audience: str | None = None
    token_ttl: str | None = None
    token_max_ttl: str | None = None
    kubernetes: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Configuration of the kubernetes login (kubernetes_host, …); empty: left as it is."""

    def __post_init__(self) -> None:
        """Refuse what cannot be taken away. Raises ConfigurationError."""
        asked = [*(f"{KEYS}{each}" for each in self.networks), *(f"{TRANSIT}{each}" for each in self.transit_keys)]
        for name in self.remove:
            whole = name in {API_KEYS, DATABASE, RPC, WEBHOOKS, AUDIENCE, LOGIN_CONFIG}
            if not whole and not any(name.startswith(head) and name != head for head in (KEYS, TRANSIT, *BOUND)):
                raise ConfigurationError(
                    f"--remove {name} names nothing that can be taken away.",
                    remedy="Give keys/NETWORK, api-keys, database, rpc, webhooks, transit/KEY, service-account/NAME,"
                    " service-account-namespace/NAME, policy/NAME, audience or login-config.",
                )
            if name in {*asked, *self.added}:
                raise ConfigurationError(f"{name} is asked for, and to be removed.", remedy="Ask for one of both.")

    def rules_of(self, name: str) -> list[Rule]:
        """The rules that reading a secret, or signing with `transit/<key>`, needs."""
        if name.startswith(TRANSIT):
            return transit_rules(self.transit_mount, name.removeprefix(TRANSIT))
        return secret_rules(self.kv_mount, f"{self.path}/{name}")

    def rules(self, *, new: bool) -> list[Rule]:
        """What the policy must grant: each path by its full name, no wildcard. `new`: there is no such policy yet."""
        names = [f"{KEYS}{network}" for network in self.networks]
        names += [*self.shared, *self.added] if new else self.added
        names += [f"{TRANSIT}{key}" for key in self.transit_keys]
        return [rule for name in dict.fromkeys(names) for rule in self.rules_of(name)] + list(OWN_TOKEN)

    def command(self, verb: str = BOOTSTRAP, *arguments: str) -> str:
        """A whole command for the same installation."""
        names = ("kv_mount", "path", "transit_mount", "policy", "auth", "auth_mount", "role", "service_account")
        given = {name: value for name, value in asdict(self).items() if name in {*names, "service_account_namespace"}}
        return command(verb, arguments, **given)


def role_of(order: Order, policy: str, held: Mapping[str, Any] | None) -> dict[str, Any]:
    """What is to be written to the role of the login; nothing but what changes. Raises ConfigurationError.

    Lists grow and lose only what is removed; what is not written stays as it is.
    """
    wanted: dict[str, Any] = {"token_policies": policy}
    if order.auth == "kubernetes":
        wanted["bound_service_account_names"] = order.service_account
        wanted["bound_service_account_namespaces"] = order.service_account_namespace
    gone = {
        (key, name.removeprefix(head)) for name in order.remove for head, key in BOUND.items() if name.startswith(head)
    }
    defaults = {
        "bound_service_account_names": DEFAULTS["service_account"],
        "bound_service_account_namespaces": DEFAULTS["service_account_namespace"],
    }
    role: dict[str, Any] = {}
    for key, value in wanted.items():
        before = list((held or {}).get(key) or [])
        line = [each for each in before if (key, each) not in gone]
        if value and value not in line and "*" not in line:
            line.append(value)
        elif not value and not before:
            line.append(defaults[key])
        if line != before:
            role[key] = line
    plain = {"token_ttl": (order.token_ttl, "15m"), "token_max_ttl": (order.token_max_ttl, "24h")}
    if order.auth == "kubernetes":
        plain["audience"] = (order.audience, DEFAULTS["audience"])
        bound = (held or {}).get("audience")
        if bound and order.audience and order.audience != bound and AUDIENCE not in order.remove:
            raise ConfigurationError(
                f"The role {order.role} is bound to the audience {bound}, which gateways in use may show.",
                remedy=f"To bind it to {order.audience} alone, add: --remove {AUDIENCE}",
            )
    for key, (asked, default) in plain.items():
        if held is None or (asked and asked != held.get(key)):
            role[key] = asked or default
    if held is None:
        role["token_no_default_policy"] = True
    return role
