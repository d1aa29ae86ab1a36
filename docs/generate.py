"""Writes what would go stale by hand: docs/configuration.md from the settings, docs/metrics.md from the metrics,
docs/openapi/ from the calls of gateway and server, the catalogue of docs/webhooks.md from the events, tests/THREATS.md
from the tests, charts/ws402/README.md and its schema's descriptions from the chart's values,
and the schema's tables of settings from the settings.

`python docs/generate.py` writes the files; `python docs/generate.py --check` only tells whether they are up to date.
"""

# ruff: noqa: INP001 - a script, not a package

from __future__ import annotations

import ast
import json
import re
import sys
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal

import annotated_types
import chart
import msgspec
import settings_schema
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from pydantic_settings import NoDecode

from ws402 import settings
from ws402.gateway.run.gateway import build
from ws402.observability import metrics
from ws402.observability.instruments import Instrument
from ws402.protocol import events
from ws402.server.web.openapi import document as server_document

ROOT: Final = Path(__file__).parent.parent

CONFIGURATION: Final = """\
# Configuration

<!-- Written by docs/generate.py from app/ws402/settings/; change it there. -->

Settings come from the environment, then from the folder of files that `WS402_SECRETS_DIR` names, then from the TOML
file that `WS402_CONFIG` names; the first one wins. In the file a setting has the name of its variable in lower case,
and so has a file of that folder (a mounted Kubernetes Secret). In the environment, lists and tables are JSON unless the
table says "separated by commas". An empty variable counts as unset. A setting that is wrong stops the program with one
line that names it, exit status 2, and never shows a secret's value.

One file may serve a gateway and a WS402 server: each reads its own settings, and a name that neither knows is refused.
"""

METRICS: Final = """\
# Metrics

<!-- Written by docs/generate.py from app/ws402/observability/metrics.py; change it there. -->

`METRICS_PORT=9464` serves `GET /metrics`, on `METRICS_HOST` (127.0.0.1 unless set), apart from the API. Scrapers that
accept OpenMetrics get exemplars: the trace of a case, on the histograms. Amounts are smallest units (wei, lamports).

A process is one target: a gateway or server never is more than one process. What is counted in the ledger is told by
the gateway that holds the network's signing key and by no other, so sums over replicas count nothing twice. Besides
these, every process exports the usual `process_*`, `python_info` and `python_gc_*`.
"""

METRIC_PARTS: Final = [
    ("Every process", metrics.PROCESS),
    ("Gateway", metrics.GATEWAY),
    ("WS402 server", metrics.SERVER),
]

CLASSES: Final[list[tuple[type[BaseModel], str, str]]] = [
    (settings.GatewaySettings, "Gateway", "`ws402 gateway`, and a server with `PROVIDER=direct`."),
    (settings.EvmNetworkSettings, "EVM networks", "The entries of `EVM_NETWORKS`."),
    (settings.TokenSettings, "Tokens", "The entries of an EVM network's `tokens`."),
    (settings.SolanaNetworkSettings, "Solana networks", "The entries of `SOLANA_NETWORKS`."),
    (settings.SplTokenSettings, "SPL tokens", "The entries of a Solana network's `tokens`."),
    (settings.X402Settings, "x402", "The table `X402`; the gateway and its servers read the same."),
    (settings.WebhookSettings, "Webhooks", "The entries of `WEBHOOKS`; see [webhooks](webhooks.md)."),
    (settings.VaultSettings, "Vault", "The table `VAULT`."),
    (settings.AwsSettings, "AWS Secrets Manager", "The table `AWS`."),
    (settings.KubernetesIdentitySettings, "Identity in Kubernetes", "The table `KUBERNETES_IDENTITY`."),
    (settings.ServerSettings, "WS402 server", "`ws402 server`."),
    (settings.CheckoutSettings, "Checkout page", "The table `CHECKOUT` of a server."),
    (settings.ResourceSettings, "Resources", "The entries of `RESOURCES`."),
]

