"""Generated documents are what their generator writes now, and every attack's number is known."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_generated_documents_are_up_to_date() -> None:
    check = [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"]
    result = subprocess.run(check, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_the_configuration_names_every_variable_that_users_know() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    known = "MERCHANT_PRIVATE_KEY MERCHANT_WALLET GATEWAY_API_KEY GATEWAY_PORT GATEWAY_URL PORT BASE_RPC BASE_NETWORK"
    for name in known.split():
        assert f"| `{name}` |" in text


def test_threats_lists_every_number_once() -> None:
    rows = re.findall(r"^\| A(\d+) \|", (ROOT / "tests" / "THREATS.md").read_text(), re.MULTILINE)
    assert [int(number) for number in rows] == list(range(1, 59))
