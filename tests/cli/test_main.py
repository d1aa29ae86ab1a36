"""The command's frame: help without the heavy parts, and one clear line for what is missing."""

from __future__ import annotations

import subprocess
import sys

from tests.fixtures.processes import COMMAND

WITHOUT_LEDGER = """
import sys
sys.modules["aiosqlite"] = None  # as where only the server's packages are installed
sys.argv = ["ws402", "gateway"]
from ws402.cli import main
main()
"""


def test_help_lists_every_command_and_loads_none() -> None:
    code = (
        "import sys; from ws402.cli import COMMANDS, cli; cli(['--help'], standalone_mode=False); "
        "assert not {'web3', 'eth_account', 'sqlalchemy'} & set(sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for name in ("gateway", "server", "pay", "demo", "devchain", "ops"):
        assert f"  {name} " in shown


def test_a_missing_package_is_named_with_its_remedy() -> None:
    ended = subprocess.run([sys.executable, "-c", WITHOUT_LEDGER], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith("ws402: This needs the package 'aiosqlite'. Install it with: pip install")
    assert "Traceback" not in ended.stderr


def test_a_server_needs_no_chain_library() -> None:
    code = (
        "import sys, ws402.cli.server, ws402.server.app, ws402.provider.proxy; "
        "print(sorted({'web3', 'eth_account', 'eth_keys', 'sqlalchemy', 'hvac'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_an_unknown_command_says_what_there_is() -> None:
    ended = subprocess.run([COMMAND, "payy"], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "No such command 'payy'" in ended.stderr