ATTACKS: Final = {
    1: "A transaction is replayed for many sessions",
    2: "A proof is raced on two replicas",
    3: "Another person's transaction, seen on chain, is claimed",
    4: "An old transaction is presented",
    5: "Verify, work, never settle",
    6: "Pay for a cheap resource, use a dear one",
    7: "The same money stands behind many open authorisations",
    8: "A third party settles first",
    9: "A token does not revert on a used nonce",
    10: "Less than the price is paid",
    11: "A wrong, fake or fee-taking token",
    12: "A wrong chain, or an endpoint that serves another",
    13: "Several Transfer events, or one of another contract",
    14: "A failed transaction is accepted",
    15: "A reorg after the session opened, or after the refund",
    16: "A refund to an address that the client names",
    17: "A refund above what was paid, or of an amount that the client names",
    18: "A refund is made twice",
    19: "A refund is lost in a crash",
    20: "Many tiny refunds burn the gas",
    21: "A disconnect just before the meter's tick",
    22: "The sender is a contract or an exchange",
    23: "Nonces collide, or one is stuck",
    24: "Refunds share a key with other work",
    25: "The fee payer of a Solana transaction is drained",
    26: "Rent of token accounts is farmed",
    27: "Priority fees are blown up",
    28: "One transaction's transfers are counted twice",
    29: "A look-up table hides accounts",
    30: "A Solana transaction settles twice",
    31: "The memo stands on another's transaction",
    32: "An EIP-3009 domain is forged",
    33: "An on-chain signature check burns gas or reverts",
    34: "A facilitator lies, or times out after settling",
    35: "Proofs and tokens are logged or cached",
    36: "A session's token is stolen",
    37: "One tenant's server touches another's session",
    38: "An API key is guessed, or a default is left",
    39: "Slow or silent clients hold sockets",
    40: "Top-ups race",
    41: "Vouchers are rolled back or jump",
    42: "The price moves between quote and payment",
    43: "An overpayment is swallowed",
    44: "A payment comes after the invoice has expired",
    45: "An RPC provider lies or lags",
    46: "A key leaks",
    47: "A server tricks the client",
    48: "A passing RPC error burns a claim",
    49: "A nonce of a signed payment is taken by another payer first",
    50: "Signed payments that fail on the chain at our cost",
    51: "A signed payment, read on the chain, is shown by somebody else",
    52: "A payment header that is too large, too deep, or no payment",
    53: "A signed payment for another offer than ours",
    54: "A webhook is forged, changed, or replayed to its receiver",
    55: "A receiver of webhooks is slow, hangs, or answers without an end",
    56: "An operator's browser is made to use the console for somebody else",
    57: "An MPP challenge that is forged, or of another resource, server or tenant",
    58: "A transfer signed for one MPP challenge is shown with another",
}

NOT_OFFERED: Final = {
    7: "no `upto` authorisations are offered yet",
    34: "no facilitator is used",
    41: "no vouchers are offered yet",
}
"""Why a number without a test has nothing to attack today. Everything else without a test is open work."""

THREATS: Final = """\
# Attacks and faults, and the tests that prove the defence

<!-- Written by docs/generate.py from the names of the tests. -->

A test that proves a defence has the attack's number in its name: `test_a18_…`. It attacks through a public surface:
HTTP, WebSocket or the chain. A number without a test is open work, whatever the code may do.

| # | attack | proved by |
|---|---|---|
"""


def configuration() -> str:
    """docs/configuration.md."""
    comments = _all_comments()
    parts = [CONFIGURATION]
    for kind, title, about in CLASSES:
        nested = not issubclass(kind, settings.GatewaySettings | settings.ServerSettings)
        heading = "name" if nested else "variable"
        parts.append(f"\n## {title}\n\n{about}\n\n| {heading} | value | default | meaning |\n|---|---|---|---|\n")
        for name, field in kind.model_fields.items():
            comment = settings_schema.comment(kind, name, comments).replace("|", "\\|")
            shown = name if nested else name.upper()
            parts.append(f"| `{shown}` | {_value(field)} | {_default(field)} | {comment} |\n")
    return "".join(parts)


