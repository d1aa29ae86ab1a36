"""A running gateway whose secrets come from a real Vault: keys are rotated under load, and Vault goes away."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from eth_account.signers.local import LocalAccount
from sqlalchemy import select
from tests.fixtures.evm import ETHER, Evm, blocks
from tests.fixtures.stack import postgres_ledger
from tests.fixtures.vault import VaultCorner

from ws402.client.successions import follows
from ws402.devchain.evm import EvmDevChain
from ws402.errors import ConfigurationError
from ws402.gateway.ledger.tables import deliveries, refunds
from ws402.gateway.run.gateway import Gateway, build
from ws402.protocol import TRANSIENT_REJECTS, EndReason, GenerateRequest, Proof, SettleRequest, VerifyRequest
from ws402.provider.direct import DirectPaymentProvider
from ws402.settings import EvmNetworkSettings, GatewaySettings, VaultSettings

NETWORK = "base-sepolia"
AMOUNT = 10**16
SERVER, OPERATOR = "s" * 40, "o" * 40

FUNDING = threading.Lock()
"""All accounts are funded by one, whose transactions are numbered."""

pytestmark = pytest.mark.vault


@pytest.fixture
def evm(shared_devchain: EvmDevChain) -> Iterator[Evm]:
    evm = Evm(shared_devchain.rpc_url, name="devchain")
    yield evm
    evm.close()


@pytest.fixture
def postgres_url() -> Iterator[str]:
    with postgres_ledger() as url:
        yield url


class Keys:
    """Keys of the refund float, funded on the chain, and written to Vault."""

    def __init__(self, evm: Evm, vault: VaultCorner) -> None:
        self._evm = evm
        self._vault = vault
        self.made: list[str] = []

    def rotate(self, wei: int = ETHER) -> str:
        """Make a key, fund its account, write it; the account."""
        with FUNDING:
            account = self._evm.account(wei)
        self.made.append("0x" + account.key.hex().removeprefix("0x"))
        self._vault.put(f"keys/{NETWORK}", private_key=self.made[-1])
        return str(account.address)


@pytest.fixture
def keys(evm: Evm, vault: VaultCorner) -> Keys:
    return Keys(evm, vault)


@pytest.fixture
def prepared(vault: VaultCorner, keys: Keys, evm: Evm) -> VaultSettings:
    """A Vault with all that a gateway needs."""
    keys.rotate()
    vault.put("api-keys", servers=SERVER, operators=OPERATOR)
    vault.put("rpc", **{NETWORK: evm.url})
    return vault.approle("--network", NETWORK, max_stale_seconds=2, timeout_seconds=2)


def settings(vault: VaultSettings, folder: Path, **more: Any) -> GatewaySettings:
    values: dict[str, Any] = {
        "gateway_port": 0,
        "vault": vault,
        "database_url": f"sqlite:///{folder / 'ledger.db'}",
        "evm_networks": [EvmNetworkSettings(network=NETWORK, chain_id=84532, poll_seconds=0.2)],
        "refund_interval_seconds": 0.1,
    }
    return GatewaySettings(**values | more)


@asynccontextmanager
async def running(given: GatewaySettings) -> AsyncIterator[Gateway]:
    gateway = await asyncio.to_thread(build, given)
    await gateway.start()
    try:
        yield gateway
    finally:
        await gateway.close()


def metrics_of(gateway: Gateway) -> str:
    assert gateway.exporter is not None
    return httpx.get(gateway.exporter.url, timeout=5).text


async def until(what: str, check: Callable[[], Any], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.05)


class Payer:
    """Pays, uses nothing and gets everything back, again and again; counts what failed."""

    def __init__(self, gateway: Gateway, evm: Evm, *, other: Gateway | None = None) -> None:
        """`other`: another gateway of the same ledger, which checks the proofs."""
        self._seller = DirectPaymentProvider(gateway.service)
        self._provider = DirectPaymentProvider((other or gateway).service)
        self._evm = evm
        self.stopped = False
        self.failures: list[str] = []
        self.refunds: list[str] = []

    async def invoice(self) -> Any:
        """Ask to pay."""
        request = GenerateRequest(amount=AMOUNT, resource_id="feed", estimated_duration=300, price_per_second=10**12)
        return await self._seller.generate_payment_details(request)

    def _account(self) -> LocalAccount:
        with FUNDING:
            return self._evm.account(ETHER)

    async def pay(self, details: Any) -> None:
        """Pay an invoice, open a session, end it at once: all is owed back."""
        payer = await asyncio.to_thread(self._account)
        data = bytes.fromhex(details.data[2:])
        tx = await asyncio.to_thread(self._evm.send, payer, details.recipient, value=AMOUNT, data=data)
        proof = Proof(reference=details.reference, tx_hash=tx, sender_address=payer.address)
        session = await self._provider.verify_payment(VerifyRequest(proof=proof, server_id="s"))
        while session.code in TRANSIENT_REJECTS:  # as every client does
            session = await self._provider.verify_payment(VerifyRequest(proof=proof, server_id="s"))
        if not session.valid:
            self.failures.append(str(session.reason))
            return
        settled = await self._provider.settle(
            SettleRequest(
                session_id=str(session.session_id),
                epoch=session.epoch or 0,
                elapsed_ms=0,
                bytes_transferred=0,
                message_count=0,
                reason=EndReason.CLIENT_CLOSED,
            )
        )
        self.refunds.append(str(settled.refund_id))

    async def forever(self) -> None:
        """Until it is stopped."""
        while not self.stopped:
            try:
                await self.pay(await self.invoice())
            except Exception as error:  # noqa: BLE001 - every failure counts
                self.failures.append(repr(error))


async def states(gateway: Gateway) -> list[tuple[str, str]]:
    """Every refund's state, and the account that paid it."""
    query = select(refunds.c.state, deliveries.c.signer).outerjoin(deliveries, refunds.c.delivery_id == deliveries.c.id)
    async with gateway.database.begin() as connection:
        return [(row.state, row.signer) for row in await connection.execute(query)]


