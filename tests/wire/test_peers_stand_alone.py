"""The stock peers prove something only while they stand on no code of the package."""

import ast
import sys
from pathlib import Path

import pytest

PEERS = sorted((Path(__file__).parent / "peers").glob("*.py"))
ALLOWED = {"httpx", "websockets", "eth_account", "eth_utils", "solders"}


@pytest.mark.parametrize("path", PEERS, ids=lambda path: path.stem)
def test_a_peer_imports_only_the_standard_library_common_tools_and_other_peers(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}:{node.lineno} imports by a relative path"
            names = [node.module or ""]
        for name in names:
            root = name.split(".")[0]
            known = root in ALLOWED or root in sys.stdlib_module_names or name.startswith("tests.wire.peers")
            assert known, f"{path.name} imports {name}"


def test_all_peers_are_looked_at() -> None:
    assert {path.stem for path in PEERS} == {"__init__", "wallet", "client", "provider", "server", "solana"}
