"""Makes charts/ws402/README.md, and the descriptions in values.schema.json, from the comments of values.yaml.

`# -- text` above a value describes it; above a mapping, the whole mapping in one row. `# ## Title` begins a section.
"""

# ruff: noqa: INP001 - a script, not a package

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import settings_schema
import yaml

CHART: Final = Path(__file__).parent.parent / "charts" / "ws402"

HEAD: Final = """\
# The Helm chart of WS402

<!-- Written by docs/generate.py from values.yaml; change it there. -->

Servers in the release's namespace, the gateway with ledger and keys in a namespace of its own,
`<release namespace>-private`. Helm 3.14 or newer, or 4; Kubernetes 1.29 or newer with a network plugin that enforces
NetworkPolicy.

## A trial

No account, no keys, no Vault: an embedded chain, whose keys everybody knows.

```sh
helm install ws402 charts/ws402 -n ws402 --create-namespace --set devchain.enabled=true
helm test ws402 -n ws402
```

Images are `ws402-server`, `ws402-gateway` and `ws402-devchain` (`make images`); `server.image`, `gateway.image` and
`devchain.image` say where yours are. Without the dev chain and without a chain of your own, the chart refuses to
install.

## In production

1. Put the secrets into Vault (`ws402 vault bootstrap`), AWS Secrets Manager, or one Secret in the private namespace:
   [docs/secrets.md](../../docs/secrets.md). A Secret needs its namespace first: `kubectl create namespace …`. The
   chart uses a namespace that it finds, leaves it to whoever made it, and tells which labels it lacks.
2. Write values: `networks`, `secrets`, `resources`, and who may talk to whom: `server.clients`, `server.egress`,
   `gateway.egress`. Everything that is not named is denied.
3. `helm install ws402 charts/ws402 -n ws402 --create-namespace -f values.yaml`, then `helm test`.

Rights in the two namespaces are enough: see [docs/kubernetes.md](../../docs/kubernetes.md#rights-of-whoever-installs).
`helm upgrade` needs all defaults of the new chart: use `--reset-then-reuse-values`, not `--reuse-values`.

Tables that go into the programs' settings (`resources`, `networks`, `settings`) have the settings' own names, see
[docs/configuration.md](../../docs/configuration.md). Amounts above 2^53 are written in quotes.

Argo CD and Flux: `gitops: true`, see [examples/gitops](examples/gitops/values.yaml). OpenShift, managed clusters, IPv6:
see [docs/kubernetes.md](../../docs/kubernetes.md#other-clusters).

| example | shows |
|---|---|
"""

TAIL: Final = """
## What stays, and what changes by itself

- The private namespace and the SQLite volume outlive `helm uninstall`; the same release, installed again, finds them.
- `resources` change without a restart. Other settings roll the pods, with a drain each.
- `tls.mode=generated` makes certificates once and keeps them by looking them up in the cluster. Tools that only render
  would make new ones each time: `gitops: true` refuses what would differ, and says what to set.
- A gateway brings its ledger's schema up to date when it starts, in one transaction behind a lock of the database;
  replicas may start together, so there is no migration Job.
- An HPA that counts sessions needs the custom-metrics API: `metrics.adapter.enabled` ships the rule for
  prometheus-adapter.

## Upgrading

`helm upgrade` with your values file, or with `--reset-then-reuse-values`: `--reuse-values` keeps the old chart's
defaults, and the new one refuses what lacks its own. The chart's version is its own; `appVersion` is that of the
programs and images.

From 0.1 to 0.2, refused before anything is changed, with the value to set:

- A name of more than 40 characters, which was cut: set `fullnameOverride` to the name that the objects have.
- Labels and annotations that the chart sets itself, in `commonLabels`, `pod.labels` and their like.
- Settings that the programs do not know, and secrets, in `server.settings` and `gateway.settings`.
- A null in place of a default, where it does not say that it may be null.
"""


@dataclass(frozen=True)
class Value:
    """One described value."""

    section: str
    path: tuple[str, ...]
    about: str
    default: Any


def values() -> list[Value]:
    """All described values, in order. Raises ValueError when one is not described."""
    source = (CHART / "values.yaml").read_text()
    defaults = yaml.safe_load(source)
    found = list(_described(source.splitlines(), defaults))
    covered = [each.path for each in found]
    for path in _leaves(defaults):
        if not any(path[: len(each)] == each for each in covered):
            msg = f"values.yaml: {'.'.join(path)} has no comment"
            raise ValueError(msg)
    return found


def _described(lines: list[str], defaults: Any) -> Iterator[Value]:
    section, about = "", list[str]()
    at: list[tuple[int, str]] = []
    for line in lines:
        text = line.strip()
        if text.startswith("# ## "):
            section = text.removeprefix("# ## ")
        elif text.startswith("# -- "):
            about = [text.removeprefix("# -- ")]
        elif text.startswith("# ") and about:
            about.append(text.removeprefix("# "))
        elif key := re.match(r"( *)([A-Za-z]+):", line):
            indent = len(key[1])
            at = [*(each for each in at if each[0] < indent), (indent, key[2])]
            if about:
                path = tuple(name for _, name in at)
                default = defaults
                for name in path:
                    default = default[name]
                yield Value(section, path, " ".join(about), default)
            about = []


def _leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(value, dict) and value:
        for name, each in value.items():
            yield from _leaves(each, (*path, name))
    else:
        yield path


def readme() -> str:
    """charts/ws402/README.md."""
    parts = [HEAD]
    for example in sorted(CHART.glob("examples/*/values.yaml")):
        about = " ".join(
            line.removeprefix("# ").strip()
            for line in example.read_text().split("\n\n")[0].splitlines()
            if line[:2] == "# "
        )
        name = example.parent.name
        parts.append(f"| [{name}](examples/{name}/values.yaml) | {about} |\n")
    parts.append("\n## Values\n")
    section = None
    for each in values():
        if each.section != section:
            section = each.section
            parts.append(f"\n### {section or 'General'}\n\n| value | default | meaning |\n|---|---|---|\n")
        about = each.about.replace("|", "\\|")
        parts.append(f"| `{'.'.join(each.path)}` | {_shown(each.default)} | {about} |\n")
    parts.append(TAIL)
    return "".join(parts)


def _shown(default: Any) -> str:
    text = json.dumps(default)
    return f"`{text}`" if len(text) <= 60 else "see values.yaml"


def schema(comments: dict[tuple[str, str], str]) -> str:
    """values.schema.json: settings from the programs; what else a value means, and whether it may be null, from
    values.yaml; other rules by hand."""
    made = json.loads((CHART / "values.schema.json").read_text())
    for each in values():
        at = made
        for name in each.path:
            at = at["properties"][name]
        at["description"] = each.about
    settings_schema.apply(made, comments)
    _require(made, yaml.safe_load((CHART / "values.yaml").read_text()), made["definitions"])
    return json.dumps(made, indent=2, ensure_ascii=False) + "\n"


def _require(schema: dict[str, Any], defaults: dict[str, Any], definitions: dict[str, Any]) -> None:
    """What has a default must be there. A null takes it away: Helm 3 checks the null itself, Helm 4 what is left."""
    schema = definitions[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    known = {name: each for name, each in defaults.items() if name in schema.get("properties", {})}
    if known:
        schema["required"] = sorted(name for name in known if "null" not in schema["properties"][name].get("type", ""))
    for name, each in known.items():
        if isinstance(each, dict):
            _require(schema["properties"][name], each, definitions)
