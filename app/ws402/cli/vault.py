"""`ws402 vault`: prepare a Vault for a gateway, and rotate its keys."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click
import hvac
import requests
from pydantic import SecretStr

from ws402.chains.registry import account_of_key, account_of_public_key
from ws402.errors import ConfigurationError
from ws402.keys.snapshot import API_KEYS, DATABASE, KEYS, RPC, WEBHOOKS
from ws402.keys.vault.bootstrap import Bootstrap
from ws402.keys.vault.order import GENERATE, Order
from ws402.settings.webhooks import check_secrets

SHARED = (API_KEYS, DATABASE, RPC)
OTHERS = (*SHARED, WEBHOOKS)
"""Secrets that are no network's."""


@click.group("vault")
def command() -> None:
    """Prepare a Vault for a gateway, and rotate its keys."""


@command.command()
@click.option("--network", "networks", multiple=True, help="A network whose key is in KV; may be repeated.")
@click.option(
    "--key",
    "keys",
    multiple=True,
    metavar="NETWORK=FILE",
    help="Write this network's key, unless there is one: from a file, from standard input (-), or 'generate'.",
)
@click.option("--transit-key", "transit_keys", multiple=True, help="An ed25519 key that signs in Vault.")
@click.option("--api-keys", "api_keys", metavar="FILE", help="File of lines servers=… and operators=…, or 'generate'.")
@click.option("--database-url", "database_url", metavar="FILE", help="File of the database URL.")
@click.option("--rpc", "rpc", multiple=True, metavar="NETWORK=FILE", help="File of a network's RPC endpoints.")
@click.option(
    "--webhook",
    "webhooks",
    multiple=True,
    metavar="NAME=FILE",
    help="Write what this webhook is signed with, unless there is one: from a file, standard input, or 'generate'.",
)
@click.option("--with", "with_", multiple=True, type=click.Choice(OTHERS), help="Read by the gateway, from now on.")
@click.option("--without", multiple=True, type=click.Choice(SHARED), help="Not read, where the policy is made now.")
@click.option(
    "--remove",
    multiple=True,
    metavar="NAME",
    help="Take away from policy or role: keys/NETWORK, api-keys, database, rpc, webhooks, transit/KEY,"
    " service-account/NAME, service-account-namespace/NAME, policy/NAME; audience and login-config:"
    " replaced by what is given. Secrets stay.",
)
@click.option("--auth", type=click.Choice(["kubernetes", "approle"]), default="kubernetes", show_default=True)
@click.option("--auth-mount", help="Where the login is mounted; its kind by default.")
@click.option("--role", default="ws402-gateway", show_default=True)
@click.option("--policy", help="The role's own, or ws402-gateway, by default.")
@click.option("--service-account", help="The gateway's ServiceAccount; ws402-gateway for a new role.")
@click.option("--service-account-namespace", help="Its namespace; ws402-private for a new role.")
@click.option("--audience", help="Audience of the projected token; vault for a new role.")
@click.option("--token-ttl", help="15m for a new role.")
@click.option("--token-max-ttl", help="24h for a new role.")
@click.option("--kubernetes-host", help="Address of the API server, as Vault reaches it.")
@click.option("--kubernetes-ca", metavar="FILE", help="Its certificates; those of Vault's own pod by default.")
@click.option("--reviewer-token", metavar="FILE", help="Token for reviews; that of Vault's own pod by default.")
@click.option("--kv-mount", default="secret", show_default=True)
@click.option("--path", default="ws402", show_default=True)
@click.option("--transit-mount", default="transit", show_default=True)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
def bootstrap(dry_run: bool, **given: Any) -> None:
    """Make mounts, policy, role and keys for a gateway, or add to them; what exists stays, but for --remove.

    Vault and the operator's token are named by VAULT_ADDR, VAULT_TOKEN (or VAULT_TOKEN_FILE), VAULT_CACERT and
    VAULT_NAMESPACE. Secrets are read from files or standard input, never from options, and never shown.
    """
    written = _secrets(given)
    order = Order(
        networks=tuple(dict.fromkeys([*given["networks"], *(_pair(each)[0] for each in given["keys"])])),
        transit_keys=given["transit_keys"],
        shared=tuple(each for each in SHARED if each not in given["without"]),
        added=tuple(dict.fromkeys([*given["with_"], *(each for each in written if each in OTHERS)])),
        secrets=written,
        auth=given["auth"],
        auth_mount=given["auth_mount"] or given["auth"],
        kubernetes=_kubernetes(given),
        **{name: given[name] for name in _SAME},
    )
    client = _client()
    Bootstrap(client, click.echo, account_of_key, account_of_public_key, dry_run=dry_run).run(order)


