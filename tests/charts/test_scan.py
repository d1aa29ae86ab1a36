"""checkov over every example finds nothing but what exceptions.yaml gives a reason for."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from tests.charts.chart import EXAMPLES, text

EXCEPTIONS = yaml.safe_load((Path(__file__).parent / "exceptions.yaml").read_text())


def excepted(rule: str, resource: str) -> bool:
    """checkov names a resource Kind.namespace.name."""
    kind, _, name = resource.split(".")[:3]
    return any(rule in each["rules"] and f"{kind}/{name}" in each.get("on", [f"{kind}/{name}"]) for each in EXCEPTIONS)


def test_checkov_finds_only_what_has_a_reason(tmp_path: Path) -> None:
    program = shutil.which("checkov")
    if program is None:
        pytest.skip("no checkov on PATH: the chart was not scanned")
    for example in EXAMPLES:
        (tmp_path / f"{example}.yaml").write_text(text(example=example))
    done = subprocess.run(
        [program, "-d", str(tmp_path), "--framework", "kubernetes", "--quiet", "--skip-download", "-o", "json"],
        check=False,
        capture_output=True,
        text=True,
        timeout=170,
    )
    report = json.loads(done.stdout)
    assert report["summary"]["passed"] > 1000, "it looked"
    failed = {(each["check_id"], each["resource"]) for each in report["results"]["failed_checks"]}
    assert sorted(each for each in failed if not excepted(*each)) == []
    used = {rule for rule, _ in failed}
    assert {rule for each in EXCEPTIONS for rule in each["rules"] if rule.startswith("CKV")} == used, "none is stale"


def test_every_exception_has_a_reason() -> None:
    assert all(each["rules"] and each["says"] and each["why"] for each in EXCEPTIONS)
