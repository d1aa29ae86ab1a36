"""Refunds on Solana: each arrives once, signed by us alone, at a bounded price, whatever is dropped, late or killed."""

from __future__ import annotations

import asyncio
import base64
import random
from collections.abc import Callable
from typing import Any

import pytest
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from spl.token.instructions import close_account
from spl.token.models import CloseAccountParams
from sqlalchemy import func, select
from tests.fixtures.nodes import Node
from tests.fixtures.solana import SOL, Solana, SolanaRefusedError
from tests.fixtures.solana_world import SolanaWorld, Wallet, named, solana_on, system_transfer
from tests.gateway.refunds.faults import Crash, Fuse, FusedChain, FusedDatabase
from tests.gateway.refunds.solana_world import (
    QUICK,
    TENANT,
    UNSETTLED,
    SolanaGateway,
    proof_of,
    solana_gateway,
)

from ws402.chains.base import RefundImpossibleError
from ws402.chains.solana.programs import COMPUTE_BUDGET, MEMO, SYSTEM
from ws402.chains.solana.transfers import base58
from ws402.devchain.solana import SolanaDevChain
from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.tables import deliveries
from ws402.gateway.refunds import Policy
from ws402.protocol import Proof, RefundRequest

OWED = 5_000_000
MANY = 100
NEVER = 10**9

MakeNode = Callable[[str], Node]
Unsettled = tuple[SolanaWorld, SolanaDevChain]


# --- what is signed --------------------------------------------------------------------------------------------------


async def test_a25_a_refund_is_one_transfer_and_nothing_that_a_client_could_add(
    solana_world: SolanaWorld, sqlite_database: Database
) -> None:
    async with solana_gateway(solana_world, sqlite_database) as gateway:
        for asset in ("SOL", "DUSD"):
            payer = await gateway.payer()
            held = await gateway.chain.balance(gateway.chain.recipient, "SOL")
            refund = await gateway.owe(payer, OWED, asset)
            await gateway.finish()
            (delivery,) = [each for each in await gateway.deliveries() if each.asset == asset]
            sent = solana_world.solana.transaction(delivery.tx)
            message = sent["transaction"]["message"]
            keys = message["accountKeys"]
            token = str(solana_world.mint.program)
            called = [keys[each["programIdIndex"]] for each in message["instructions"]]
            move = SYSTEM if asset == "SOL" else token
            assert called == [COMPUTE_BUDGET, COMPUTE_BUDGET, MEMO, move]
            assert message["header"]["numRequiredSignatures"] == 1
            assert keys[0] == gateway.chain.recipient
            signed_for = [each for each in message["instructions"] if 0 in each["accounts"]]
            assert signed_for == [message["instructions"][-1]], "our key stands in the transfer alone"
            assert base58(message["instructions"][2]["data"]).decode() == delivery.id, "the memo names the delivery"
            gained = OWED if asset == "SOL" else 0
            spent = held + gained - await gateway.chain.balance(gateway.chain.recipient, "SOL")
            assert spent == delivery.fee + (OWED if asset == "SOL" else 0)
            assert (await gateway.refund(refund)).state == "final"
            assert await gateway.arrived(payer, asset) == [OWED]
        await gateway.audit()


async def test_a25_a_payer_that_is_a_programs_account_waits_for_an_operator(
    solana_world: SolanaWorld, sqlite_database: Database
) -> None:
    """An address that no key signs for could run anybody's rules: no refund goes there by itself."""
    world = solana_world
    vault, _ = Pubkey.find_program_address([b"vault", bytes(Keypair().pubkey())], world.mint.program)
    assert await world.chain.is_contract(str(vault))
    assert await world.chain.is_contract(world.mint.address)
    assert await world.chain.is_contract(str(world.mint.program))
    assert not await world.chain.is_contract(world.payer().address)
    assert not await world.chain.is_contract(world.mint.account(world.chain.recipient))