@command.command()
@click.argument("network")
@click.option(
    "--key", default=GENERATE, show_default=True, metavar="FILE", help="A file, standard input (-), or generate."
)
@click.option("--kv-mount", default="secret", show_default=True)
@click.option("--path", default="ws402", show_default=True)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
def rotate(network: str, key: str, kv_mount: str, path: str, dry_run: bool) -> None:
    """Give a network another key: new refunds are signed by it, the one before sees through what it signed.

    Vault is named as for `bootstrap`. A running gateway takes the key within `poll_seconds`. Refunds wait while the new
    key's account is empty, and nothing else does.
    """
    Bootstrap(_client(), click.echo, account_of_key, account_of_public_key, dry_run=dry_run).rotate(
        Order(kv_mount=kv_mount, path=path), network, _content(key)
    )


_SAME = (
    "remove",
    "role",
    "policy",
    "service_account",
    "service_account_namespace",
    "audience",
    "token_ttl",
    "token_max_ttl",
    "kv_mount",
    "path",
    "transit_mount",
)


def _client() -> hvac.Client:
    address, token_file = os.environ.get("VAULT_ADDR"), os.environ.get("VAULT_TOKEN_FILE")
    token = _content(token_file) if token_file else os.environ.get("VAULT_TOKEN", "")
    if not address or not token:
        raise ConfigurationError(
            "VAULT_ADDR and VAULT_TOKEN are not set.", remedy="Set them to the Vault and to an operator's token."
        )
    session = requests.Session()
    session.trust_env = False
    session.verify = os.environ.get("VAULT_CACERT") or True
    return hvac.Client(
        url=address,
        token=token,
        verify=session.verify,
        timeout=10,
        session=session,
        namespace=os.environ.get("VAULT_NAMESPACE") or None,
    )


def _secrets(given: dict[str, Any]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for each in given["keys"]:
        network, file = _pair(each)
        found[f"{KEYS}{network}"] = {"private_key": _content(file)}
    if given["api_keys"] == GENERATE:
        found[API_KEYS] = {"servers": GENERATE, "operators": GENERATE}
    elif given["api_keys"]:
        lines = [line.partition("=") for line in _content(given["api_keys"]).splitlines() if line.strip()]
        found[API_KEYS] = {name.strip(): value.strip() for name, _, value in lines}
        if unknown := sorted(set(found[API_KEYS]) - {"servers", "operators"}):
            raise ConfigurationError(f"--api-keys has {len(unknown)} lines that begin neither servers= nor operators=.")
    if given["database_url"]:
        found[DATABASE] = {"url": _content(given["database_url"])}
    if given["rpc"]:
        found[RPC] = {network: _content(file) for network, file in map(_pair, given["rpc"])}
    if given["webhooks"]:
        found[WEBHOOKS] = {name: _content(file) for name, file in map(_pair, given["webhooks"])}
        for name, secret in found[WEBHOOKS].items():
            if secret != GENERATE:
                _check_webhook(name, secret)
    return found


def _check_webhook(name: str, text: str) -> None:
    try:
        check_secrets(name, [SecretStr(each.strip()) for each in text.split(",")])
    except ValueError as error:
        raise ConfigurationError(f"{error}.", remedy="Correct the file of --webhook.") from None


def _kubernetes(given: dict[str, Any]) -> dict[str, str]:
    if not given["kubernetes_host"]:
        return {}
    config = {"kubernetes_host": given["kubernetes_host"]}
    if given["kubernetes_ca"]:
        config["kubernetes_ca_cert"] = _content(given["kubernetes_ca"])
    if given["reviewer_token"]:
        config["token_reviewer_jwt"] = _content(given["reviewer_token"])
    return config


def _pair(text: str) -> tuple[str, str]:
    name, equals, file = text.partition("=")
    if not name or not equals or not file:
        raise ConfigurationError("An option NAME=FILE lacks one of both.", remedy="Write, say, --key base=key.txt")
    return name, file


def _content(file: str) -> str:
    """A file's content, or standard input's. Raises ConfigurationError, which names the file only."""
    if file == GENERATE:
        return GENERATE
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        # What looks like a key on the command line is not repeated.
        raise ConfigurationError(
            f"A file of secrets cannot be read: {getattr(error, 'strerror', None) or 'it is no text'}.",
            remedy="Give a file's path, or - for standard input; never the secret itself.",
        ) from None
    if not text.strip():
        raise ConfigurationError("A file of secrets is empty.")
    return text.strip()
