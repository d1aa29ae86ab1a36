"""Commands for messages: whole, for this installation, to be pasted as they are."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from ws402.keys.snapshot import API_KEYS, DATABASE, KEYS, RPC, WEBHOOKS

TRANSIT = "transit/"
"""Before a transit key's name, where secrets are named."""

BOOTSTRAP = "bootstrap"
ROTATE = "rotate"

DEFAULTS = {
    "kv_mount": "secret",
    "path": "ws402",
    "transit_mount": "transit",
    "policy": "ws402-gateway",
    "auth": "kubernetes",
    "role": "ws402-gateway",
    "service_account": "ws402-gateway",
    "service_account_namespace": "ws402-private",
    "audience": "vault",
}
"""What the options of `ws402 vault bootstrap` are when they are not given and Vault has nothing yet."""


def command(verb: str, arguments: Iterable[str], **names: str | None) -> str:
    """`ws402 vault VERB …` with the options whose value is not the default. Quoted for a shell."""
    given = {name: value for name, value in names.items() if value and value != DEFAULTS.get(name)}
    if given.get("auth_mount") == (names.get("auth") or DEFAULTS["auth"]):
        del given["auth_mount"]
    if verb == ROTATE:
        given = {name: value for name, value in given.items() if name in {"kv_mount", "path"}}
    options = [part for name, value in given.items() for part in (f"--{name.replace('_', '-')}", value)]
    return shlex.join(["ws402", "vault", verb, *arguments, *options])


def to_read(name: str) -> list[str]:
    """Options of `bootstrap` that let the gateway read a secret."""
    if name.startswith(TRANSIT):
        return ["--transit-key", name.removeprefix(TRANSIT)]
    return ["--network", name.removeprefix(KEYS)] if name.startswith(KEYS) else ["--with", name]


def to_write(name: str, network: str = "NETWORK") -> list[str]:
    """Options of `bootstrap` that write a secret where there is none."""
    if name.startswith(TRANSIT):
        return to_read(name)
    if name.startswith(KEYS):
        return ["--key", f"{name.removeprefix(KEYS)}=generate"]
    return {
        API_KEYS: ["--api-keys", "generate"],
        DATABASE: ["--database-url", "-"],
        RPC: ["--rpc", f"{network}=-"],
        WEBHOOKS: ["--webhook", "NAME=generate"],
    }[name]


def to_change(kv_mount: str, path: str, name: str, entry: str) -> str:
    """The command that gives an entry of a secret another value, which it takes from standard input.

    A network's key is rotated instead.
    """
    return shlex.join(["vault", "kv", "patch", f"-mount={kv_mount}", f"{path}/{name}", f"{entry}=-"])
