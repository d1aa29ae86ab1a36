"""The shipped rules, by Prometheus' own promtool: each alert fires when it should, and is silent when it should be."""

from __future__ import annotations

import ast
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.fixtures.prometheus import MAJORS, program
from tests.observability.rules.cases import CASES

ROOT = Path(__file__).parents[3]
RULES = sorted((ROOT / "charts" / "ws402" / "files" / "rules").glob("*.yaml"))
RUNBOOK = ROOT / "docs" / "runbook.md"


LONGEST_SCRAPE_SECONDS = 120
"""Of the chart's `metrics.monitors.interval`."""
SECONDS = {"m": 60, "h": 3600, "d": 86400}


def rules() -> list[dict[str, Any]]:
    return [rule for path in RULES for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]


ALERTS = [rule for rule in rules() if "alert" in rule]


def promtool(major: str, *arguments: str) -> str:
    command = [program("promtool", major), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.prometheus
@pytest.mark.parametrize("major", MAJORS)
def test_promtool_accepts_every_file(major: str) -> None:
    assert "FAILED" not in promtool(major, "check", "rules", *map(str, RULES))


def test_every_alert_has_a_case() -> None:
    assert [case.alert for case in CASES if len([x for x in CASES if x.alert == case.alert]) > 1] == []
    assert {case.alert for case in CASES} == {rule["alert"] for rule in ALERTS}


@pytest.mark.prometheus
@pytest.mark.parametrize("major", MAJORS)
def test_each_alert_fires_in_its_world_and_is_silent_in_the_other(major: str, tmp_path: Path) -> None:
    severity = {rule["alert"]: rule["labels"]["severity"] for rule in ALERTS}
    tests = []
    for case in CASES:
        labels = {"alertname": case.alert, "severity": severity[case.alert], "alertstate": "firing", **case.labels}
        told = "ALERTS{" + ", ".join(f'{name}="{value}"' for name, value in sorted(labels.items())) + "}"
        for world, expected in ((case.firing, [{"labels": told, "value": 1}]), (case.silent, [])):
            tests.append(
                {
                    "name": f"{case.alert} {'fires' if expected else 'is silent'}",
                    "interval": "1m",
                    "input_series": [{"series": name, "values": values} for name, values in world.items()],
                    "promql_expr_test": [
                        {
                            "expr": f'ALERTS{{alertname="{case.alert}", alertstate="firing"}}',
                            "eval_time": f"{case.minutes}m",
                            "exp_samples": expected,
                        }
                    ],
                }
            )
    file = tmp_path / "rules_test.yaml"
    content = {"rule_files": [str(path) for path in RULES], "evaluation_interval": "1m", "tests": tests}
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    promtool(major, "test", "rules", str(file))


def windows() -> set[str]:
    """All ranges of all rules, such as `5m`."""
    return {window for rule in rules() for window in re.findall(r"\[(\w+)\]", str(rule["expr"]))}


@pytest.mark.prometheus
@pytest.mark.parametrize("major", MAJORS)
def test_every_window_has_a_rate_at_the_slowest_scrape(major: str, tmp_path: Path) -> None:
    """A range of Prometheus 3 leaves its left end out: one of two scrape intervals and no more has one sample less."""
    expected = [{"labels": "{}", "value": 1}]
    tests = [
        {
            "name": f"{window}, {offset} s after a scrape",
            "interval": f"{LONGEST_SCRAPE_SECONDS}s",
            "input_series": [{"series": "seen_total", "values": f"0+{LONGEST_SCRAPE_SECONDS}x3000"}],
            "promql_expr_test": [
                {
                    "expr": f"count(rate(seen_total[{window}]))",
                    "eval_time": f"{4 * 86400 + offset}s",
                    "exp_samples": expected,
                }
            ],
        }
        for window in sorted(windows())
        for offset in (0, 1, 60, LONGEST_SCRAPE_SECONDS - 1)
    ]
    file = tmp_path / "windows_test.yaml"
    file.write_text(yaml.safe_dump({"tests": [*tests, without_left_end(major)]}, sort_keys=False))
    promtool(major, "test", "rules", str(file))


def without_left_end(major: str) -> dict[str, Any]:
    """What the two releases see differently, so that one is not tried under the other's name."""
    samples = [] if major == "3" else [{"labels": "{}", "value": 1}]
    return {
        "name": "one scrape interval",
        "interval": "60s",
        "input_series": [{"series": "seen_total", "values": "0+60x10"}],
        "promql_expr_test": [{"expr": "count(rate(seen_total[1m]))", "eval_time": "5m", "exp_samples": samples}],
    }


def test_every_window_is_longer_than_two_of_the_slowest_scrapes() -> None:
    assert windows()
    for window in windows():
        assert int(window[:-1]) * SECONDS[window[-1]] > 2 * LONGEST_SCRAPE_SECONDS
    schema = json.loads((ROOT / "charts" / "ws402" / "values.schema.json").read_text())
    interval = schema["properties"]["metrics"]["properties"]["monitors"]["properties"]["interval"]["pattern"]
    for taken in ("1s", "15s", "99s", f"{LONGEST_SCRAPE_SECONDS}s", "1m", f"{LONGEST_SCRAPE_SECONDS // 60}m"):
        assert re.search(interval, taken), taken
    for refused in ("0s", f"{LONGEST_SCRAPE_SECONDS + 1}s", "200s", "1000s", "3m", "10m", "1h", "60"):
        assert not re.search(interval, refused), refused


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_it_is_how_grave_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"]["summary"].endswith(".")
    assert rule["annotations"]["description"].endswith(".")
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert page == "docs/runbook.md"
    assert anchor == rule["alert"].lower()
    headings = re.findall(r"^#+ (\w+)$", RUNBOOK.read_text(), re.MULTILINE)
    assert rule["alert"] in headings, "the runbook has no section for it"


def test_every_metric_named_in_a_rule_is_exported() -> None:
    used = {name for rule in rules() for name in re.findall(r"\bws402_\w+", str(rule["expr"]))}
    assert used - exported() == set()


def exported() -> set[str]:
    """Names of all series, from the module that defines the metrics."""
    source = (ROOT / "app" / "ws402" / "observability" / "metrics.py").read_text()
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in SUFFIXES:
            name = node.args[1]
            assert isinstance(name, ast.Constant)
            names |= {f"{name.value}{suffix}" for suffix in SUFFIXES[node.func.id]}
    return names


SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}
