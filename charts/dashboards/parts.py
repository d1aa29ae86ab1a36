"""What dashboards are made of. Grafana's own JSON, schema 39; no plugin is needed."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final

SCHEMA_VERSION: Final = 39
SELECTOR: Final = 'namespace=~"$namespace", job=~"$job", instance=~"$instance"'
DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
RUNBOOK: Final = "docs/runbook.md"

# Our metrics and those of prometheus-client; a metric may have matchers of its own.
_METRIC: Final = re.compile(r"\b((?:ws402|process|python)_\w+)\b(?:\{([^}]*)\})?")


@dataclass(frozen=True)
class Panel:
    """One picture: `queries` are pairs of PromQL and legend."""

    title: str
    about: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8
    """Of 24 columns."""
    thresholds: tuple[tuple[float, str], ...] = ()
    """From this value on, this colour; below the first one green."""
    stacked: bool = False
    alert: str | None = None
    """The alert whose section of the runbook explains a bad picture."""


@dataclass(frozen=True)
class Row:
    """Panels under one heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Dashboard:
    """One page; `name` is its file, and its stable uid with the prefix `ws402-`."""

    name: str
    title: str
    about: str
    rows: tuple[Row, ...] = field(default=())


def stat(title: str, about: str, query: str, unit: str = "short", **more: Any) -> Panel:
    """One number, its trend behind it."""
    return Panel(title, about, ((query, title),), unit, kind="stat", width=more.pop("width", 4), **more)


def graph(title: str, about: str, *queries: tuple[str, str], unit: str = "short", **more: Any) -> Panel:
    """Lines over time."""
    return Panel(title, about, queries, unit, **more)


def quantiles(metric: str, by: str = "") -> tuple[tuple[str, str], ...]:
    """The median and the 99th percentile of a histogram, by a label."""
    grouped, legend = (f"{by}, le", f" {{{{{by}}}}}") if by else ("le", "")
    return tuple(
        (f"histogram_quantile({q}, sum by ({grouped}) (rate({metric}_bucket[$r])))", f"{name}{legend}")
        for q, name in ((0.5, "p50"), (0.99, "p99"))
    )


def selected(query: str) -> str:
    """A query whose metrics all match the dashboard's variables; `[$r]` is Grafana's interval for rates."""

    def matched(match: re.Match[str]) -> str:
        own = f"{match[2]}, " if match[2] else ""
        return f"{match[1]}{{{own}{SELECTOR}}}"

    return _METRIC.sub(matched, query).replace("[$r]", "[$__rate_interval]")


def render(dashboard: Dashboard) -> dict[str, Any]:
    """As Grafana imports it."""
    panels: list[dict[str, Any]] = []
    y = 0
    for row in dashboard.rows:
        panels.append({"type": "row", "title": row.title, "collapsed": False, "panels": [], "id": len(panels) + 1,
                       "gridPos": {"h": 1, "w": 24, "x": 0, "y": y}})  # fmt: skip
        y += 1
        x = height = 0
        for panel in row.panels:
            tall = 4 if panel.kind == "stat" else 8
            if x + panel.width > 24:
                y, x, height = y + height, 0, 0
            panels.append(_panel(panel, len(panels) + 1, {"h": tall, "w": panel.width, "x": x, "y": y}))
            x, height = x + panel.width, max(height, tall)
        y += height
    return {
        "uid": f"ws402-{dashboard.name}",
        "title": f"WS402 / {dashboard.title}",
        "description": dashboard.about,
        "tags": ["ws402"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "links": [
            {"type": "dashboards", "title": "WS402", "tags": ["ws402"], "asDropdown": True, "keepTime": True,
             "includeVars": True, "targetBlank": False, "icon": "external link", "tooltip": "", "url": ""},
            {"type": "link", "title": "Runbook", "url": RUNBOOK, "targetBlank": True, "icon": "doc", "tags": [],
             "asDropdown": False, "keepTime": False, "includeVars": False, "tooltip": "What to do"},
        ],
        "annotations": {"list": [_deploys()]},
        "templating": {"list": _variables()},
        "panels": panels,
    }  # fmt: skip


def _panel(panel: Panel, number: int, where: dict[str, int]) -> dict[str, Any]:
    steps = [{"color": "green", "value": None}, *({"color": c, "value": v} for v, c in panel.thresholds)]
    custom = {
        "drawStyle": "line",
        "lineWidth": 1,
        "fillOpacity": 25 if panel.stacked else 8,
        "showPoints": "never",
        "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "line" if panel.thresholds else "off"},
    }
    options: dict[str, Any] = {
        "timeseries": {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "stat": {
            "colorMode": "value",
            "graphMode": "area",
            "justifyMode": "auto",
            "textMode": "auto",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        },
    }[panel.kind]
    links = (
        [{"title": "Runbook", "url": f"{RUNBOOK}#{panel.alert.lower()}", "targetBlank": True}] if panel.alert else []
    )
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": DATASOURCE,
        "gridPos": where,
        "links": links,
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": 0,
                "thresholds": {"mode": "absolute", "steps": steps},
                "color": {"mode": "palette-classic" if panel.kind == "timeseries" else "thresholds"},
                "custom": custom if panel.kind == "timeseries" else {},
            },
            "overrides": [],
        },
        "options": options,
        "targets": [
            {"refId": chr(ord("A") + i), "datasource": DATASOURCE, "expr": selected(query), "legendFormat": legend,
             "range": True, "instant": False}
            for i, (query, legend) in enumerate(panel.queries)
        ],
    }  # fmt: skip


def _deploys() -> dict[str, Any]:
    """A mark where a version appears that did not run before."""
    query = (
        "sum by (component, version) (ws402_build_info) unless sum by (component, version) (ws402_build_info offset 2m)"
    )
    return {
        "name": "Deploys",
        "datasource": DATASOURCE,
        "enable": True,
        "hide": False,
        "iconColor": "blue",
        "expr": selected(query),
        "titleFormat": "{{component}} {{version}}",
        "step": "60s",
    }


def _variables() -> list[dict[str, Any]]:
    def label(name: str, title: str, query: str, everything: str) -> dict[str, Any]:
        return {
            "name": name,
            "label": title,
            "type": "query",
            "datasource": DATASOURCE,
            "query": {"query": query, "refId": name},
            "definition": query,
            "refresh": 2,
            "sort": 1,
            "multi": True,
            "includeAll": True,
            "allValue": everything,
            "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        }

    source = {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "refresh": 1,
        "multi": False,
        "includeAll": False,
        "current": {"selected": False, "text": "default", "value": "default"},
    }
    build = "ws402_build_info"
    return [
        source,
        # Outside of Kubernetes there is no such label.
        label("namespace", "Namespace", f"label_values({build}, namespace)", ".*"),
        label("job", "Job", f'label_values({build}{{namespace=~"$namespace"}}, job)', ".+"),
        label("instance", "Instance", f'label_values({build}{{namespace=~"$namespace", job=~"$job"}}, instance)', ".+"),
    ]
