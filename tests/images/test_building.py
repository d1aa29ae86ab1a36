"""`make images`, with a builder that only writes down what it was told."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "k8s" / "build-images"


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder of commands that record their arguments; what the script itself needs is linked beside them."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for each in ("bash", "env", "sed", "dirname", "git"):
        found = next(Path(path) / each for path in os.environ["PATH"].split(":") if (Path(path) / each).exists())
        (folder / each).symlink_to(found)
    return folder


def record(folder: Path, name: str) -> None:
    command = folder / name
    command.write_text(f'#!/bin/sh\necho "{name} $*" >>"{folder}/calls"\n')
    command.chmod(0o755)


def build(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(folder / "bash"), str(BUILD), *arguments],
        env={"PATH": str(folder), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("builder", ["docker", "podman", "buildah"])
def test_it_uses_whichever_builder_is_there(tools: Path, builder: str) -> None:
    record(tools, builder)
    assert build(tools, "v7").returncode == 0
    calls = (tools / "calls").read_text().splitlines()
    assert [call.split(" -t ")[1] for call in calls] == [
        "ws402-server:v7 .",
        "ws402-gateway:v7 .",
        "ws402-devchain:v7 .",
    ]
    assert all(call.startswith(f"{builder} build --build-arg VERSION=") for call in calls)
    assert "--target devchain -f Dockerfile.gateway" in calls[2]


def test_the_charts_trial_asks_for_the_images_that_are_built_without_a_tag(tools: Path) -> None:
    record(tools, "docker")
    assert build(tools).returncode == 0
    built = {call.split(" -t ")[1].removesuffix(" .") for call in (tools / "calls").read_text().splitlines()}
    chart = yaml.safe_load((ROOT / "charts" / "ws402" / "Chart.yaml").read_text())
    values = yaml.safe_load((ROOT / "charts" / "ws402" / "values.yaml").read_text())
    images = [values[part]["image"] for part in ("server", "gateway", "devchain")]
    assert {f"{image['repository']}:{image['tag'] or chart['appVersion']}" for image in images} == built


def test_a_registry_comes_before_the_names(tools: Path) -> None:
    record(tools, "docker")
    assert build(tools, "v7", REGISTRY="registry.example/shop").returncode == 0
    calls = (tools / "calls").read_text().splitlines()
    assert all(" -t registry.example/shop/ws402-" in call for call in calls)


def test_builder_and_base_can_be_given(tools: Path) -> None:
    record(tools, "docker")
    record(tools, "mine")
    assert build(tools, BUILDER="mine build", PYTHON_IMAGE="base:1").returncode == 0
    calls = (tools / "calls").read_text()
    assert "docker" not in calls
    assert calls.count("mine build") == calls.count("PYTHON_IMAGE=base:1") == 3


def test_without_a_builder_it_says_what_to_do(tools: Path) -> None:
    run = build(tools)
    assert run.returncode == 1
    assert "no docker, podman or buildah" in run.stderr