def _all_comments() -> dict[tuple[str, str], str]:
    return {
        name: text
        for path in sorted(Path(settings.__file__).parent.glob("*.py"))
        for name, text in _comments(path).items()
    }


def _comments(path: Path) -> dict[tuple[str, str], str]:
    """The string below each attribute, by class and name."""
    found: dict[tuple[str, str], str] = {}
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ClassDef):
            continue
        for before, after in zip(node.body, node.body[1:], strict=False):
            if (
                isinstance(before, ast.AnnAssign)
                and isinstance(before.target, ast.Name)
                and isinstance(after, ast.Expr)
            ):
                text = after.value.value if isinstance(after.value, ast.Constant) else ""
                found[node.name, before.target.id] = " ".join(str(text).split())
    return found


def _value(field: FieldInfo) -> str:
    commas = NoDecode in field.metadata
    text = _type(field.annotation, commas=commas)
    bounds = [each for each in (_bound(each) for each in field.metadata) if each]
    return ", ".join([text, *bounds])


def _type(kind: Any, *, commas: bool = False) -> str:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        return _type(arguments[0], commas=commas)
    if origin in {typing.Union, UnionType}:
        return " or ".join(_type(each) for each in arguments if each is not NoneType)
    if origin is Literal:
        return " or ".join(f"`{each}`" for each in arguments)
    if origin is list and commas:
        return f"{_plural(arguments[0])}, separated by commas"
    if origin is list:
        return f"list of {_plural(arguments[0])}"
    if origin is dict:
        return "table of integers by asset" if arguments[1] is int else f"table of {_plural(arguments[1])}"
    plain = {int: "integer", float: "number", str: "text", Path: "path", bool: "`true` or `false`", SecretStr: "secret"}
    return plain.get(kind) or _table(kind)


def _table(kind: Any) -> str:
    for each, title, _ in CLASSES:
        if kind is each:
            return f"table: [{title}](#{title.lower().replace(' ', '-')})"
    return getattr(kind, "__name__", str(kind))


def _plural(kind: Any) -> str:
    for each, title, _ in CLASSES:
        if kind is each:
            return f"[{title.lower()}](#{title.lower().replace(' ', '-')})"
    text = _type(kind)
    return {"text": "texts", "secret": "secrets", "list of secrets": "lists of secrets"}.get(text, text)


def _bound(constraint: object) -> str:
    match constraint:
        case annotated_types.Ge(ge=bound):
            return f"≥ {bound}"
        case annotated_types.Gt(gt=bound):
            return f"> {bound}"
        case annotated_types.Le(le=bound):
            return f"≤ {bound}"
        case annotated_types.MinLen(min_length=length):
            return f"at least {length}"
        case _:
            pattern = getattr(constraint, "pattern", None)
            return f"matches `{pattern.replace('|', '&#124;')}`" if pattern else ""


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "required"
    if value is None or value in ([], {}, ""):
        return "unset"
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, list):
        return f"`{', '.join(str(each) for each in value)}`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def metric_tables() -> str:
    """docs/metrics.md."""
    parts = [METRICS]
    for title, registry in METRIC_PARTS:
        parts.append(f"\n## {title}\n\n| metric | kind | labels | meaning |\n|---|---|---|---|\n")
        for each in vars(metrics).values():
            if isinstance(each, Instrument) and registry in each.registries:
                name = f"{each.name}_total" if each.kind == "counter" else each.name
                labels = ", ".join(f"`{label}`" for label in each.labels)
                parts.append(f"| `{name}` | {each.kind} | {labels} | {each.about} |\n")
    return "".join(parts)


def threats() -> str:
    """tests/THREATS.md."""
    proofs: dict[int, list[str]] = {number: [] for number in ATTACKS}
    for path, name in _tests():
        for number in re.findall(r"(?<=_)a(\d\d)(?=_)", f"_{name}_"):
            where = path.relative_to(ROOT / "tests").as_posix()
            proofs[int(number)].append(f"[{name.removeprefix('test_')}]({where})")
    rows = []
    for number, attack in ATTACKS.items():
        none = f"open: {NOT_OFFERED[number]}" if number in NOT_OFFERED else "**open**"
        rows.append(f"| A{number} | {attack} | {'<br>'.join(proofs[number]) or none} |\n")
    proved = sum(1 for each in proofs.values() if each)
    return f"{THREATS}{''.join(rows)}\n{proved} of {len(ATTACKS)} have a test.\n"


