"""WS402_FORBID_SKIPS=1 makes a skip fail, wherever it comes from; without it a skip is a skip."""

import subprocess
import sys
from pathlib import Path

from tests.fixtures.processes import clean_environment

ROOT = Path(__file__).parents[2]

SKIPS = {
    "inside": "import pytest\ndef test_one():\n    pytest.skip('no service')\n",
    "mark": "import pytest\n@pytest.mark.skip(reason='no service')\ndef test_one():\n    pass\n",
    "fixture": "import pytest\n@pytest.fixture\ndef f():\n    pytest.skip('no service')\ndef test_one(f):\n    pass\n",
    "module": "import pytest\npytest.skip('no service', allow_module_level=True)\n",
}


def run(folder: Path, forbid: str) -> subprocess.CompletedProcess[str]:
    for name, content in SKIPS.items():
        (folder / f"test_{name}.py").write_text(content)
    (folder / "test_xfail.py").write_text("import pytest\n@pytest.mark.xfail\ndef test_one():\n    assert False\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.fixtures.strict", "-p", "no:cacheprovider"]
    options = ["--continue-on-collection-errors", "-o", "asyncio_mode=auto", str(folder)]
    environment = clean_environment({"PYTHONPATH": str(ROOT), "WS402_FORBID_SKIPS": forbid})
    return subprocess.run(
        [*command, *options], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_a_forbidden_skip_fails_and_says_why(tmp_path: Path) -> None:
    result = run(tmp_path, "1")
    assert result.returncode == 1, result.stdout
    assert "1 failed, 1 xfailed, 3 errors" in result.stdout
    for what in ("test", "module"):
        assert f"WS402_FORBID_SKIPS=1, but this {what} was skipped: Skipped: no service" in result.stdout


def test_an_allowed_skip_does_not_fail(tmp_path: Path) -> None:
    result = run(tmp_path, "0")
    assert result.returncode == 0, result.stdout
    assert "4 skipped, 1 xfailed" in result.stdout
