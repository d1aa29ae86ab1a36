"""What `make dist` builds: a wheel that works by itself, and a source archive that gives the same wheel."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
from tests.docs.shown import Session, blocks
from tests.fixtures.processes import clean_environment

from ws402 import __version__

ROOT = Path(__file__).parents[2]
WHEEL = f"ws402-{__version__}-py3-none-any.whl"
SDIST = f"ws402-{__version__}.tar.gz"


def build(source: Path, into: Path, *kinds: str) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(into), *kinds]
    environment = clean_environment({"SOURCE_DATE_EPOCH": "1700000000"})
    subprocess.run(command, cwd=source, env=environment, capture_output=True, check=True)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    build(ROOT, folder)
    return folder


def test_the_wheel_has_the_package_and_nothing_else(built: Path) -> None:
    with zipfile.ZipFile(built / WHEEL) as wheel:
        names = set(wheel.namelist())
    tracked = subprocess.run(["git", "ls-files", "app/ws402"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {name for name in names if ".dist-info/" not in name} >= {
        name.removeprefix("app/") for name in tracked.stdout.split() if (ROOT / name).exists()
    }
    assert {name.partition("/")[0] for name in names} == {"ws402", f"ws402-{__version__}.dist-info"}
    assert [name for name in names if name.endswith((".pyc", ".db", ".key", ".pem"))] == []


def test_the_source_archive_gives_the_same_wheel(built: Path, tmp_path: Path) -> None:
    with tarfile.open(built / SDIST) as archive:
        archive.extractall(tmp_path, filter="data")
    source = tmp_path / f"ws402-{__version__}"
    top = {path.name for path in source.iterdir()}
    assert top >= {"app", "docs", "LICENSE", "README.md", "SECURITY.md", "pyproject.toml"}
    assert top & {"tests", "bench", "charts", "findings", "k8s"} == set()
    build(source, tmp_path / "again", "-t", "wheel")
    assert (tmp_path / "again" / WHEEL).read_bytes() == (built / WHEEL).read_bytes()


@pytest.fixture
def programs(built: Path, tmp_path: Path) -> Path:
    """Programs of an environment in which the wheel is installed; the libraries are lent to it by PYTHONPATH."""
    venv.create(tmp_path / "venv", symlinks=True, with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    install = ["pip", "install", "-q", "--offline", "--no-deps", "--python", str(python), str(built / WHEEL)]
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([str(uv), *install], env=clean_environment({}), check=True, capture_output=True)
    return python.parent


LENT = {"PYTHONPATH": sysconfig.get_path("purelib")}


def test_the_wheel_works_in_an_environment_of_its_own(programs: Path, tmp_path: Path) -> None:
    """Our code is what was installed, not this checkout."""
    environment = clean_environment(LENT)

    def run(*command: str | Path) -> str:
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    installed = Path(run(programs / "python", "-c", "import ws402; print(ws402.__file__)").strip())
    assert os.path.commonpath([installed, tmp_path]) == str(tmp_path)
    command = programs / "ws402"
    assert __version__ in run(command, "--version")
    assert "--demo-ticker" in run(command, "server", "--help")


def test_a_project_that_is_made_from_the_first_guide_sells_pays_and_tests(programs: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    outputs = []
    with Session(project, programs=programs) as session:
        session.environment |= LENT
        for block in blocks(ROOT / "docs" / "guides" / "sell.md"):
            if block.how.startswith("run"):
                outputs.append(session.run(block))
    assert any("['You', 'asked:', 'what', 'is', 'left?']" in each for each in outputs)
    assert any(re.search(r"back Refund\(.*'0x[0-9a-f]{64}'", each) for each in outputs)
    assert "1 passed" in outputs[-1]
