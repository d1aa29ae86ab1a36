"""`ws402 ops` as an operator uses it, against a running gateway."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result
from sqlalchemy import update
from tests.fixtures.certificates import Authority, Pair
from tests.fixtures.evm import ETHER, Evm

from ws402.cli import cli
from ws402.devchain.evm import EvmDevChain
from ws402.errors import WS402Error
from ws402.gateway.ledger.entries import move, post
from ws402.gateway.ledger.tables import refunds
from ws402.gateway.run.gateway import Gateway, build
from ws402.protocol import GenerateRequest, Proof, RefundRequest, VerifyRequest
from ws402.settings import GatewaySettings, load

ADMIN_KEY, SERVER_KEY = "a" * 40, "s" * 40


@pytest.fixture
async def gateway(shared_devchain: EvmDevChain, tmp_path: Path) -> AsyncIterator[tuple[Gateway, Evm]]:
    evm = Evm(shared_devchain.rpc_url, name="devchain")
    merchant = await asyncio.to_thread(evm.account, ETHER)
    values: dict[str, Any] = {
        "gateway_port": 0,
        "gateway_api_key": SERVER_KEY,
        "gateway_admin_key": ADMIN_KEY,
        "database_url": f"sqlite:///{tmp_path / 'ledger.db'}",
        "base_rpc": evm.url,
        "merchant_private_key": "0x" + merchant.key.hex().removeprefix("0x"),
        "refund_interval_seconds": 0.1,
    }
    made = build(GatewaySettings(**values))
    await made.start()
    yield made, evm
    await made.close()
    evm.close()


async def ops(gateway: Gateway, *arguments: str, key: str = ADMIN_KEY, **more: str) -> Result:
    """Run the command in a thread, for the gateway answers in this one."""
    environment = {"GATEWAY_ADMIN_KEY": key, "GATEWAY_URL": gateway.url, **more}
    return await asyncio.to_thread(CliRunner().invoke, cli, ["ops", *arguments], env=environment)


async def mutual_gateway(folder: Path, chain: EvmDevChain, authority: Authority, server: Pair) -> Gateway:
    """One that asks who calls for a certificate, running."""
    settings = load(
        GatewaySettings,
        gateway_port=0,
        gateway_admin_key=ADMIN_KEY,
        database_url=f"sqlite:///{folder / 'ledger.db'}",
        base_rpc=chain.rpc_url,
        merchant_private_key="0x" + "5" * 64,
        gateway_tls_cert_file=server.cert,
        gateway_tls_key_file=server.key,
        gateway_tls_client_ca_file=authority.file,
    )
    gateway = build(settings)
    await gateway.start()
    return gateway


async def test_an_operator_reaches_a_gateway_with_mutual_tls(shared_devchain: EvmDevChain, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server, mine = authority.issue("gateway"), authority.issue("operator")
    gateway = await mutual_gateway(tmp_path, shared_devchain, authority, server)
    link = {"GATEWAY_CA_FILE": str(authority.file)}
    pair = {"GATEWAY_CLIENT_CERT_FILE": str(mine.cert), "GATEWAY_CLIENT_KEY_FILE": str(mine.key)}
    audit = await ops(gateway, "audit", **link, **pair)
    bare = await ops(gateway, "audit", **link)
    half = await ops(gateway, "audit", **link, GATEWAY_CLIENT_CERT_FILE=str(mine.cert))
    await gateway.close()
    assert audit.exit_code == 0, audit.exception
    assert "client certificate is needed" in str(bare.exception)
    assert "go together" in str(half.exception)


async def state_of(gateway: Gateway, refund_id: str) -> str:
    shown = await ops(gateway, "refunds", "show", refund_id)
    assert shown.exit_code == 0, shown.exception
    return str(json.loads(shown.output)["state"])


async def owe(gateway: Gateway, evm: Evm) -> str:
    """A refund that is due; answers its id."""
    payer = await asyncio.to_thread(evm.account, ETHER)
    details: Any = await gateway.service.of("default").generate(
        GenerateRequest(amount=10**15, resource_id="feed", estimated_duration=60)
    )
    data = bytes.fromhex(details.data[2:])
    tx = await asyncio.to_thread(evm.send, payer, details.recipient, value=10**15, data=data)
    proof = Proof(reference=details.reference, tx_hash=tx, sender_address=payer.address)
    assert (await gateway.service.of("default").verify(VerifyRequest(proof=proof))).valid
    answer = await gateway.service.of("default").refund(RefundRequest(proof=proof, amount=4 * 10**14))
    assert answer.refund_id
    return answer.refund_id


async def test_the_audit_is_clean_and_says_so(gateway: tuple[Gateway, Evm]) -> None:
    running, evm = gateway
    await owe(running, evm)
    result = await ops(running, "audit")
    assert result.exit_code == 0, result.output
    assert "difference" in result.output
    assert json.loads((await ops(running, "--json", "audit")).output)["clean"] is True


async def test_a_difference_ends_with_status_3(gateway: tuple[Gateway, Evm]) -> None:
    running, evm = gateway
    chain = next(iter(running.chains.values()))
    running.service.addresses[chain.network].add(chain.normalize_address(evm.funder.address))
    assert (await ops(running, "audit")).exit_code == 3


async def test_a_refund_is_held_and_released(gateway: tuple[Gateway, Evm]) -> None:
    running, evm = gateway
    refund_id = await owe(running, evm)
    assert (await ops(running, "refunds", "hold", refund_id, "--reason", "asked by the payer")).exit_code == 0
    listed = await ops(running, "refunds", "list")
    assert refund_id in listed.output
    assert "asked by the payer" in listed.output
    assert (await ops(running, "refunds", "release", refund_id)).exit_code == 0
    assert "asked by the payer" not in (await ops(running, "refunds", "list")).output
    unknown = await ops(running, "refunds", "release", "ref_unknown")
    assert isinstance(unknown.exception, WS402Error)
    assert "There is no refund 'ref_unknown'" in str(unknown.exception)


async def test_a_dry_run_makes_every_check_and_changes_nothing(gateway: tuple[Gateway, Evm]) -> None:
    running, evm = gateway
    refund_id = await owe(running, evm)
    tried = await ops(running, "--dry-run", "refunds", "hold", refund_id, "--reason", "only a try")
    assert tried.output == f"would be done: {refund_id}\n"
    assert await state_of(running, refund_id) != "held"
    unknown = await ops(running, "--dry-run", "refunds", "release", "ref_unknown")
    assert "There is no refund 'ref_unknown'" in str(unknown.exception)
    before = (await ops(running, "keys", "list")).output
    assert (await ops(running, "--dry-run", "keys", "add", "shop", "till")).exit_code == 0
    assert (await ops(running, "keys", "list")).output == before


async def test_the_status_names_networks_keys_and_what_is_open(gateway: tuple[Gateway, Evm]) -> None:
    running, evm = gateway
    await owe(running, evm)
    shown = await ops(running, "status")
    assert shown.exit_code == 0, shown.output
    assert "base-sepolia" in shown.output
    assert "sessions: 1 ended" in shown.output
    assert "refunds: 1 " in shown.output
    assert shown.output.endswith("ready\n")


async def test_sessions_and_payments_are_listed_with_their_amounts(gateway: tuple[Gateway, Evm]) -> None:
    running, evm = gateway
    await owe(running, evm)
    session = json.loads((await ops(running, "--json", "sessions", "--state", "ended")).output)["sessions"][0]
    assert (session["paid"], session["consumed"], session["refunded"]) == (10**15, 6 * 10**14, 4 * 10**14)
    payment = json.loads((await ops(running, "--json", "payments", "--network", "base-sepolia")).output)["payments"][0]
    assert (payment["sessionId"], payment["amount"], payment["binding"]) == (session["id"], 10**15, "tag")
    assert session["id"] in (await ops(running, "sessions")).output
    assert (await ops(running, "sessions", "--state", "live")).output.endswith("(none)\n")
    assert (await ops(running, "payments", "--network", "elsewhere")).output.endswith("(none)\n")


async def test_invoices_are_listed_until_they_are_paid(gateway: tuple[Gateway, Evm]) -> None:
    running, _ = gateway
    await running.service.of("default").generate(GenerateRequest(amount=77, resource_id="feed", estimated_duration=60))
    assert [each["amount"] for each in json.loads((await ops(running, "--json", "invoices")).output)["invoices"]] == [
        77
    ]


async def test_a_refund_kept_as_credit_is_counted_and_sent_on_demand(gateway: tuple[Gateway, Evm]) -> None:
    running, evm = gateway
    refund_id = await owe(running, evm)
    async with running.database.begin() as connection:
        held = move("payer_due", "credit", "base-sepolia", "ETH", 4 * 10**14, "credit", refund_id, 1)
        await post(connection, [held])
        for state in ("due", "credit"):
            await connection.execute(update(refunds).where(refunds.c.id == refund_id).values(state=state))
    listed = json.loads((await ops(running, "--json", "credits")).output)["credits"]
    assert [(each["asset"], each["refunds"], each["total"]) for each in listed] == [("ETH", 1, 4 * 10**14)]
    sent = await ops(running, "refunds", "release-all", "base-sepolia", "ETH", "--state", "credit")
    assert sent.output == f"done: {refund_id}\n"
    again = await ops(running, "refunds", "release-all", "base-sepolia", "ETH", "--state", "credit")
    assert again.output == "nothing to do\n"


async def test_money_put_into_the_float_is_booked_once(gateway: tuple[Gateway, Evm]) -> None:
    running, _ = gateway
    tx = "0x" + "ab" * 32
    booked = ("signers", "deposit", "base-sepolia", "ETH", "5000", tx)
    assert (await ops(running, *booked)).output == f"done: {tx}\n"
    assert (await ops(running, "audit")).exit_code == 3, "the books say more than the chain has, and nobody is told"
    assert "is booked already" in str((await ops(running, *booked)).exception)
    assert "has no asset 'DOGE'" in str(
        (await ops(running, "signers", "deposit", "base-sepolia", "DOGE", "1", tx)).exception
    )
    assert (await ops(running, "signers", "withdraw", "base-sepolia", "ETH", "5000", "0x" + "cd" * 32)).exit_code == 0
    assert (await ops(running, "audit")).exit_code == 0


async def test_a_key_for_a_tenant_that_is_none_is_refused_with_what_to_write(gateway: tuple[Gateway, Evm]) -> None:
    running, _ = gateway
    for tenant, name in (("two words", "till"), ("shop", "")):
        refused = await ops(running, "keys", "add", tenant, name)
        assert isinstance(refused.exception, WS402Error)
        assert "is wrong" in refused.exception.message
    assert "till" not in (await ops(running, "keys", "list")).output


async def test_a38_a_key_is_made_shown_once_and_revoked(gateway: tuple[Gateway, Evm]) -> None:
    running, _ = gateway
    made = json.loads((await ops(running, "--json", "keys", "add", "shop", "till", "--scope", "admin")).output)
    listed = (await ops(running, "keys", "list")).output
    assert made["id"] in listed
    assert made["key"] not in listed
    for _ in range(100):
        if not (result := await ops(running, "status", key=made["key"])).exception:
            break
        await asyncio.sleep(0.1)
    assert result.exit_code == 0
    assert (await ops(running, "keys", "revoke", made["id"])).exit_code == 0
    for _ in range(100):
        if (result := await ops(running, "status", key=made["key"])).exception:
            break
        await asyncio.sleep(0.1)
    assert isinstance(result.exception, WS402Error)
    assert "There is no valid key" in str((await ops(running, "keys", "revoke", made["id"])).exception)


async def test_a_query_that_makes_no_sense_is_told(gateway: tuple[Gateway, Evm]) -> None:
    running, _ = gateway
    headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
    async with httpx.AsyncClient(base_url=running.url, headers=headers) as client:
        for query, word in (
            ("state=lost", "state"),
            ("limit=0", "limit"),
            ("limit=many", "limit"),
            ("colour=red", "colour"),
        ):
            answer = await client.get(f"/api/admin/sessions?{query}")
            assert answer.status_code == 400, answer.text
            assert word in answer.json()["message"]


async def test_signed_transfers_are_listed_and_shown(gateway: tuple[Gateway, Evm]) -> None:
    running, _ = gateway
    assert (await ops(running, "authorizations", "list", "--state", "sent")).output.endswith("(none)\n")
    unknown = await ops(running, "authorizations", "show", "aut_none")
    assert "no signed transfer" in str(unknown.exception)


async def test_a44_money_without_an_invoice_is_seen_and_sent_back(gateway: tuple[Gateway, Evm]) -> None:
    running, evm = gateway
    chain = next(iter(running.chains.values()))
    giver = await asyncio.to_thread(evm.account, ETHER)
    tx = await asyncio.to_thread(evm.send, giver, chain.recipient, value=5 * 10**15)
    for _ in range(100):
        if tx in (await ops(running, "unclaimed", "list")).output:
            break
        await asyncio.sleep(0.1)
    assert (await ops(running, "unclaimed", "refund", "base-sepolia", tx)).exit_code == 0
    assert tx not in (await ops(running, "unclaimed", "list")).output
    again = await ops(running, "unclaimed", "refund", "base-sepolia", tx)
    assert "no unclaimed money" in str(again.exception)
    for _ in range(150):
        if evm.balance(giver.address) > ETHER - 10**15:
            break
        await asyncio.to_thread(evm.mine, 1)
        await asyncio.sleep(0.1)
    assert evm.balance(giver.address) > ETHER - 10**15, "the money did not come back"
    assert (await ops(running, "audit")).exit_code == 0


async def test_a46_an_operator_stops_a_key_at_once(gateway: tuple[Gateway, Evm]) -> None:
    running, evm = gateway
    for _ in range(100):
        if "base-sepolia" in (await ops(running, "signers", "list")).output:
            break
        await asyncio.sleep(0.1)
    assert (await ops(running, "signers", "pause", "base-sepolia", "--reason", "key seen elsewhere")).exit_code == 0
    assert "key seen elsewhere" in (await ops(running, "signers", "list")).output
    refund_id = await owe(running, evm)
    await asyncio.to_thread(evm.mine, 80)
    await asyncio.sleep(1)
    assert await state_of(running, refund_id) in {"waiting", "due"}, "a paused key has sent a refund"
    assert (await ops(running, "signers", "resume", "base-sepolia")).exit_code == 0
    for _ in range(100):
        if await state_of(running, refund_id) == "final":
            return
        await asyncio.to_thread(evm.mine, 1)
        await asyncio.sleep(0.1)
    pytest.fail("the refund was not sent after the key was resumed")


async def test_a38_a_servers_key_is_no_operators_key(gateway: tuple[Gateway, Evm]) -> None:
    running, _ = gateway
    refused = await ops(running, "audit", key=SERVER_KEY)
    assert isinstance(refused.exception, WS402Error)
    short = await ops(running, "audit", key="short")
    assert "GATEWAY_ADMIN_KEY" in str(short.exception)


async def test_no_gateway_is_said_with_the_remedy() -> None:
    result = await asyncio.to_thread(
        CliRunner().invoke, cli, ["ops", "--url", "http://127.0.0.1:9", "audit"], env={"GATEWAY_ADMIN_KEY": ADMIN_KEY}
    )
    assert "No gateway answers at http://127.0.0.1:9" in str(result.exception)
    assert "Check GATEWAY_URL" in str(result.exception)
