"""`ws402 ops find`: what an operator answers a payer who asks where their money is."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
from tests.cli.test_ops import gateway, ops, owe
from tests.fixtures.evm import ETHER, Evm

from ws402.gateway.run.gateway import Gateway
from ws402.protocol import GenerateRequest, Proof, VerifyRequest

__all__ = ["gateway"]  # the fixture
World = tuple[Gateway, Evm]


async def _found(running: Gateway, what: str) -> str:
    done = await ops(running, "find", what)
    assert done.exit_code == 0, done.output or done.exception
    return done.output


async def test_a_session_is_found_by_all_that_belongs_to_it(gateway: World) -> None:
    running, evm = gateway
    refund_id = await owe(running, evm)
    (session,) = json.loads((await ops(running, "--json", "sessions")).output)["sessions"]
    (payment,) = json.loads((await ops(running, "--json", "payments")).output)["payments"]
    shown = await _found(running, session["id"])
    for part in (
        f"session   {session['id']}: ended, feed of tenant default",
        "0.001 ETH to 0x",
        f"transfer  0.001 ETH from {session['payer']}",
        "used      0.0006 ETH of 0.001 ETH",
        f"refund    {refund_id}: 0.0004 ETH to {session['payer']}",
        f"next      Refund {refund_id}",
    ):
        assert part in shown
    named = (payment["tx"], payment["tx"].upper().replace("0X", "0x"), payment["invoiceId"], payment["id"], refund_id)
    for what in (*named, session["payer"], session["payer"].lower()):
        assert f"session   {session['id']}" in await _found(running, what), what
    for _ in range(150):
        if "was delivered for good, by 0x" in (shown := await _found(running, refund_id)):
            break
        await asyncio.to_thread(evm.mine, 1)
        await asyncio.sleep(0.05)
    sent = shown.split("delivered for good, by ")[1].split(".")[0]
    assert f"session   {session['id']}" in await _found(running, sent), "by the refund's own transaction"


async def test_a_short_payment_is_explained_by_its_reference_which_is_not_sent(gateway: World) -> None:
    running, evm = gateway
    payer = await asyncio.to_thread(evm.account, ETHER)
    details: Any = await running.service.of("default").generate(
        GenerateRequest(amount=10**15, resource_id="feed", estimated_duration=60)
    )
    assert "Nothing has arrived for it. It can be paid until 20" in await _found(running, details.reference)
    data = bytes.fromhex(details.data[2:])
    tx = await asyncio.to_thread(evm.send, payer, details.recipient, value=10**14, data=data)
    for _ in range(100):
        if "transfer " in (shown := await _found(running, details.reference)):
            break
        await asyncio.sleep(0.05)
    assert f"It pays for nothing, and goes back to {payer.address} by itself after 20" in shown
    assert "invoice   inv_" in shown
    assert f"transfer  0.0001 ETH from {payer.address}" in shown
    assert shown == await _found(running, details.data), "the calldata's tag names the invoice too"
    proof = Proof(reference=details.reference, tx_hash=tx, sender_address=payer.address)
    assert not (await running.service.of("default").verify(VerifyRequest(proof=proof))).valid
    assert "refund    ref_" in (shown := await _found(running, tx)) or "by itself after" in shown


async def test_what_the_ledger_does_not_know_is_asked_of_the_chain(gateway: World) -> None:
    running, evm = gateway
    elsewhere = await asyncio.to_thread(evm.account, ETHER)
    tx = await asyncio.to_thread(evm.send, evm.funder, elsewhere.address, value=1)
    told = await ops(running, "find", tx)
    assert told.exit_code == 3
    assert "The ledger does not know it. On base-sepolia it is included. It pays none of our addresses" in told.output
    for what in ("0x" + "12" * 32, "ses_none", "nobody's reference", elsewhere.address):
        told = await ops(running, "find", what)
        assert told.exit_code == 3
        assert told.output == "The ledger and the chains know nothing of it.\n"


async def test_many_cases_are_cut_and_it_is_said(gateway: World) -> None:
    running, evm = gateway
    chain = next(iter(running.chains.values()))
    payer = await asyncio.to_thread(evm.account, ETHER)
    for _ in range(21):
        await asyncio.to_thread(evm.send, payer, chain.recipient, value=7)
    for _ in range(200):  # until the watch has seen them all
        shown = (await ops(running, "find", payer.address)).output
        if shown.endswith("There are more: these are the newest.\n"):
            break
        await asyncio.sleep(0.05)
    assert shown.count("transfer ") == 20
    assert shown.endswith("There are more: these are the newest.\n")


@pytest.mark.parametrize("query", ["what=", "tag=abc", "what=" + "x" * 201, "who=me"])
async def test_a_question_that_makes_no_sense_is_refused(gateway: World, query: str) -> None:
    running, _ = gateway
    async with httpx.AsyncClient(base_url=running.url, headers={"Authorization": "Bearer " + "a" * 40}) as client:
        assert (await client.get(f"/api/admin/find?{query}")).status_code == 400