async def all_final(gateway: Gateway, count: int) -> list[str]:
    """Wait until so many refunds are final; the accounts that paid them."""
    end = time.monotonic() + 80
    while True:
        found = await states(gateway)
        if len(found) == count and all(state == "final" for state, _ in found):
            return [signer for _, signer in found]
        assert time.monotonic() < end, f"not all final: {found}"
        await asyncio.sleep(0.2)


async def assert_clean(gateway: Gateway) -> None:
    await gateway.service.watcher.step(gateway.chains[NETWORK])
    for line in await gateway.service.audit():
        assert line.clean, line


def leads(known: str, details: Any) -> bool:
    shown = details.successions or []
    return follows(NETWORK, "eip155:84532", [known.lower()], details.recipient.lower(), shown)


def account(gateway: Gateway) -> str:
    return gateway.chains[NETWORK].recipient


async def test_a46_a_leaked_key_is_rotated_under_load_and_no_call_fails_and_no_refund_is_lost(
    prepared: VaultSettings, keys: Keys, vault: VaultCorner, evm: Evm, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    given = settings(prepared, tmp_path)
    async with running(given) as gateway, blocks(evm):
        first = account(gateway)
        payer = Payer(gateway, evm)
        named_before = await payer.invoice()
        load = [asyncio.create_task(payer.forever()) for _ in range(3)]
        await until("some refunds", lambda: len(payer.refunds) >= 5)
        second = await asyncio.to_thread(keys.rotate)
        await until("the new account is named", lambda: account(gateway) == second)
        mark = len(payer.refunds)
        await until("refunds after it", lambda: len(payer.refunds) >= mark + 5)
        payer.stopped = True
        await asyncio.gather(*load)
        named = await payer.invoice()
        assert named.recipient == second
        assert leads(first, named), "who paid the account before finds to this one"
        # An invoice that names the account before is still good, and its refund is the new key's.
        await payer.pay(named_before)
        assert payer.failures == []
        assert gateway.keyring is not None
        paid_by = await all_final(gateway, len(payer.refunds))
        assert set(paid_by) == {first, second}
        await until("the key before is let go", lambda: not gateway.refunds.stats()[NETWORK]["retiring"])
        assert [each.version for each in gateway.keyring.keeper.snapshot.keys[NETWORK]] == [2]
        await assert_clean(gateway)
        await gateway.service.ready()
    # The next process knows both accounts, although it was not there.
    async with running(given) as later, blocks(evm):
        assert account(later) == second
        await assert_clean(later)
    for secret in (*keys.made, *(each.removeprefix("0x") for each in keys.made), SERVER, OPERATOR):
        assert secret not in caplog.text
        assert secret not in (tmp_path / "ledger.db").read_bytes().decode("latin-1")


async def test_a46_a_key_is_rotated_under_two_gateways_of_one_ledger(
    prepared: VaultSettings, keys: Keys, evm: Evm, tmp_path: Path, postgres_url: str
) -> None:
    given = settings(prepared, tmp_path, database_url=postgres_url, refund_lease_seconds=2)
    async with running(given) as one, running(given) as two, blocks(evm):
        first = account(one)
        # What the one names, the other takes, whichever of them heard of the new key first.
        there, back = Payer(one, evm, other=two), Payer(two, evm, other=one)
        load = [asyncio.create_task(each.forever()) for each in (there, back)]
        await until("some refunds", lambda: min(len(there.refunds), len(back.refunds)) >= 2)
        second = await asyncio.to_thread(keys.rotate)
        await until("both name the new account", lambda: account(one) == account(two) == second)
        marks = len(there.refunds), len(back.refunds)
        await until("more", lambda: len(there.refunds) >= marks[0] + 2 and len(back.refunds) >= marks[1] + 2)
        there.stopped = back.stopped = True
        await asyncio.gather(*load)
        assert there.failures + back.failures == []
        paid_by = await all_final(one, len(await states(one)))
        assert set(paid_by) == {first, second}
        await assert_clean(one)
        await assert_clean(two)


async def test_a46_refunds_that_the_key_before_signed_are_finished_by_it_in_the_next_process(
    prepared: VaultSettings, keys: Keys, evm: Evm, tmp_path: Path
) -> None:
    given = settings(prepared, tmp_path)
    async with running(given) as gateway:
        first = account(gateway)
        payer = Payer(gateway, evm)
        await payer.pay(await payer.invoice())
        # Signed and sent, in a block, but not final while no further block comes.
        end = time.monotonic() + 60
        while (await states(gateway))[0][0] not in {"in_flight", "confirmed"}:
            evm.mine() if (await states(gateway))[0][0] == "waiting" else None
            assert time.monotonic() < end
            await asyncio.sleep(0.1)
    second = await asyncio.to_thread(keys.rotate)
    async with running(given) as later:
        assert account(later) == second
        assert leads(first, await Payer(later, evm).invoice()), "also when it was rotated while no gateway ran"
        assert later.refunds.stats()[NETWORK]["retiring"] == [first]
        async with blocks(evm):
            assert await all_final(later, 1) == [first]
            await until("the key before is let go", lambda: not later.refunds.stats()[NETWORK]["retiring"])
            await assert_clean(later)


async def test_a38_api_keys_are_swapped_while_the_gateway_runs(
    prepared: VaultSettings, vault: VaultCorner, tmp_path: Path
) -> None:
    async with running(settings(prepared, tmp_path)) as gateway, httpx.AsyncClient(base_url=gateway.url) as http:

        async def status(path: str, key: str) -> int:
            return (await http.get(path, headers={"Authorization": f"Bearer {key}"})).status_code

        async def becomes(path: str, key: str, wanted: int) -> None:
            end = time.monotonic() + 60
            while await status(path, key) != wanted:
                assert time.monotonic() < end, (path, wanted)
                await asyncio.sleep(0.05)

        audit = "/api/admin/audit"
        assert await status(audit, OPERATOR) == 200
        assert await status(audit, SERVER) == 403
        new = "n" * 40
        vault.put("api-keys", servers=SERVER, operators=f"{OPERATOR},{new}")
        await becomes(audit, new, 200)
        assert await status(audit, OPERATOR) == 200, "both are valid while they are exchanged"
        vault.put("api-keys", servers=SERVER, operators=new)
        await becomes(audit, OPERATOR, 401)
        # A slip of the operator's pen takes nobody's access away.
        vault.put("api-keys", servers="short", operators="")
        assert gateway.keyring is not None
        keeper = gateway.keyring.keeper
        await until("the slip is told", lambda: keeper.counters.failures["malformed"] > 0)
        assert await status(audit, new) == 200
        assert keeper.error is not None
        assert "short" not in keeper.error.message.replace("shorter", "")


async def test_a_gateway_stays_ready_while_vault_is_sealed_for_as_long_as_its_secrets_are_fresh_enough(
    prepared: VaultSettings, vault: VaultCorner, evm: Evm, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    given = settings(prepared, tmp_path, metrics_port=0)
    async with running(given) as gateway, httpx.AsyncClient(base_url=gateway.url) as http:

        async def ready() -> httpx.Response:
            return await http.get("/health/ready")

        assert gateway.keyring is not None
        keeper = gateway.keyring.keeper
        await until("a first look", lambda: keeper.counters.polls)
        begun = time.monotonic()
        await asyncio.to_thread(vault.seal)
        try:
            payer = Payer(gateway, evm)
            while (answer := await ready()).status_code == 200:
                assert time.monotonic() - begun < 60
                await asyncio.sleep(0.1)
            assert keeper.age > 2, "an outage within max_stale_seconds is no reason"
            assert answer.json()["code"] == "secrets_unavailable"
            assert "more than max_stale_seconds = 2: Vault at" in caplog.text, "the reason is in the log"
            await payer.pay(await payer.invoice())  # what was opened can be served and settled meanwhile
            assert payer.failures == []
            assert keeper.counters.failures["sealed"] >= 1
            shown = await asyncio.to_thread(metrics_of, gateway)
            assert 'ws402_secret_failures_total{reason="sealed"}' in shown
            assert f'ws402_secret_version{{secret="keys/{NETWORK}"}} 1.0' in shown
            assert 'ws402_vault_logins_total{result="ok"} 1.0' in shown
        finally:
            await asyncio.to_thread(vault.unseal)
        end = time.monotonic() + 60
        while (await ready()).status_code != 200:
            assert time.monotonic() < end
            await asyncio.sleep(0.1)


async def test_without_its_secrets_a_gateway_does_not_start_and_says_why(
    prepared: VaultSettings, vault: VaultCorner, tmp_path: Path
) -> None:
    vault.put(f"keys/{NETWORK}", private_key="0x12")
    with pytest.raises(ConfigurationError) as refused:
        await asyncio.to_thread(build, settings(prepared, tmp_path))
    assert f"The key of {NETWORK}, version 2" in str(refused.value)
    vault.root.secrets.kv.v2.delete_metadata_and_all_versions(f"{vault.path}/keys/{NETWORK}")
    with pytest.raises(ConfigurationError) as refused:
        await asyncio.to_thread(build, settings(prepared, tmp_path))
    assert f"Vault has no {vault.path}/keys/{NETWORK}" in str(refused.value)