async def test_a26_a_closed_token_account_is_not_made_anew_at_our_cost(
    solana_world: SolanaWorld, sqlite_database: Database
) -> None:
    """The farmer takes the rent of its token account after paying, and waits for us to pay it once more."""
    world = solana_world
    async with solana_gateway(world, sqlite_database) as gateway:
        farmer = Wallet(await asyncio.to_thread(world.solana.account, SOL))
        account = await asyncio.to_thread(world.mint.open, farmer.address, OWED)
        refund = await gateway.owe(farmer, OWED, "DUSD")
        close = CloseAccountParams(
            account=Pubkey.from_string(account),
            dest=farmer.key.pubkey(),
            owner=farmer.key.pubkey(),
            program_id=world.mint.program,
        )
        await asyncio.to_thread(world.send, [close_account(close)], farmer.key)
        held = await gateway.chain.balance(gateway.chain.recipient, "SOL")
        await gateway.until("held")
        assert "closed" in ((await gateway.refund(refund)).reason or "")
        assert await gateway.chain.balance(gateway.chain.recipient, "SOL") == held
        await asyncio.to_thread(world.mint.open, farmer.address)  # at its own cost
        await gateway.operator.release(refund)
        await gateway.finish()
        assert await gateway.arrived(farmer, "DUSD") == [OWED]
        await gateway.audit()


async def test_a26_accounts_that_are_made_where_configured_count_into_the_days_fees(
    solana_world: SolanaWorld, sqlite_database: Database
) -> None:
    world = solana_world
    async with (
        world.over(create_token_accounts=True) as chain,
        solana_gateway(
            world,
            sqlite_database,
            chain=chain,
            policy=Policy(resend_after_ms=0, small_burst=1000, daily_fees=3_000_000),
        ) as gateway,
    ):
        payers = [Wallet(await asyncio.to_thread(world.solana.account, SOL)) for _ in range(2)]
        for payer in payers:
            account = await asyncio.to_thread(world.mint.open, payer.address, OWED)
            await gateway.owe(payer, OWED, "DUSD")
            close = CloseAccountParams(
                account=Pubkey.from_string(account),
                dest=payer.key.pubkey(),
                owner=payer.key.pubkey(),
                program_id=world.mint.program,
            )
            await asyncio.to_thread(world.send, [close_account(close)], payer.key)
        await gateway.until("final", "due")
        await gateway.engine.run_once()
        states = [row.state for row in await gateway.refunds()]
        assert sorted(states) == ["due", "final"], "the second rent would be above the day's budget"
        assert gateway.engine.workers[chain.network].context.condition.limited == {"fees"}
        (done,) = await gateway.deliveries()
        assert done.fee > 2_000_000, "the rent is booked as what delivering cost"
        await gateway.audit()


async def test_a27_a_blown_up_priority_fee_is_capped(
    solana_world: SolanaWorld, sqlite_database: Database, make_node: MakeNode
) -> None:
    world = solana_world
    node = make_node(world.solana.url)
    node.change = lambda method, _, result: (
        [{"slot": 1, "prioritizationFee": 10**15}] if method == "getRecentPrioritizationFees" else result
    )
    async with (
        world.over(node.url, max_priority_fee=100_000) as chain,
        solana_gateway(world, sqlite_database, chain=chain) as gateway,
    ):
        payer = await gateway.payer()
        await gateway.owe(payer, OWED)
        await gateway.finish()
        (delivery,) = await gateway.deliveries()
        message = world.solana.transaction(delivery.tx)["transaction"]["message"]
        budget = [
            each for each in message["instructions"] if message["accountKeys"][each["programIdIndex"]] == COMPUTE_BUDGET
        ]
        assert len(budget) == 2, "one limit, one price"
        assert 5000 < delivery.fee <= 5000 + 100_000 * 100_000 // 10**6
        assert await gateway.arrived(payer) == [OWED]
        await gateway.audit()


async def test_an_emptied_account_gets_its_small_refund_when_it_can_hold_it(
    solana_world: SolanaWorld, sqlite_database: Database
) -> None:
    """Less than the rent-exempt minimum cannot be sent to an account that holds nothing: an operator must look."""
    world = solana_world
    with pytest.raises(RefundImpossibleError, match="rent-exempt"):
        await world.chain.sign(world.order(world.nobody(), 890_879), world.signer, nonce=None)
    assert await world.chain.sign(world.order(world.nobody(), 890_880), world.signer, nonce=None)


# --- dropped, late, killed -------------------------------------------------------------------------------------------


async def raw_of(gateway: SolanaGateway) -> bytes:
    (attempt,) = await gateway.attempts()
    return bytes(attempt.raw)


async def dropped_refund(gateway: SolanaGateway, chain: SolanaDevChain) -> Wallet:
    """Owe a refund whose first send is lost."""
    payer = await gateway.payer()
    await gateway.owe(payer, OWED)
    for _ in range(40):
        await asyncio.to_thread(chain.advance, 2)
        chain.drop_sends(1)
        await gateway.engine.run_once()
        if await gateway.deliveries():
            chain.drop_sends(0)
            return payer
    raise AssertionError("nothing was signed")


