"""Refunds by a key at its keeper: once each, through a kill and a rotation; no key is in the gateway's memory."""

from __future__ import annotations

import asyncio
import re
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.fixtures.evm import ETHER, Evm, blocks
from tests.fixtures.keepers import Azure, Keeper
from tests.fixtures.processes import COMMAND, Process, free_port
from tests.fixtures.stack import answers
from tests.wire.peers.provider import StockProvider
from tests.wire.peers.wallet import Wallet

from ws402.chains.evm import address_of
from ws402.devchain.evm import EvmDevChain
from ws402.keys.kms.registry import key_service
from ws402.keys.kms.signer import KmsSigner

pytestmark = [pytest.mark.keys, pytest.mark.timeout(300)]

SERVER, OPERATOR = "s" * 40, "o" * 40
AMOUNT = 10**16
PAYERS, EACH = 4, 6

TOML = """\
gateway_port = {port}
gateway_api_key = "{server}"
gateway_admin_key = "{operator}"
database_url = "sqlite:///{folder}/ledger.db"
refund_interval_seconds = 0.1
verify_wait_seconds = 10

[kms]
{kms}

[[evm_networks]]
network = "base-sepolia"
chain_id = 84532
rpc = ["{rpc}"]
poll_seconds = 0.2
signer = "{signer}"
earlier_signers = {earlier}
"""


@pytest.fixture
def evm(shared_devchain: EvmDevChain) -> Iterator[Evm]:
    evm = Evm(shared_devchain.rpc_url, name="devchain")
    yield evm
    evm.close()


class Shop:
    """A gateway as a process, whose key is at a keeper."""

    def __init__(self, keeper: Keeper, evm: Evm, folder: Path) -> None:
        self._keeper = keeper
        self._evm = evm
        self._folder = folder
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self.process = Process(
            "gateway",
            [COMMAND, "gateway"],
            environment={"WS402_CONFIG": str(folder / "gateway.toml"), **keeper.environment()},
            folder=folder,
            ready=lambda: answers(f"{self.url}/health/ready"),
        )

    def configure(self, signer: str, *earlier: str) -> str:
        """Name the keys; the account of the first, funded."""
        given = self._keeper.settings()
        kms = "\n".join(
            f'{name} = "{value}"'
            for name, value in given.model_dump(exclude_unset=True).items()
            if value is not None and name != "timeout_seconds"
        )
        (self._folder / "gateway.toml").write_text(
            TOML.format(
                port=self._port,
                server=SERVER,
                operator=OPERATOR,
                folder=self._folder,
                kms=kms,
                rpc=self._evm.url,
                signer=signer,
                earlier=list(earlier),
            ).replace("'", '"')
        )
        opened = KmsSigner(key_service(signer, given), timeout_seconds=10, workers=1)
        account = address_of(opened)
        opened.close()
        self._evm.send(self._evm.account(2 * ETHER), account, value=ETHER)
        return account

    def senders(self) -> set[str]:
        """The accounts that refunds were sent from."""
        with closing(sqlite3.connect(self._folder / "ledger.db")) as ledger:
            return {signer.lower() for (signer,) in ledger.execute("SELECT DISTINCT signer FROM deliveries")}

    async def operator(self, path: str) -> Any:
        async with httpx.AsyncClient(headers={"Authorization": f"Bearer {OPERATOR}"}, timeout=20) as http:
            return (await http.get(f"{self.url}{path}")).raise_for_status().json()

    async def unfinished(self) -> int:
        return len((await self.operator("/api/admin/pending"))["refunds"])


async def until(what: str, check: Callable[[], Any], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not await check():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.1)


