"""`ws402 ledger` as an operator uses it: beside a gateway, after the loss of a ledger, on files that are none."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from eth_account.signers.local import LocalAccount
from sqlalchemy import select
from tests.fixtures.evm import ETHER, Evm

from ws402.cli import cli
from ws402.devchain.evm import EvmDevChain
from ws402.errors import WS402Error
from ws402.gateway.ledger.sqlite import add_functions
from ws402.gateway.ledger.tables import refunds
from ws402.gateway.run.gateway import Gateway, build
from ws402.protocol import GenerateRequest, Proof, RefundRequest, VerifyRequest
from ws402.settings import GatewaySettings

ADMIN_KEY = "a" * 40
NETWORK = "base-sepolia"


class Shop:
    """A gateway that can be lost, its ledger's file, and a payer."""

    def __init__(self, evm: Evm, folder: Path) -> None:
        self.evm = evm
        self.file = folder / "ledger.db"
        self.merchant: LocalAccount = evm.account(ETHER)
        self.payer: LocalAccount = evm.account(ETHER)
        self.gateway: Gateway | None = None

    async def open(self) -> Gateway:
        values: dict[str, Any] = {
            "gateway_port": 0,
            "gateway_api_key": "s" * 40,
            "gateway_admin_key": ADMIN_KEY,
            "database_url": f"sqlite:///{self.file}",
            "refund_interval_seconds": 0.1,
            "evm_networks": [
                {
                    "network": NETWORK,
                    "chain_id": self.evm.chain_id,
                    "rpc": [self.evm.url],
                    "merchant_private_key": "0x" + self.merchant.key.hex().removeprefix("0x"),
                    "final_after": 2,
                    "poll_seconds": 0.1,
                }
            ],
        }
        self.gateway = build(GatewaySettings(**values))
        await self.gateway.start()
        return self.gateway

    async def close(self) -> None:
        if self.gateway is not None:
            gateway, self.gateway = self.gateway, None
            await gateway.close()

    async def owe(self, amount: int) -> str:
        """A payer pays, and uses nothing; answers the refund's id."""
        assert self.gateway is not None
        calls = self.gateway.service.of("default")
        request = GenerateRequest(amount=amount, resource_id="film", estimated_duration=60, network=NETWORK)
        details: Any = await calls.generate(request)
        data = bytes.fromhex(details.data[2:])
        tx = await asyncio.to_thread(self.evm.send, self.payer, details.recipient, value=amount, data=data)
        proof = Proof(reference=details.reference, tx_hash=tx, sender_address=self.payer.address)
        opened = await calls.verify(VerifyRequest(proof=proof))
        assert opened.valid, opened.reason
        answer = await calls.refund(RefundRequest(proof=proof, amount=amount))
        return answer.refund_id or ""

    async def state(self, refund_id: str) -> str:
        assert self.gateway is not None
        async with self.gateway.database.read() as connection:
            query = select(refunds.c.state).where(refunds.c.id == refund_id)
            return str((await connection.execute(query)).scalar_one())

    async def until(self, refund_id: str, *states: str) -> None:
        for _ in range(300):
            if await self.state(refund_id) in states:
                return
            await asyncio.to_thread(self.evm.mine, 1)
            await asyncio.sleep(0.1)
        raise AssertionError(f"{refund_id} is still {await self.state(refund_id)}")


@pytest.fixture
async def shop(devchain: EvmDevChain, tmp_path: Path) -> AsyncIterator[Shop]:
    evm = Evm(devchain.rpc_url, name="devchain")
    made = await asyncio.to_thread(Shop, evm, tmp_path)
    await made.open()
    yield made
    await made.close()
    evm.close()


async def run(*arguments: str, **environment: str) -> Result:
    """Run a command in a thread, for a gateway may answer in this one."""
    return await asyncio.to_thread(CliRunner().invoke, cli, list(arguments), env=environment)


async def ledger(shop: Shop, *arguments: str) -> Result:
    return await run("ledger", *arguments, DATABASE_URL=f"sqlite:///{shop.file}")


async def ops(shop: Shop, *arguments: str) -> Result:
    assert shop.gateway is not None
    return await run("ops", *arguments, GATEWAY_ADMIN_KEY=ADMIN_KEY, GATEWAY_URL=shop.gateway.url)


