"""What the documents show works as shown."""

import os
import re
from pathlib import Path

import pytest
from tests.docs.shown import Block, Session, blocks
from tests.fixtures.vault import VaultCorner

from ws402.settings import GatewaySettings, ServerSettings, load

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "examples" / "README.md"]
HOWS = {"run", "run: background", "config", "ci", "vault"}


def shown(how: str) -> list[tuple[str, Block]]:
    return [(path.name, block) for path in DOCUMENTS for block in blocks(path) if block.how == how]


def test_every_block_says_how_it_is_run() -> None:
    unsaid = [(path.name, block.code) for path in DOCUMENTS for block in blocks(path) if block.how not in HOWS]
    assert unsaid == []


ELSEWHERE = {"README.md", "sell.md"}
"""README has a test of its own below; the first guide runs with the wheel (tests/release/test_packages.py)."""


@pytest.mark.parametrize(
    "document", [each for each in DOCUMENTS if each.name not in ELSEWHERE], ids=lambda path: path.name
)
def test_commands_and_programs_run_in_order(document: Path, tmp_path: Path) -> None:
    wanted = [block for block in blocks(document) if block.how.startswith("run")]
    with Session(tmp_path) as session:
        outputs = [session.run(block) for block in wanted]
    assert len(outputs) == len(wanted)


def test_what_the_readme_shows_ends_in_a_refund(tmp_path: Path) -> None:
    with Session(tmp_path) as session:
        outputs = [session.run(block) for block in blocks(ROOT / "README.md") if block.how.startswith("run")]
    assert re.search(r"refund: Refund\(.*'0x[0-9a-f]{64}'", outputs[-1]), outputs[-1]


@pytest.mark.parametrize(("name", "block"), shown("config"), ids=lambda value: value if isinstance(value, str) else "")
def test_settings_are_valid(name: str, block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "ws402.toml"
    file.write_text(block.code)
    monkeypatch.setenv("WS402_CONFIG", str(file))
    gateway, server = load(GatewaySettings), load(ServerSettings)
    assert gateway.model_fields_set | server.model_fields_set


@pytest.mark.vault
def test_commands_for_vault_run_in_order(vault: VaultCorner, tmp_path: Path) -> None:
    wanted = [block for path in DOCUMENTS for block in blocks(path) if block.how == "vault"]
    try:
        with Session(tmp_path) as session:
            session.environment |= {name: os.environ[name] for name in ("VAULT_ADDR", "VAULT_TOKEN", "VAULT_CACERT")}
            output = "".join(session.run(block) for block in wanted)
        assert "write version 2 of secret/ws402/keys/base-sepolia, account 0x" in output
        policy = vault.root.read("sys/policies/acl/ws402-gateway")
        assert isinstance(policy, dict)
        for name in ("rpc", "keys/base", "keys/base-sepolia"):
            assert f"secret/data/ws402/{name}" in policy["data"]["policy"]
    finally:
        vault.root.sys.disable_auth_method("kubernetes")
        vault.root.sys.delete_policy("ws402-gateway")
        for name in ("keys/base-sepolia", "keys/base", "api-keys", "rpc"):
            vault.root.secrets.kv.v2.delete_metadata_and_all_versions(f"ws402/{name}")


def test_make_targets_that_are_shown_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    named = {target for _, block in shown("ci") for target in re.findall(r"\bmake ([a-z-]+)", block.code)}
    assert {"demo", "test"} <= named
    assert [target for target in sorted(named) if f"\n{target}:" not in makefile] == []
