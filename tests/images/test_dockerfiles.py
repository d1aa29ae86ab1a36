"""What the container images are made of, read from their Dockerfiles. What runs in them is shown on a cluster."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILES = [ROOT / "Dockerfile.server", ROOT / "Dockerfile.gateway"]
FORBIDDEN_IN_SERVER = {
    "aiosqlite", "alembic", "asyncpg", "boto3", "btclib-secp256k1", "eth-account", "eth-keys", "hvac", "litesvm",
    "py-evm", "pyjwt", "solana", "solders", "sqlalchemy", "web3",
}  # fmt: skip
FORBIDDEN_IN_GATEWAY = {"aiohttp", "eth-account", "eth-keys", "py-evm", "web3"}
"""What only a payer, an embedded chain or a test imports."""


def instructions(path: Path) -> list[tuple[str, str]]:
    """Every instruction with its argument, continued lines joined."""
    text = re.sub(r"\\\n\s*", " ", re.sub(r"(?m)^#.*\n", "", path.read_text()))
    return [(line.split(None, 1)[0], line.split(None, 1)[1].strip()) for line in text.splitlines() if line.strip()]


def locked(name: str) -> set[str]:
    return set(re.findall(r"(?m)^([a-z0-9._-]+)==", (ROOT / "requirements" / f"{name}.txt").read_text()))


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda each: each.name)
def test_the_base_is_an_argument_pinned_by_digest_and_nothing_else_comes_from_outside(path: Path) -> None:
    parts = instructions(path)
    assert parts[0][0] == "ARG"
    assert re.fullmatch(r"PYTHON_IMAGE=docker\.io/library/python:3\.1\d\.\d+-slim-\w+@sha256:[0-9a-f]{64}", parts[0][1])
    stages = {argument.split(" AS ")[1] for kind, argument in parts if kind == "FROM" and " AS " in argument}
    for kind, argument in parts:
        assert kind != "ADD"  # it can fetch
        if kind == "FROM":
            assert argument.split(" AS ")[0] in stages | {"${PYTHON_IMAGE}"}
        if kind == "RUN":
            assert not re.search(r"\b(apt-get|apt|curl|wget|git)\b", argument)
        if kind == "RUN" and " install " in argument:
            assert "--require-hashes" in argument
            assert "--only-binary :all:" in argument  # no compiler runs
            assert "--no-cache-dir" in argument


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda each: each.name)
def test_each_image_runs_as_a_user_without_rights_behind_an_init(path: Path) -> None:
    parts = instructions(path)
    assert {argument for kind, argument in parts if kind == "USER"} == {"65532:65532"}
    for kind, argument in parts:
        if kind in {"ENTRYPOINT", "CMD"}:
            assert json.loads(argument)  # a list: no shell between the signal and the process
        if kind == "ENTRYPOINT":
            assert json.loads(argument) == ["dumb-init", "--single-child", "--", "ws402"]
    for name in ("server", "gateway", "devchain"):
        assert "dumb-init" in locked(name)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda each: each.name)
def test_a46_no_secret_can_come_into_a_layer(path: Path) -> None:
    for kind, argument in instructions(path):
        if kind in {"ARG", "ENV"}:
            assert not re.search(r"(?i)key|secret|token|password|credential", argument)
        if kind == "COPY" and "--from=" not in argument:
            assert argument.split()[0] == "app/ws402" or argument.startswith("requirements/")
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert {rule for rule in rules if rule.startswith("!")} == {"!app/ws402", "!requirements/*.txt"}


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda each: each.name)
def test_nothing_that_runs_stands_on_a_base_with_pip_perl_or_setuid_files(path: Path) -> None:
    stages = " ".join(f"{kind} {argument}\n" for kind, argument in instructions(path)).split("FROM ")[1:]
    (bare,) = [stage for stage in stages if stage.startswith("${PYTHON_IMAGE} AS bare")]
    for gone in ("pip|setuptools|wheel", "/usr/bin/pip*", "/usr/bin/perl*", "libperl*", "-perm /6000 -exec chmod a-s"):
        assert gone in bare
    running = [stage for stage in stages if "USER 65532" in stage or "ENTRYPOINT" in stage or "CMD" in stage]
    assert running
    assert all(stage.split()[0] in {"bare", "common"} for stage in running)


def test_a_layer_of_packages_and_a_layer_of_code_differ_so_that_a_change_of_code_moves_little() -> None:
    for path in DOCKERFILES:
        last = " ".join(f"{kind} {argument}\n" for kind, argument in instructions(path)).split("FROM ")[-1]
        assert re.search(r"COPY --from=\S*packages /opt/ws402 /opt/ws402", last)
        assert "COPY --from=code /opt/app /opt/app" in last


def test_the_server_image_has_no_package_of_ledger_chains_or_keys() -> None:
    assert not locked("server") & FORBIDDEN_IN_SERVER
    assert locked("gateway") >= {"hvac", "sqlalchemy", "btclib-secp256k1", "solders"}
    assert not locked("gateway") & FORBIDDEN_IN_GATEWAY
    assert locked("devchain") >= {"py-evm", "web3", "btclib-secp256k1"}


def test_every_module_in_the_server_image_works_without_the_gateways_code_and_packages(tmp_path: Path) -> None:
    """The build's own step of removal, run on a copy; then each module that is left is imported."""
    shutil.copytree(ROOT / "app" / "ws402", tmp_path / "opt/app/ws402", ignore=shutil.ignore_patterns("__pycache__"))
    removal = next(
        argument for kind, argument in instructions(DOCKERFILES[0]) if kind == "RUN" and "rm -rf gateway" in argument
    )
    step = removal.replace("/opt/", f"{tmp_path}/opt/").replace("python -m", f"{sys.executable} -m")
    subprocess.run(["sh", "-euc", step], check=True)
    assert not (tmp_path / "opt/app/ws402/gateway").exists()
    for path in (tmp_path / "opt/app/ws402").rglob("*.py"):  # also what is imported only when it is needed
        if (path.parent.name, path.name) != ("cli", "server.py"):  # it says what PROVIDER=direct lacks
            found = re.findall(
                r"(?m)^\s*from ws402\.(?:gateway|chains|keys|client|devchain|testing|demo)\b", path.read_text()
            )
            assert not found, path
    program = f"""
import importlib, pkgutil, sys
sys.path.insert(0, {str(tmp_path / "opt/app")!r})
class Refuse:
    names = {sorted(name.replace("-", "_") for name in FORBIDDEN_IN_SERVER)} + ["eth", "jwt"]
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Refuse())
import ws402
assert ws402.__file__.startswith({str(tmp_path)!r})
for each in pkgutil.walk_packages(ws402.__path__, "ws402."):
    importlib.import_module(each.name)
    print(each.name)
from ws402.cli import cli
cli(["--help"])
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "ws402.server.app" in run.stdout
    assert not re.search(r"(?m)^ws402\.(gateway|chains|keys|devchain|client)", run.stdout)
    assert re.search(r"(?m)^  server ", run.stdout)
    assert not re.search(r"(?m)^  (gateway|ops|pay|demo) ", run.stdout)  # it offers only what it has


def test_the_gateway_works_without_what_its_image_lacks() -> None:
    program = f"""
import importlib, pkgutil, sys
class Refuse:
    names = {sorted(name.replace("-", "_") for name in FORBIDDEN_IN_GATEWAY)} + ["eth"]
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Refuse())
for room in ("gateway", "chains", "keys"):
    package = importlib.import_module("ws402." + room)
    for each in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if ".migrations" not in each.name and each.name != "ws402.keys.eth_keys":  # Alembic's; payers'
            importlib.import_module(each.name)
            print(each.name)
import ws402.cli.gateway
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert {"ws402.gateway.run.gateway", "ws402.chains.evm.chain", "ws402.keys.local"} <= set(run.stdout.split())


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda each: each.name)
def test_what_runs_has_no_installer_and_no_setuid_program(path: Path) -> None:
    parts = instructions(path)
    stages = [argument for kind, argument in parts if kind == "FROM"]
    assert stages.count("${PYTHON_IMAGE} AS bare") == 1
    run = next(argument for kind, argument in parts if kind == "RUN" and "a-s" in argument)
    assert "-perm /6000" in run
    assert "pip|setuptools|wheel" in run
    assert stages[-1].split(" AS ")[0] in {"bare", "common"}
    assert "common" not in stages[-1] or "bare AS common" in stages
