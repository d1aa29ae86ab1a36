"""The shipped dashboards: what Grafana's dashboard linter asks for, and nothing that is not exported."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
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
    assert dashboard["schemaVersion"] >= 39
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