async def paid(shop: Shop, wallet: Wallet, count: int) -> list[dict[str, Any]]:
    """Pay so many invoices; the proofs, each taken."""
    proofs = []
    async with StockProvider(shop.url, SERVER) as provider:
        for _ in range(count):
            details = await provider.generate_payment_details(AMOUNT, "films", 300)
            tx = await wallet.send(details["recipient"], AMOUNT, details.get("data"))
            proof = {"reference": details["reference"], "txHash": tx, "senderAddress": wallet.address}
            answer = await provider.verify_payment(proof)
            assert answer["valid"], answer
            proofs.append(proof)
    return proofs


async def owed(shop: Shop, proofs: list[dict[str, Any]]) -> None:
    """Say that all of it goes back."""
    async with StockProvider(shop.url, SERVER) as provider:
        for proof in proofs:
            await provider.issue_refund(proof, AMOUNT)


async def test_a18_refunds_by_a_keepers_key_go_out_once_through_a_kill_and_a_rotation(
    keeper: Keeper, evm: Evm, tmp_path: Path
) -> None:
    shop = Shop(keeper, evm, tmp_path)
    first, second = keeper.make("secp256k1"), keeper.make("secp256k1")
    accounts = [shop.configure(first)]
    shop.process.start()
    try:
        wallets = [Wallet(evm.url, bytes(evm.account(ETHER).key)) for _ in range(PAYERS)]
        async with blocks(evm):
            proofs = await asyncio.gather(*(paid(shop, each, EACH) for each in wallets))
            before = [await each.balance() for each in wallets]
            await asyncio.gather(*(owed(shop, each) for each in proofs))
            await until("some are sent", lambda: sent(shop))
            shop.process.kill()
            accounts.append(shop.configure(second, first))
            await asyncio.to_thread(shop.process.start)
            more = await asyncio.gather(*(paid(shop, each, 1) for each in wallets))
            await asyncio.gather(*(owed(shop, each) for each in more))
            await until("all are final", lambda: finished(shop))
        # What was paid after the restart came back, too: only gas is gone.
        for wallet, balance in zip(wallets, before, strict=True):
            assert 0 <= balance + EACH * AMOUNT - await wallet.balance() < AMOUNT // 100
            await wallet.rpc.close()
        audit = await shop.operator("/api/admin/audit")
        assert audit["clean"] is True, audit
        assert shop.senders() == {each.lower() for each in accounts}, "each key finished what it signed"
    finally:
        assert shop.process.stop() == 0


async def sent(shop: Shop) -> bool:
    return await shop.unfinished() < PAYERS * EACH


async def finished(shop: Shop) -> bool:
    return await shop.unfinished() == 0


def in_memory(pid: int, *wanted: bytes) -> set[bytes]:
    """Which of these are anywhere in the memory of a process."""
    found = set()
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            place = re.match(r"([0-9a-f]+)-([0-9a-f]+) r", line)
            if place is None or line.endswith(("[vvar]", "[vvar_vclock]", "[vsyscall]")):
                continue
            start, end = (int(each, 16) for each in place.groups())
            memory.seek(start)
            try:
                content = memory.read(end - start)
            except OSError:
                continue  # a page that is not there
            found |= {each for each in wanted if each in content}
    return found


async def test_a46_no_private_key_is_in_the_memory_of_a_gateway_whose_key_is_at_a_keeper(
    azure: Azure, evm: Evm, tmp_path: Path
) -> None:
    secret = secrets.token_bytes(32)
    shop = Shop(azure, evm, tmp_path)
    shop.configure(azure.keep(secret))
    shop.process.start()
    try:
        wallet = Wallet(evm.url, bytes(evm.account(ETHER).key))
        async with blocks(evm):
            await owed(shop, await paid(shop, wallet, 2))
            await until("it signed", lambda: finished(shop))
        await wallet.rpc.close()
        forms = secret, secret[::-1], secret.hex().encode(), str(int.from_bytes(secret, "big")).encode()
        # What it does hold is found in the same way.
        assert in_memory(shop.process.pid, OPERATOR.encode(), *forms) == {OPERATOR.encode()}
    finally:
        assert shop.process.stop() == 0
