"""The shipped dashboards: what Grafana's dashboard linter asks for, and nothing that is not exported."""

from __future__ import annotations

import json
import re
import string
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from tests.observability.rules.test_rules import ALERTS, exported

ROOT = Path(__file__).parents[3]
FILES = sorted((ROOT / "charts" / "ws402" / "files" / "dashboards").glob("*.json"))
DASHBOARDS = {path.stem: json.loads(path.read_text()) for path in FILES}
PANELS = [
    pytest.param(panel, id=f"{name}: {panel['title']}")
    for name, dashboard in DASHBOARDS.items()
    for panel in dashboard["panels"]
    if panel["type"] != "row"
]
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def test_the_files_are_what_their_source_says() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "charts.dashboards", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_there_is_one_for_each_question() -> None:
    assert set(DASHBOARDS) == {"overview", "money", "servers", "gateway", "keys", "runtime"}


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_is_importable_as_it_is(name: str) -> None:
    dashboard = DASHBOARDS[name]
    assert dashboard["schemaVersion"] == 41, "Grafana 11.6's; 36 would be 10.1's"
    assert dashboard["uid"] == f"ws402-{name}"
    assert dashboard["editable"] is False
    assert len((ROOT / "charts" / "ws402" / "files" / "dashboards" / f"{name}.json").read_bytes()) < 2**20
    variables = {each["name"]: each for each in dashboard["templating"]["list"]}
    assert list(variables) == ["datasource", "namespace", "job", "instance"]
    for each in ("job", "instance"):
        assert variables[each]["allValue"] == ".+"
    for each in ("namespace", "job", "instance"):
        assert variables[each]["multi"]
        assert variables[each]["refresh"] == 2
        assert variables[each]["datasource"] == SOURCE
    assert [each["name"] for each in dashboard["annotations"]["list"]] == ["Deploys"]
    assert [each["title"] for each in dashboard["links"]] == ["WS402", "Runbook"]
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert sorted(numbers) == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("name", DASHBOARDS)
def test_grafanas_own_schema_knows_everything_in_it(name: str) -> None:
    """Read by Grafana's library and written again, nothing is missing: what it has no name for, it drops."""
    register_default_plugins()
    known = json.loads(json.dumps(DASHBOARDS[name]))
    (deploys,) = known["annotations"]["list"]
    assert (deploys.pop("titleFormat"), deploys.pop("step")) == ("{{component}} {{version}}", "60s")
    assert json.loads(json.dumps(Dashboard.from_json(known), cls=JSONEncoder)) == known


def test_grafanas_schema_drops_a_name_that_it_does_not_know() -> None:
    known = json.loads(json.dumps(DASHBOARDS["overview"])) | {"refreshEvery": "30s"}
    assert "refreshEvery" not in json.loads(json.dumps(Dashboard.from_json(known), cls=JSONEncoder))


def test_the_library_is_pinned_with_its_epoch() -> None:
    """It carries the time of its build as its epoch, and the build for the oldest Grafana is the latest one."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    (pinned,) = [each for each in groups["dev"] if each.startswith("grafana-foundation-sdk")]
    assert re.fullmatch(r"grafana-foundation-sdk==\d{10}!11\.6\.\d+", pinned)
    assert f"\n{pinned} \\\n" in (ROOT / "requirements" / "dev.txt").read_text()
    for name in ("server", "gateway", "devchain"):
        assert "grafana" not in (ROOT / "requirements" / f"{name}.txt").read_text()


@pytest.mark.parametrize("panel", PANELS)
def test_every_query_has_an_id_of_its_own(panel: dict[str, Any]) -> None:
    assert [each["refId"] for each in panel["targets"]] == list(string.ascii_uppercase[: len(panel["targets"])])


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_tells_what_it_shows(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["datasource"] == SOURCE
    assert panel["targets"]
    for link in panel["links"]:
        assert link["url"].removeprefix("docs/runbook.md#") in {rule["alert"].lower() for rule in ALERTS}


@pytest.mark.parametrize("panel", PANELS)
def test_a_panels_queries_follow_the_variables_and_name_what_is_exported(panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        metrics = re.findall(r"\b((?:ws402|process|python)_\w+)\b(\{[^}]*\})?", target["expr"])
        assert metrics
        for name, selector in metrics:
            assert name in exported() or name.startswith(("process_", "python_"))
            for variable in ("namespace", "job", "instance"):
                assert f'{variable}=~"${variable}"' in selector
            if name.endswith("_total"):
                assert re.search(rf"(rate|increase)\({name}\{{[^}}]*\}}\[\$__rate_interval\]\)", target["expr"])


def test_no_two_panels_overlap() -> None:
    for dashboard in DASHBOARDS.values():
        taken: set[tuple[int, int]] = set()
        for panel in dashboard["panels"]:
            where = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(where["x"], where["x"] + where["w"])
                for y in range(where["y"], where["y"] + where["h"])
            }
            assert where["x"] + where["w"] <= 24
            assert not cells & taken
            taken |= cells


def test_every_metric_that_is_exported_is_looked_at_or_documented() -> None:
    text = "".join(path.read_text() for path in FILES)
    shown = {name for name in exported() if re.search(rf"\b{name}\b", text)}
    documented = set(re.findall(r"`(ws402_\w+)`", (ROOT / "docs" / "metrics.md").read_text()))
    for name in exported() - shown:
        assert re.sub("_(bucket|count|sum)$", "", name) in documented, f"{name} is neither shown nor documented"