def _tests() -> Iterator[tuple[Path, str]]:
    """Test functions by file, in order."""
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and re.match(r"test_(a\d\d_)+", node.name):
                yield path, node.name


def webhooks() -> str:
    """docs/webhooks.md: its catalogue of events, by type; the rest is written by hand."""
    parts = []
    for kind, data in events.EVENTS.items():
        about = " ".join(str(data.__doc__).split())
        parts.append(f"### {kind}\n\n{about}\n\n| field | value | meaning |\n|---|---|---|\n")
        schema = msgspec.json.schema(data)["$defs"][data.__name__]["properties"]
        for each in msgspec.structs.fields(data):
            said = schema[each.encode_name]
            parts.append(f"| `{each.encode_name}` | {_kind(said)} | {said['description']} |\n")
        parts.append("\n")
    example = json.dumps(json.loads(events.body("refund.final", 1_769_860_800_000, EXAMPLE)), indent=2)
    parts.append(f"A whole body:\n\n```json\n{example}\n```\n")
    head, begin, rest = (ROOT / "docs" / "webhooks.md").read_text().partition("from app/ws402/protocol/events.py -->\n")
    _, end, tail = rest.partition("<!-- /events -->\n")
    return f"{head}{begin}\n{''.join(parts)}\n{end}{tail}"


def _kind(said: dict[str, Any]) -> str:
    """A JSON Schema in a word or two."""
    kinds = [each.get("type") for each in said.get("anyOf", [said])]
    words = {"string": "text", "integer": "number", "null": "null"}
    if said.get("pattern") == "^[0-9]+$":
        return "digits"
    return " or ".join(words.get(str(kind), "text") for kind in kinds)


def gateway_api() -> str:
    """docs/openapi/gateway.json."""
    made = build(
        settings.GatewaySettings(
            base_rpc="http://127.0.0.1:8545", merchant_private_key="0x" + "1" * 64, gateway_api_key="k" * 40
        )
    )
    return json.dumps(made.application().document(), indent=2, ensure_ascii=False) + "\n"


def server_api() -> str:
    """docs/openapi/server.json."""
    return json.dumps(server_document(), indent=2, ensure_ascii=False) + "\n"


EXAMPLE: Final = events.RefundFinal(
    network="base",
    asset="USDC",
    decimals=6,
    refund_id="ref_019c14f4c2a0b1f2c3d4e5f60718",
    session_id="ses_019c14f4a1b0c2d3e4f506172839",
    tenant="shop",
    recipient="0x90F79bf6EB2c4f870365E785982E1f101E93b906",
    amount="1250000",
    tx="0x5c504ed432cb51138bcf09aa5e8a410dd4a1e204ef84bfed1be16dfba1b22060",
)

FILES: Final[dict[Path, Callable[[], str]]] = {
    ROOT / "docs" / "configuration.md": configuration,
    ROOT / "docs" / "metrics.md": metric_tables,
    ROOT / "docs" / "openapi" / "gateway.json": gateway_api,
    ROOT / "docs" / "openapi" / "server.json": server_api,
    ROOT / "docs" / "webhooks.md": webhooks,
    ROOT / "tests" / "THREATS.md": threats,
    chart.CHART / "README.md": chart.readme,
    chart.CHART / "values.schema.json": lambda: chart.schema(_all_comments()),
}


def main() -> int:
    """Write the files, or check them; exit status 1 when one is stale."""
    stale = [path for path, make in FILES.items() if not path.exists() or path.read_text() != make()]
    if "--check" not in sys.argv:
        for path in stale:
            path.write_text(FILES[path]())
            print(f"wrote {path.relative_to(ROOT)}")  # noqa: T201
        return 0
    for path in stale:
        print(f"{path.relative_to(ROOT)} is stale: run python docs/generate.py", file=sys.stderr)  # noqa: T201
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
