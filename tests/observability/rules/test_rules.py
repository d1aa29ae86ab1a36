"""The shipped rules, by Prometheus' own promtool: each alert fires when it should, and is silent when it should be."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.observability.rules.cases import CASES

ROOT = Path(__file__).parents[3]
RULES = sorted((ROOT / "charts" / "ws402" / "files" / "rules").glob("*.yaml"))
RUNBOOK = ROOT / "docs" / "runbook.md"

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not on PATH")


def rules() -> list[dict[str, Any]]:
    return [rule for path in RULES for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]


ALERTS = [rule for rule in rules() if "alert" in rule]


def promtool(*arguments: str) -> str:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.prometheus
@needs_promtool
def test_promtool_accepts_every_file() -> None:
    assert "FAILED" not in promtool("check", "rules", *map(str, RULES))


def test_every_alert_has_a_case() -> None:
    assert [case.alert for case in CASES if len([x for x in CASES if x.alert == case.alert]) > 1] == []
    assert {case.alert for case in CASES} == {rule["alert"] for rule in ALERTS}


@pytest.mark.prometheus
@needs_promtool
def test_each_alert_fires_in_its_world_and_is_silent_in_the_other(tmp_path: Path) -> None:
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
    promtool("test", "rules", str(file))


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


SUFFIXES = {"_counter": ("_total",), "_gauge": ("",), "_histogram": ("_bucket", "_count", "_sum")}