async def test_a19_a_lost_ledger_is_restored_reconciled_and_pays_nothing_twice(shop: Shop, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    refund = await shop.owe(ETHER // 100)
    made = await ledger(shop, "backup", str(copy))
    assert (made.exit_code, "copied" in made.output) == (0, True), made.output
    await shop.until(refund, "final")
    after = await asyncio.to_thread(shop.evm.balance, shop.payer.address)
    await shop.close()
    shop.file.unlink()
    restored = await ledger(shop, "restore", str(copy))
    assert restored.exit_code == 0, restored.output
    assert f"networks: {NETWORK}" in restored.output
    assert "sends no refund" in restored.output
    await shop.open()
    refused = await ops(shop, "signers", "resume", NETWORK)
    assert "ws402 ops reconcile" in str(refused.exception)
    for _ in range(4):
        await asyncio.to_thread(shop.evm.mine, 1)
        await asyncio.sleep(0.1)
    assert await shop.state(refund) in ("waiting", "due", "in_flight")
    seen = await ops(shop, "--dry-run", "reconcile", NETWORK)
    assert seen.exit_code == 0, seen.output
    done = await ops(shop, "reconcile", NETWORK, "--yes")
    assert f"done: {NETWORK} is reconciled" in done.output, done.output
    await shop.until(refund, "final")
    assert await asyncio.to_thread(shop.evm.balance, shop.payer.address) == after
    again = await ops(shop, "reconcile", NETWORK)
    assert "nothing to do" in again.output
    fresh = await shop.owe(ETHER // 100)
    await shop.until(fresh, "final")
    audited = await ops(shop, "audit")
    assert audited.exit_code == 0, audited.output
    whole = await ledger(shop, "check")
    assert (whole.exit_code, whole.output.strip()) == (0, "whole: nothing is wrong")


async def test_a_ledger_that_a_gateway_works_on_is_not_replaced(shop: Shop, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    await ledger(shop, "backup", str(copy))
    live = await ledger(shop, "restore", str(copy), "--replace")
    assert "has the ledger" in str(live.exception)
    await shop.owe(ETHER // 100)  # it goes on
    await shop.close()
    there = await ledger(shop, "restore", str(copy))
    assert "There is a ledger" in str(there.exception)
    replaced = await ledger(shop, "restore", str(copy), "--replace")
    assert replaced.exit_code == 0, replaced.output
    kept = tmp_path / "ledger.db.before-restore"
    assert (await run("ledger", "check", DATABASE_URL=f"sqlite:///{kept}")).exit_code == 0
    again = await ledger(shop, "restore", str(copy), "--replace")
    assert "before-restore exists already" in str(again.exception)
    assert [each.name for each in tmp_path.glob("*.part")] == []


async def test_copies_in_a_folder_are_kept_by_number(shop: Shop, tmp_path: Path) -> None:
    folder = tmp_path / "copies"
    folder.mkdir()
    for day in (1, 2, 3):
        (folder / f"ledger-2026010{day}T000000Z.db").touch()
    (folder / "notes.txt").touch()
    made = await ledger(shop, "backup", str(folder), "--keep", "2")
    assert made.exit_code == 0, made.output
    kept = sorted(each.name for each in folder.iterdir())
    assert kept[0] == "ledger-20260103T000000Z.db"
    assert kept[2] == "notes.txt"
    assert len(kept) == 3
    assert ((folder / kept[1]).stat().st_mode & 0o777) == 0o600
    for wrong in (("backup", str(folder / kept[1])), ("backup", str(tmp_path / "no" / "where.db"))):
        assert isinstance((await ledger(shop, *wrong)).exception, WS402Error)


async def test_a_backup_ends_while_another_process_writes(shop: Shop, tmp_path: Path) -> None:
    stop = asyncio.Event()

    async def write() -> None:
        while not stop.is_set():
            await shop.gateway.audit_log.note("tester", "note", {"text": "x" * 4000})  # type: ignore[union-attr]

    writing = [asyncio.create_task(write()) for _ in range(2)]
    try:
        for number in range(3):
            made = await ledger(shop, "backup", str(tmp_path / f"{number}.db"))
            assert made.exit_code == 0, made.exception
    finally:
        stop.set()
        await asyncio.gather(*writing)


async def test_what_is_no_ledger_or_a_damaged_one_is_refused(shop: Shop, tmp_path: Path) -> None:
    copy, text, other = tmp_path / "copy.db", tmp_path / "text.db", tmp_path / "other.db"
    assert shop.gateway is not None
    await shop.gateway.audit_log.seal()
    await ledger(shop, "backup", str(copy))
    await shop.close()
    shop.file.unlink()
    text.write_text("not a database, but long enough to be read as one" * 100)
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE notes (text)")
    for wrong in (tmp_path / "nothing.db", text, other):
        refused = await ledger(shop, "restore", str(wrong))
        assert isinstance(refused.exception, WS402Error), refused.output
        assert not shop.file.exists()
    assert "no ledger" in str((await run("ledger", "check", DATABASE_URL=f"sqlite:///{shop.file}")).exception)
    with closing(sqlite3.connect(copy)) as connection:
        add_functions(connection)
        connection.execute("DROP TRIGGER entries_no_update")
        connection.execute("UPDATE entries SET amount = amount || '0' WHERE id = 1")
        connection.commit()
    told = await run("ledger", "check", DATABASE_URL=f"sqlite:///{copy}")
    assert told.exit_code == 3
    assert "the audit log" in told.output


async def test_postgresql_is_told_its_own_tools(tmp_path: Path) -> None:
    url = "postgresql://user:secret@db.example/ws402"
    for command in (["backup", str(tmp_path / "x.db")], ["restore", str(tmp_path / "x.db")]):
        told = await run("ledger", *command, DATABASE_URL=url)
        assert "pg_dump" in str(told.exception)
        assert "ws402 ledger restored" in str(told.exception)
        assert "secret" not in str(told.exception)
