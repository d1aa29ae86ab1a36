"""The gateway's admin API with an operator's key, and how its answers are shown."""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click
import httpx

from ws402 import tls
from ws402.cli.ops.kube import Installation, first_key, reach
from ws402.errors import ConfigurationError, UnavailableError, WS402Error
from ws402.money import to_decimal
from ws402.settings import MIN_API_KEY_LENGTH

AMOUNTS: Final = frozenset(
    ("amount", "paid", "consumed", "refunded", "total", "booked", "onChain", "difference", "escrowDifference")
) | {"owedDifference", "revenue", "taken", "used", "fees", "unclaimed", "held", "owed", "funds"}
"""Fields with smallest units of the row's asset."""


@dataclass(frozen=True)
class Target:
    """What `ws402 ops` was given: which gateway, and how to work with it."""

    url: str
    as_json: bool
    raw: bool
    dry_run: bool
    kube: Installation | None


class Remote:
    """One operator's work with one gateway; made from what `ws402 ops` was given."""

    def __init__(self, context: click.Context) -> None:
        target: Target = context.obj
        self.as_json, self.raw, self.dry_run = target.as_json, target.raw, target.dry_run
        key: str | None = first_key(os.environ.get("GATEWAY_ADMIN_KEY", "")) or None
        self._extensions: dict[str, Any] = {}
        self._proxies = target.kube is None  # what kubectl forwards is on this machine
        if target.kube is None:
            self._url = target.url.rstrip("/")
            self._tls = _tls() if self._url.startswith("https:") else True
        else:
            link = context.with_resource(reach(target.kube, need_key=key is None))
            key = key or link.key
            self._url, self._tls = link.url, link.tls or True
            self._extensions = {"sni_hostname": link.name}  # whom the certificate is for: the port is this machine's
        if key is None or len(key) < MIN_API_KEY_LENGTH:
            raise ConfigurationError(
                "GATEWAY_ADMIN_KEY is not set, or too short.", remedy="Set it to one of the gateway's admin keys."
            )
        self._headers = {"Authorization": f"Bearer {key}"}

    def get(self, path: str, **query: Any) -> Any:
        """Ask. Raises WS402Error with the gateway's own words."""
        return self._call("GET", path, params={name: value for name, value in query.items() if value is not None})

    def change(self, path: str, *, dry_run: bool = False, **body: Any) -> Any:
        """Command, or only try it (`dry_run`, or `--dry-run`). Raises WS402Error with the gateway's own words."""
        return self._call("POST", path, json={**body, "dryRun": dry_run or self.dry_run})

    def _call(self, method: str, path: str, **content: Any) -> Any:
        try:
            with httpx.Client(trust_env=self._proxies, timeout=60, verify=self._tls, headers=self._headers) as client:
                answer = client.request(method, f"{self._url}/api/admin/{path}", extensions=self._extensions, **content)
            told = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise UnavailableError(
                f"No gateway answers at {self._url}: {error}.",
                remedy="Check GATEWAY_URL; for a gateway in a cluster, give --kube.",
            ) from error
        if answer.is_success:
            return told
        raise WS402Error(told.get("message", answer.reason_phrase), remedy=told.get("remedy"))

    def show(self, answer: Any, columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
        """A table for people, of these fields; or the whole answer as JSON. Amounts are whole coins with their symbol,
        unless `--raw` asks for smallest units.
        """
        if self.as_json:
            click.echo(json.dumps(answer, indent=2))
            return
        decimals = {} if self.raw else answer.get("decimals", {})
        heads = [_spaced(column) for column in columns]
        cells = [heads, *([_cell(column, row, decimals) for column in columns] for row in rows)]
        widths = [max(len(row[i]) for row in cells) for i in range(len(heads))]
        for row in cells:
            click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        if not rows:
            click.echo("(none)")

    def done(self, answer: Any) -> None:
        """What a command was carried out on."""
        if self.as_json:
            click.echo(json.dumps(answer, indent=2))
            return
        for each in answer["done"]:
            click.echo(f"{'would be done' if self.dry_run else 'done'}: {each}")
        if not answer["done"]:
            click.echo("nothing to do")


def _spaced(name: str) -> str:
    """camelCase as words."""
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name).replace("_", " ")


def _cell(column: str, row: dict[str, Any], decimals: dict[str, dict[str, int]]) -> str:
    value = row.get(column)
    if value is None:
        return "-"
    if column in AMOUNTS:
        known = decimals.get(row.get("network", ""), {}).get(row.get("asset", ""))
        return str(value) if known is None else f"{to_decimal(int(value), known)} {row['asset']}"
    if isinstance(value, int) and column.lower().endswith(("at", "time")):
        return written(value)
    return str(value)


def written(at: int) -> str:
    """A time of the ledger (ms since the epoch) in ISO 8601, UTC, to the second."""
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _tls() -> ssl.SSLContext:
    """As a server's link to its gateway, by the same variables. Raises ConfigurationError."""
    ca, cert, key = (
        Path(value) if (value := os.environ.get(name)) else None
        for name in ("GATEWAY_CA_FILE", "GATEWAY_CLIENT_CERT_FILE", "GATEWAY_CLIENT_KEY_FILE")
    )
    if (cert is None) != (key is None):
        raise ConfigurationError(
            "GATEWAY_CLIENT_CERT_FILE and GATEWAY_CLIENT_KEY_FILE go together.", remedy="Set both, or none."
        )
    return tls.calling(ca, cert, key).value
