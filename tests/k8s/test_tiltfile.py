"""The Tiltfile, executed as Starlark, with built-in functions that note their arguments and check what exists."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import starlark

ROOT = Path(__file__).parents[2]
FUNCTIONS = [
    "version_settings", "allow_k8s_contexts", "docker_build", "fall_back_on", "sync", "helm", "k8s_yaml",
    "k8s_resource", "link", "kustomize",
]  # fmt: skip

Calls = dict[str, list[tuple[tuple[Any, ...], dict[str, Any]]]]


@pytest.fixture(scope="module")
def calls() -> Calls:
    noted: Calls = defaultdict(list)

    def stub(name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            noted[name].append((args, kwargs))
            return {"what": name, "args": list(args)}

        return call

    module = starlark.Module()
    for name in FUNCTIONS:
        module.add_callable(name, stub(name))
    extension = starlark.Module()
    extension.add_callable("namespace_create", stub("namespace_create"))
    loader = starlark.FileLoader(lambda path: extension.freeze())
    dialect = starlark.Dialect.extended()
    tree = starlark.parse("Tiltfile", (ROOT / "Tiltfile").read_text(), dialect)
    starlark.eval(module, tree, starlark.Globals.standard(), loader)
    return noted


def test_it_touches_only_the_cluster_of_kind_up(calls: Calls) -> None:
    assert calls["allow_k8s_contexts"] == [(("kind-ws402",), {})]


def test_all_three_images_are_built_from_files_that_exist(calls: Calls) -> None:
    names = [args[0] for args, _ in calls["docker_build"]]
    assert names == [f"ws402-{part}{end}" for part in ("server", "gateway", "devchain") for end in ("-plain", "")]
    for _, options in calls["docker_build"]:
        for path in [*options["only"], *filter(None, [options.get("dockerfile")])]:
            assert (ROOT / path).exists(), path
        if target := options.get("target"):
            assert re.search(rf"(?m)^FROM \S+ AS {target}$", (ROOT / options["dockerfile"]).read_text())


def test_changed_code_goes_where_the_reloader_looks_and_locked_packages_build_anew(calls: Calls) -> None:
    reload = (ROOT / "k8s/dev/reload.py").read_text()
    for args, _ in calls["sync"]:
        assert (ROOT / args[0]).is_dir()
        assert f'"{args[1]}"' in reload
    for args, _ in calls["fall_back_on"]:
        assert all((ROOT / path).is_file() for path in args[0])
    for _, options in calls["docker_build"][1::2]:
        base = options["dockerfile_contents"].splitlines()[0].removeprefix("FROM ")
        assert base.endswith("-plain")


def test_both_namespaces_and_every_part_are_there_with_ports_and_links(calls: Calls) -> None:
    assert calls["namespace_create"] == [(("ws402",), {})]  # the private one is the chart's
    parts = {args[0]: options for args, options in calls["k8s_resource"]}
    assert parts.keys() >= {
        "ws402-server",
        "ws402-gateway",
        "ws402-devchain",
        "vault",
        "postgres",
        "prometheus",
        "grafana",
        "anvil",
    }
    ports = [port.split(":")[0] for options in parts.values() for port in options["port_forwards"]]
    assert len(ports) == len(set(ports)), "two parts want the same port of this machine"
    assert parts["ws402-server"]["links"]
    assert parts["grafana"]["links"]
    for options in parts.values():
        for each in options.get("resource_deps", []):
            assert each in parts


def test_what_it_applies_exists(calls: Calls) -> None:
    (chart,), options = calls["helm"][0]
    assert chart == "charts/ws402"
    assert (options["name"], options["namespace"]) == ("ws402", "ws402")
    assert (ROOT / calls["kustomize"][0][0][0] / "kustomization.yaml").is_file()