def height(world: SolanaWorld, commitment: str) -> int:
    found: int = world.solana.rpc("getBlockHeight", {"commitment": commitment})
    return found


def late(world: SolanaWorld, raw: bytes) -> str:
    """Send a stored transaction as somebody who kept it would."""
    options = {"encoding": "base64", "skipPreflight": False, "preflightCommitment": "processed"}
    signature: str = world.solana.rpc("sendTransaction", base64.b64encode(raw).decode(), options)
    return signature


async def test_a18_a_refund_whose_first_form_lands_at_the_last_moment_is_not_signed_again(
    unsettled_solana: Unsettled, sqlite_database: Database
) -> None:
    world, chain = unsettled_solana
    policy = Policy(resend_after_ms=NEVER, small_burst=1000)
    async with solana_gateway(world, sqlite_database, policy=policy) as gateway:
        payer = await dropped_refund(gateway, chain)
        raw = await raw_of(gateway)
        (attempt,) = await gateway.attempts()
        while height(world, "processed") < attempt.valid_until:
            chain.advance(min(10, attempt.valid_until - height(world, "processed")))
            await gateway.engine.run_once()
            assert len(await gateway.attempts()) == 1
        assert await gateway.arrived(payer) == []
        assert late(world, raw) == attempt.tx
        for _ in range(20):
            chain.advance(3)
            await gateway.engine.run_once()
        assert len(await gateway.attempts()) == 1, "it was not signed a second time"
        await gateway.finish()
        assert await gateway.arrived(payer) == [OWED]
        await gateway.audit()


async def test_a18_a_refund_is_signed_again_only_when_its_first_form_can_never_land(
    unsettled_solana: Unsettled, sqlite_database: Database
) -> None:
    world, chain = unsettled_solana
    policy = Policy(resend_after_ms=NEVER, small_burst=1000)
    async with solana_gateway(world, sqlite_database, policy=policy) as gateway:
        payer = await dropped_refund(gateway, chain)
        raw = await raw_of(gateway)
        (first,) = await gateway.attempts()
        while len(await gateway.attempts()) == 1:
            chain.advance(5)
            await gateway.engine.run_once()
        assert height(world, "finalized") > first.valid_until, "no final block can hold it any more"
        with pytest.raises(SolanaRefusedError, match="Blockhash not found"):
            late(world, raw)
        await gateway.finish()
        assert await gateway.arrived(payer) == [OWED]
        assert [row.state for row in await gateway.deliveries()] == ["failed", "final"]
        assert gateway.engine.counters.expired == 1
        await gateway.audit()


@pytest.mark.parametrize("how", ["unseen", "away", "pruned"])
async def test_a45_one_endpoint_that_doubts_keeps_a_refund_from_being_signed_again(
    unsettled_solana: Unsettled, sqlite_database: Database, make_node: MakeNode, how: str
) -> None:
    """The lying endpoint says that the refund is nowhere; the other one has it, is away, or has lost its blocks."""
    world, chain = unsettled_solana
    liar, other = make_node(world.solana.url), make_node(world.solana.url)
    async with (
        world.over(liar.url, other.url) as both,
        solana_gateway(world, sqlite_database, chain=both, policy=QUICK) as gateway,
    ):
        payer = await gateway.payer()
        await gateway.owe(payer, OWED)
        hidden: set[str] = set()

        def hide(method: str, params: list[Any], result: Any) -> Any:
            if method == "getSignatureStatuses" and hidden & set(params[0]):
                return {**result, "value": [None] * len(params[0])}
            return None if method == "getTransaction" and params[0] in hidden else result

        liar.change = hide
        while not (signed := await gateway.attempts()):
            chain.advance(2)
            await gateway.engine.run_once()
        hidden.add(signed[0].tx)
        if how == "pruned":
            other.change = lambda method, _, result: 10**9 if method == "getFirstAvailableBlock" else result
        elif how == "away":
            other.status = 503
        chain.advance(signed[0].valid_until - height(world, "finalized") + 40)
        for _ in range(4):
            chain.advance(2)
            await gateway.engine.run_once()
        assert len(await gateway.attempts()) == 1
        hidden.clear()
        other.change, other.status = liar.change, None
        await gateway.finish()
        assert await gateway.arrived(payer) == [OWED]
        await gateway.audit()


