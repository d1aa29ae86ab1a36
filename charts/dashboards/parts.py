"""What dashboards are made of, and how Grafana's own library writes them; no plugin is needed."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, Final

from grafana_foundation_sdk.builders import common as make
from grafana_foundation_sdk.builders import dashboard as grafana
from grafana_foundation_sdk.builders import prometheus, timeseries
from grafana_foundation_sdk.builders import stat as numbers
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as model

SELECTOR: Final = 'namespace=~"$namespace", job=~"$job", instance=~"$instance"'
DATASOURCE: Final = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
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
    page = (
        grafana.Dashboard(f"WS402 / {dashboard.title}")
        .uid(f"ws402-{dashboard.name}")
        .description(dashboard.about)
        .tags(["ws402"])
        .version(1)
        .readonly()
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .refresh("30s")
        .time("now-3h", "now")
        .timezone("browser")
        .links(
            [
                grafana.DashboardLink("WS402")
                .type(model.DashboardLinkType.DASHBOARDS)
                .tags(["ws402"])
                .as_dropdown(as_dropdown=True)
                .keep_time(keep_time=True)
                .include_vars(include_vars=True)
                .icon("external link"),
                grafana.DashboardLink("Runbook")
                .type(model.DashboardLinkType.LINK)
                .url(RUNBOOK)
                .tooltip("What to do")
                .icon("doc")
                .target_blank(target_blank=True),
            ]
        )
        .annotation(_deploys())
        .variables(_variables())
    )
    number = y = 0
    for row in dashboard.rows:
        number += 1
        page.with_row(grafana.Row(row.title).id(number).grid_pos(model.GridPos(h=1, w=24, x=0, y=y)))
        y += 1
        x = height = 0
        for panel in row.panels:
            tall = 4 if panel.kind == "stat" else 8
            if x + panel.width > 24:
                y, x, height = y + height, 0, 0
            number += 1
            page.with_panel(_panel(panel).id(number).grid_pos(model.GridPos(h=tall, w=panel.width, x=x, y=y)))
            x, height = x + panel.width, max(height, tall)
        y += height
    written: dict[str, Any] = json.loads(json.dumps(page.build(), cls=JSONEncoder))
    # Grafana's schema leaves these to the data source, and its library has no names for them.
    written["annotations"]["list"][0] |= DEPLOYS
    return written


def _panel(panel: Panel) -> timeseries.Panel | numbers.Panel:
    steps = [model.Threshold(None, "green"), *(model.Threshold(value, colour) for value, colour in panel.thresholds)]
    made = (
        (_number() if panel.kind == "stat" else _lines(panel))
        .title(panel.title)
        .description(panel.about)
        .datasource(DATASOURCE)
        .unit(panel.unit)
        .min(0)
        .thresholds(grafana.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(steps))
        .targets(
            [
                prometheus.Dataquery()
                .ref_id(chr(ord("A") + i))
                .datasource(DATASOURCE)
                .expr(selected(query))
                .legend_format(legend)
                .range()
                for i, (query, legend) in enumerate(panel.queries)
            ]
        )
    )
    links = []
    if panel.alert:
        link = grafana.DashboardLink("Runbook").type(model.DashboardLinkType.LINK).target_blank(target_blank=True)
        links.append(link.url(f"{RUNBOOK}#{panel.alert.lower()}"))
    return made.links(links)


def _lines(panel: Panel) -> timeseries.Panel:
    stacking = common.StackingMode.NORMAL if panel.stacked else common.StackingMode.NONE
    limit = common.GraphThresholdsStyleMode.LINE if panel.thresholds else common.GraphThresholdsStyleMode.OFF
    return (
        timeseries.Panel()
        .draw_style(common.GraphDrawStyle.LINE)
        .line_width(1)
        .fill_opacity(25 if panel.stacked else 8)
        .show_points(common.VisibilityMode.NEVER)
        .stacking(make.StackingConfig().mode(stacking).group("A"))
        .thresholds_style(make.GraphThresholdsStyleConfig().mode(limit))
        .color_scheme(grafana.FieldColor().mode(model.FieldColorModeId.PALETTE_CLASSIC))
        .legend(
            make.VizLegendOptions()
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
            .show_legend(show_legend=True)
            .calcs([])
        )
        .tooltip(make.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING))
    )


def _number() -> numbers.Panel:
    return (
        numbers.Panel()
        .color_mode(common.BigValueColorMode.VALUE)
        .graph_mode(common.BigValueGraphMode.AREA)
        .justify_mode(common.BigValueJustifyMode.AUTO)
        .text_mode(common.BigValueTextMode.AUTO)
        .reduce_options(make.ReduceDataOptions().calcs(["lastNotNull"]).fields("").values(values=False))
        .color_scheme(grafana.FieldColor().mode(model.FieldColorModeId.THRESHOLDS))
    )


DEPLOYS: Final = {"titleFormat": "{{component}} {{version}}", "step": "60s"}


def _deploys() -> grafana.AnnotationQuery:
    """A mark where a version appears that did not run before."""
    query = (
        "sum by (component, version) (ws402_build_info) unless sum by (component, version) (ws402_build_info offset 2m)"
    )
    mark = grafana.AnnotationQuery().name("Deploys").datasource(DATASOURCE).enable(enable=True).hide(hide=False)
    return mark.icon_color("blue").expr(selected(query))


def _variables() -> list[grafana.DatasourceVariable | grafana.QueryVariable]:
    def label(name: str, title: str, query: str, everything: str) -> grafana.QueryVariable:
        return (
            grafana.QueryVariable(name)
            .label(title)
            .datasource(DATASOURCE)
            .query({"query": query, "refId": name})
            .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .sort(model.VariableSort.ALPHABETICAL_ASC)
            .multi(multi=True)
            .include_all(include_all=True)
            .all_value(everything)
            .current(model.VariableOption(selected=True, text=["All"], value=["$__all"]))
        )

    build = "ws402_build_info"
    source = grafana.DatasourceVariable("datasource").label("Data source").type("prometheus").multi(multi=False)
    return [
        source.include_all(include_all=False).current(model.VariableOption(False, "default", "default")),
        # Outside of Kubernetes there is no such label.
        label("namespace", "Namespace", f"label_values({build}, namespace)", ".*"),
        label("job", "Job", f'label_values({build}{{namespace=~"$namespace"}}, job)', ".+"),
        label("instance", "Instance", f'label_values({build}{{namespace=~"$namespace", job=~"$job"}}, instance)', ".+"),
    ]
