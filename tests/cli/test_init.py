"""`ws402 init`: who can read what it writes, what it leaves alone, and that a gateway and a server start from it."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.fixtures.processes import COMMAND, Process, clean_environment, free_port
from tests.fixtures.stack import answers

from ws402.chains.evm.address import address_of
from ws402.cli import cli
from ws402.cli.init_text import NETWORKS
from ws402.devchain.evm import EvmDevChain
from ws402.errors import ConfigurationError
from ws402.keys.local import LocalEd25519Signer, LocalSigner
from ws402.settings import EvmNetworkSettings, GatewaySettings, ServerSettings, load


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def init(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["init", *arguments], catch_exceptions=False)


@pytest.mark.parametrize(
    "names", [["dev"], ["dev", "dev-solana"], *([name] for name in NETWORKS), list(NETWORKS)], ids="+".join
)
def test_what_it_writes_are_settings_of_both_with_keys_of_its_own(
    names: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = [part for name in names for part in ("--network", name)]
    shown = init("one.toml", *options).output
    init("two.toml", *options)
    monkeypatch.setenv("WS402_CONFIG", "one.toml")
    gateway, server = load(GatewaySettings), load(ServerSettings)
    sold = {each.network for each in server.resources}
    embedded = {"dev": "base-sepolia", "dev-solana": "solana-localnet"}
    assert sold == {each.network for each in gateway.networks()} == {embedded.get(name, name) for name in names}
    assert server.gateway_api_key in gateway.gateway_api_key
    for each in gateway.networks() if "dev" not in names else []:
        if isinstance(each, EvmNetworkSettings):
            assert each.merchant_private_key is not None
            assert address_of(LocalSigner.from_hex(each.merchant_private_key)) in shown
        else:
            assert each.private_key is not None
            assert LocalEd25519Signer.from_text(each.private_key).public_key
        assert each.hourly_limit["USDC"] == 500_000_000
    one, two = (tomllib.loads((folder / name).read_text()) for name in ("one.toml", "two.toml"))
    for name in ("gateway_api_key", "gateway_admin_key", "audit_log_key", "evm_networks", "solana_networks"):
        assert name not in one or one[name] != two[name], "keys are made anew"
    for secret in (one["gateway_api_key"], one["audit_log_key"]):
        assert secret not in shown


def test_only_its_owner_can_read_it_and_git_ignores_it(folder: Path) -> None:
    assert "git" not in init("before.toml").output
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    (folder / ".gitignore").write_text("*.pyc")
    (folder / "below").mkdir()
    init()
    init("below/ws402.toml")
    init("other.toml")
    assert (folder / "ws402.toml").stat().st_mode & 0o777 == 0o600
    assert (folder / ".gitignore").read_text() == "*.pyc\n/ws402.toml\n/data/\n/other.toml\n"
    for name in ("ws402.toml", "below/ws402.toml", "data/ws402.db", "below/data/ws402.db"):
        ignored = subprocess.run(["git", "check-ignore", "-q", name], cwd=folder, check=False)
        assert ignored.returncode == 0, name


@pytest.mark.parametrize("kind", ["file", "link"])
def test_it_writes_over_nothing(kind: str, folder: Path) -> None:
    there = folder / "ws402.toml"
    if kind == "file":
        there.write_text("mine")
    else:
        there.symlink_to(folder / "elsewhere.toml")
    with pytest.raises(ConfigurationError, match="there already"):
        init()
    assert not (folder / "elsewhere.toml").exists()
    assert kind == "link" or there.read_text() == "mine"


def test_everybodys_keys_go_with_no_real_network() -> None:
    with pytest.raises(ConfigurationError, match="everybody's"):
        init("--network", "dev", "--network", "base")


def test_a_folder_that_is_not_there_is_told() -> None:
    with pytest.raises(ConfigurationError, match="cannot be written"):
        init("nowhere/ws402.toml")


def test_a_gateway_and_a_server_start_from_it(folder: Path, shared_devchain: EvmDevChain) -> None:
    init("--network", "base-sepolia")
    file = folder / "ws402.toml"
    public = NETWORKS["base-sepolia"]  # whose place an embedded chain of the same id takes
    text = file.read_text().replace(public.rpc, shared_devchain.rpc_url)
    text = text.replace(public.usdc, shared_devchain.token.address)
    ports = {name: str(free_port()) for name in ("4029", "4030")}
    file.write_text(text.replace("127.0.0.1:4029", f"127.0.0.1:{ports['4029']}"))
    started = []
    for name, port, path in (("gateway", ports["4029"], "/health/ready"), ("server", ports["4030"], "/gateway-health")):
        url = f"http://127.0.0.1:{port}{path}"
        process = Process(
            name,
            [COMMAND, name, "--port", port],
            environment=clean_environment({"WS402_CONFIG": "ws402.toml"}),
            folder=folder,
            ready=lambda url=url: answers(url),  # type: ignore[misc]
        )
        started.append(process)
        process.start()
    for process in reversed(started):
        process.stop()
        assert process.exit_status == 0