async def test_a15_a_fork_that_removes_a_refund_sends_the_same_one_again(
    unsettled_solana: Unsettled, sqlite_database: Database
) -> None:
    world, chain = unsettled_solana
    async with solana_gateway(world, sqlite_database) as gateway:
        payer = await gateway.payer()
        refund = await gateway.owe(payer, OWED)
        for _ in range(60):
            chain.advance(2)
            await gateway.engine.run_once()
            if (await gateway.refund(refund)).state == "confirmed":
                break
        (delivery,) = await gateway.deliveries()
        chain.fork(world.solana.rpc("getSlot", {"commitment": "processed"}) - delivery.block + 1)
        chain.advance(6)
        assert await gateway.arrived(payer) == []
        await gateway.finish()
        assert await gateway.arrived(payer) == [OWED]
        assert len(await gateway.attempts()) == 1
        await gateway.audit()


# --- many ------------------------------------------------------------------------------------------------------------


def crowd(world: SolanaWorld, count: int) -> list[Wallet]:
    """Payers with coins, made a dozen at a time."""
    rich = world.solana.account(2 * count * OWED * 10)
    wallets = [Wallet(Keypair()) for _ in range(count)]
    for start in range(0, count, 12):
        steps = [system_transfer(rich, each.address, 5 * OWED) for each in wallets[start : start + 12]]
        world.send(steps, rich)
    return wallets


async def debts(gateway: SolanaGateway, payers: list[Wallet]) -> list[Proof]:
    """Sessions that all payers have paid for, none settled yet."""
    invoices = [await gateway.invoice(OWED) for _ in payers]
    world = gateway.world

    def pay_all() -> list[str]:
        sent = []
        for payer, invoice in zip(payers, invoices, strict=True):
            step = named(system_transfer(payer.key, invoice.recipient, OWED), invoice.reference)
            sent.append(world.solana.submit(world.solana.sign([step], payer.key)))
        for each in sent:
            world.solana.wait(each)
        return sent

    txs = await asyncio.to_thread(pay_all)
    proofs = [proof_of(invoice, tx, payer) for invoice, tx, payer in zip(invoices, txs, payers, strict=True)]
    opened = await asyncio.gather(
        *(
            gateway.verify(proof, server_id=None, claim_token=invoice.claim_token)
            for proof, invoice in zip(proofs, invoices, strict=True)
        )
    )
    assert all(each.valid for each in opened), [each.reason for each in opened if not each.valid]
    return proofs


async def test_a18_a19_a_hundred_refunds_with_kills_and_dropped_sends_arrive_once_each(
    embedded_solana: SolanaDevChain, solana_mints: dict[str, Any], sqlite_database: Database
) -> None:
    """The process is killed again and again at a step drawn by chance, and the node loses sends."""
    solana = Solana(embedded_solana.rpc_url, name="embedded")
    dice = random.Random(402)
    async with solana_on(solana, solana_mints) as world, solana_gateway(world, sqlite_database) as gateway:
        payers = await asyncio.to_thread(crowd, world, MANY)
        proofs = await debts(gateway, payers)
        await asyncio.gather(
            *(gateway.service.of(TENANT).refund(RefundRequest(proof=proof, amount=OWED)) for proof in proofs)
        )
        kills = 0
        while await gateway.refunds(*UNSETTLED):
            fuse = Fuse(dice.randrange(5, 60 if kills < 5 else 400))
            doomed = SolanaGateway(
                world,
                FusedDatabase(sqlite_database, fuse),  # type: ignore[arg-type]
                chain=FusedChain(world.chain, fuse),  # type: ignore[arg-type]
                holder="doomed",
                policy=Policy(resend_after_ms=0, small_burst=1000, group=30),
            )
            try:
                while await gateway.refunds(*UNSETTLED):
                    embedded_solana.drop_sends(dice.randrange(0, 12))
                    await doomed.engine.run_once()
                    await asyncio.sleep(0.05)
            except Crash:
                kills += 1
            finally:
                embedded_solana.drop_sends(0)
            await gateway.lease_runs_out()
        assert kills >= 5, "it was killed too seldom to prove anything"
        for payer in payers:
            assert await gateway.arrived(payer) == [OWED]
        total = (await gateway.all(select(func.count()).select_from(deliveries)))[0][0]
        print(f"{MANY} refunds arrived once each through {kills} kills, by {total} deliveries")
        await gateway.audit()
    solana.close()
