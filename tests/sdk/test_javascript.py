"""The JavaScript package, built from the page's modules, against a running stack with both embedded chains.

`make test-sdk` installs what its own tests need, pinned and by hash, below sdk/js.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from eth_account import Account
from solders.keypair import Keypair
from tests.fixtures.evm import ETHER
from tests.fixtures.processes import clean_environment
from tests.fixtures.solana import SOL, Solana
from tests.fixtures.stack import PRICE, Stack
from tests.server.static.test_node import node

from ws402 import __version__
from ws402.devchain.solana import SolanaDevChain

pytestmark = pytest.mark.sdk

PACKAGE = Path(__file__).parents[2] / "sdk" / "js"
PAGE = Path(__file__).parents[2] / "app" / "ws402" / "server" / "static" / "js"


def run(*command: str, folder: Path = PACKAGE, **environment: str) -> str:
    """What a program printed. Fails with all of it when the program does."""
    ran = subprocess.run(
        command,
        cwd=folder,
        env=clean_environment(environment),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.fixture(scope="session")
def built() -> Path:
    """The package, built and its types checked. Skips without what `make test-sdk` installs."""
    if not (PACKAGE / "node_modules" / "typescript").is_dir():
        pytest.skip("sdk/js/node_modules is not there: run make test-sdk")
    run(node(), "build.mjs")
    return PACKAGE


@pytest.fixture(scope="module")
def world(embedded_solana: SolanaDevChain, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A running stack that sells on both chains, and a payer on each, as the environment of the package's tests."""
    folder = tmp_path_factory.mktemp("sdk")
    (folder / "film.txt").write_text("the film, all of it")
    (folder / "sold.py").write_text(
        "async def echo(stream):\n    async for each in stream:\n        await stream.send(each)\n"
    )
    merchant, payer, account = Keypair(), Keypair(), Account.create()
    solana = Solana(embedded_solana.rpc_url, name="devchain")
    for each in (merchant, payer):
        solana.wait(solana.rpc("requestAirdrop", str(each.pubkey()), 5 * SOL))
    stack = Stack(
        folder,
        gateway_settings={
            "SOLANA_NETWORK": "solana-localnet",
            "SOLANA_RPC": embedded_solana.rpc_url,
            "SOLANA_PRIVATE_KEY": str(merchant),
        },
        server_settings={"PYTHONPATH": str(folder), "UPDATE_INTERVAL": "250"},
        resources=[
            {"id": "ticker", "kind": "ticker", "price_per_second": PRICE},
            {"id": "sol", "kind": "ticker", "network": "solana-localnet", "price_per_second": 20_000},
            {"id": "echo", "kind": "python", "target": "sold:echo", "price_per_second": PRICE},
            {"id": "film", "kind": "file", "target": str(folder / "film.txt"), "price_per_second": PRICE},
        ],
    )
    try:
        stack.start()
        stack.rpc.fund(account.address, ETHER)
        yield {
            "WS402_SERVER": stack.server_url,
            "WS402_EVM_RPC": stack.rpc_url,
            "WS402_EVM_KEY": "0x" + bytes(account.key).hex(),
            "WS402_SOLANA_RPC": embedded_solana.rpc_url,
            "WS402_SOLANA_KEY": json.dumps(list(bytes(payer))),
        }
    finally:
        stack.stop()
        solana.close()


@pytest.mark.timeout(360)
def test_the_packages_own_tests(built: Path, world: dict[str, str]) -> None:
    files = sorted(str(each) for each in (built / "test").glob("*.test.mjs"))
    told = run(node(), "--test", "--test-concurrency=1", *files, **world)  # they share the payers
    assert "# fail 0" in told
    assert "# tests 0" not in told


@pytest.fixture(scope="module")
def packed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the package as npm packs and installs it, beside viem and kit, which its own tests have."""
    project = tmp_path_factory.mktemp("project")
    shop: list[dict[str, str]] = json.loads(
        run("npm", "pack", "--json", "--pack-destination", str(project), folder=built)
    )
    (project / "package.json").write_text('{"type": "module"}')
    run("npm", "install", "--offline", "--no-audit", "--no-fund", str(project / shop[0]["filename"]), folder=project)
    for name in ("viem", "@solana", "@wallet-standard"):
        (project / "node_modules" / name).symlink_to(built / "node_modules" / name)
    return project


def test_the_package_is_what_the_page_runs_on_and_nothing_else(packed: Path) -> None:
    folder = packed / "node_modules" / "@ws402" / "client"
    files = {each.relative_to(folder) for each in folder.rglob("*") if each.is_file()}
    assert {each.parts[0] for each in files} == {"LICENSE", "README.md", "dist", "package.json"}
    manifest = json.loads((folder / "package.json").read_text())
    assert manifest["version"] == __version__
    assert "dependencies" not in manifest
    shared = [each for each in files if each.parts[:2] == ("dist", "js") and each.suffix == ".js"]
    assert len(shared) > 8
    for each in shared:
        assert (folder / each).read_bytes() == (PAGE / each.relative_to("dist", "js")).read_bytes()


@pytest.mark.parametrize("own", [True, False], ids=["our socket", "the socket of Node"])
def test_what_the_readme_shows_pays_and_streams(packed: Path, world: dict[str, str], own: bool) -> None:
    (shown,) = re.findall(r"<!-- run -->\n```js\n(.*?)```", (PACKAGE / "README.md").read_text(), re.DOTALL)
    assert len(shown.splitlines()) <= 21
    for address, name in (("http://127.0.0.1:4030", "WS402_SERVER"), ("http://127.0.0.1:8545", "WS402_EVM_RPC")):
        assert address in shown
        shown = shown.replace(address, world[name])
    (packed / "index.js").write_text(shown)
    flags = [] if own else ["--experimental-websocket", "--no-warnings"]
    told = run(node(), *flags, "index.js", folder=packed, WS402_PRIVATE_KEY=world["WS402_EVM_KEY"])
    assert re.search(r"txHash: '0x[0-9a-f]{64}'", told), told


def test_typescript_takes_it_as_it_is_with_viem_and_kit(packed: Path, built: Path) -> None:
    (packed / "shop.ts").write_text(TYPED)
    (packed / "tsconfig.json").write_text(
        json.dumps({"compilerOptions": {"strict": True, "module": "nodenext", "target": "es2022", "noEmit": True}})
    )
    compiler = str(built / "node_modules" / "typescript" / "bin" / "tsc")
    run(node(), compiler, "-p", ".", "--skipLibCheck", folder=packed)


TYPED = """
import { connect, coins, kitWallet, standardWallet, viemWallet, type Refund, type Wallet } from "@ws402/client";
import { folderStorage } from "@ws402/client/node";
import { generateKeyPairSigner } from "@solana/kit";
import type { Wallet as Standard } from "@wallet-standard/base";
import { createWalletClient, http } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { baseSepolia } from "viem/chains";

declare const announced: Standard;
const client = createWalletClient({ account: privateKeyToAccount("0x1"), chain: baseSepolia, transport: http() });
const signer = await generateKeyPairSigner();
const wallets: Wallet[] = [viemWallet(client), kitWallet(signer, { rpc: "" }), standardWallet(announced)];
const session = await connect("", { wallet: wallets[0]!, maxAmount: 1n, store: folderStorage("") });
for await (const message of session) {
  const text: string = typeof message === "string" ? message : String(message.byteLength);
  if (text && session.usage.consumed > 0n) break;
}
const refund: Refund = await session.refund();
// @ts-expect-error: amounts are bigints
const wrong: number = refund.amount;
export const told: string = coins(refund.amount, session.currency.decimals);
"""
