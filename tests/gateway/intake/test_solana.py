"""The whole way on Solana: an invoice, a wallet's transfer, a session, its settlement, the refund."""

from __future__ import annotations

import asyncio

from sqlalchemy import select
from tests.fixtures.solana_world import SolanaWorld, named
from tests.gateway.refunds.solana_world import TENANT, proof_of, solana_gateway

from ws402.devchain.solana import SolanaDevChain
from ws402.gateway.books.lists import Search
from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.tables import sessions
from ws402.protocol import EndReason, RefundRequest, RejectCode, SettleRequest, payer_message

PAID = 5_000_000


async def test_a_wallets_transfer_opens_a_session_and_its_rest_comes_back(
    solana_world: SolanaWorld, sqlite_database: Database
) -> None:
    async with solana_gateway(solana_world, sqlite_database) as gateway:
        for asset in ("SOL", "DUSD"):
            payer = await gateway.payer()
            invoice = await gateway.invoice(PAID, asset, price_per_second=10_000)
            assert invoice.solana_pay_url.startswith(f"solana:{solana_world.chain.recipient}?amount=")
            assert f"reference={invoice.reference}" in invoice.solana_pay_url
            opened = await gateway.verify(await gateway.pay(payer, invoice), claim_token=invoice.claim_token)
            assert opened.valid, opened.reason
            assert (opened.payer, opened.amount, opened.asset) == (payer.address, PAID, asset)
            await asyncio.sleep(0.1)
            settled = await gateway.service.of(TENANT).settle(
                SettleRequest(
                    session_id=opened.session_id or "",
                    epoch=0,
                    elapsed_ms=100,
                    bytes_transferred=0,
                    message_count=0,
                    reason=EndReason.CLIENT_CLOSED,
                ),
            )
            assert settled.refund == PAID - 1000
            await gateway.finish()
            assert await gateway.arrived(payer, asset) == [PAID - 1000]
        await gateway.audit()


async def test_a03_in_strict_mode_the_reference_that_all_can_read_is_not_enough(
    solana_world: SolanaWorld, sqlite_database: Database
) -> None:
    """Whoever sees the transfer knows its reference; the claim token, or the payer's signature, is what counts."""
    async with solana_gateway(solana_world, sqlite_database, bindings=["claim_token", "signature"]) as gateway:
        payer = await gateway.payer()
        invoice, thiefs = await gateway.invoice(PAID), await gateway.invoice(PAID)
        proof = await gateway.pay(payer, invoice)
        assert (await gateway.verify(proof)).code == RejectCode.BINDING_REQUIRED
        assert (await gateway.verify(proof, claim_token="guessed")).code == RejectCode.BINDING_REQUIRED
        stolen = proof_of(thiefs, proof.signature or "", payer)
        assert (await gateway.verify(stolen, claim_token=thiefs.claim_token)).code == RejectCode.BINDING_INVALID
        text = payer_message(
            reference=invoice.reference,
            network=gateway.chain.network,
            tx=proof.signature or "",
            recipient=gateway.chain.recipient,
        )
        thief = await gateway.payer()
        forged = solana_world.sign_text(thief, text)
        assert (await gateway.verify(proof, payer_signature=forged)).code == RejectCode.BINDING_INVALID
        assert (await gateway.verify(proof, payer_signature=solana_world.sign_text(payer, text))).valid


async def test_in_legacy_mode_a_stock_wallets_proof_needs_no_token(
    solana_world: SolanaWorld, sqlite_database: Database
) -> None:
    async with solana_gateway(solana_world, sqlite_database) as gateway:
        payer = await gateway.payer()
        proof = await gateway.pay(payer, await gateway.invoice(PAID))
        opened = await gateway.verify(proof, server_id=None)
        assert opened.valid, opened.reason
        answer = await gateway.service.of(TENANT).refund(RefundRequest(proof=proof, amount=PAID - 7))
        assert (answer.recipient, answer.amount) == (payer.address, PAID - 7)
        await gateway.finish()
        assert await gateway.arrived(payer) == [PAID - 7]


async def test_a30_one_transaction_pays_once_however_long_ago(
    solana_world: SolanaWorld, sqlite_database: Database
) -> None:
    """The ledger remembers, not a cache with an end: neither a restart nor a refund makes it count again."""
    async with solana_gateway(solana_world, sqlite_database) as gateway:
        payer = await gateway.payer()
        invoice = await gateway.invoice(PAID)
        proof = await gateway.pay(payer, invoice)
        opened = await gateway.verify(proof, server_id=None, claim_token=invoice.claim_token)
        assert opened.valid
        await gateway.service.of(TENANT).refund(RefundRequest(proof=proof, amount=PAID))
        await gateway.finish()
        await gateway.engine.close()
    async with solana_world.over() as chain, solana_gateway(solana_world, sqlite_database, chain=chain) as again:
        other = await again.invoice(PAID)
        assert (await again.verify(proof, claim_token=invoice.claim_token)).code == RejectCode.ALREADY_CLAIMED
        replay = proof_of(other, proof.signature or "", payer)
        assert (await again.verify(replay, claim_token=other.claim_token)).code == RejectCode.ALREADY_CLAIMED
        assert await again.arrived(payer) == [PAID]


async def test_a14_a_failed_transaction_whose_status_says_confirmed_opens_nothing(
    solana_world: SolanaWorld, sqlite_database: Database
) -> None:
    async with solana_gateway(solana_world, sqlite_database) as gateway:
        payer = await gateway.payer()
        invoice = await gateway.invoice(PAID)
        step = named(solana_world.transfer(payer, "SOL", 10**15), invoice.reference)
        tx = await asyncio.to_thread(solana_world.send, [step], payer.key, skipPreflight=True)
        assert solana_world.solana.wait(tx)["err"] is not None
        refused = await gateway.verify(proof_of(invoice, tx, payer), claim_token=invoice.claim_token)
        assert (refused.valid, refused.code) == (False, RejectCode.TRANSFER_FAILED)


async def test_a28_a_doubled_transfer_opens_nothing_and_can_be_refunded(
    solana_world: SolanaWorld, sqlite_database: Database
) -> None:
    async with solana_gateway(solana_world, sqlite_database) as gateway:
        payer = await gateway.payer()
        invoice = await gateway.invoice(PAID)
        step = named(solana_world.transfer(payer, "SOL", PAID), invoice.reference)
        tx = await asyncio.to_thread(solana_world.send, [step, step], payer.key)
        refused = await gateway.verify(proof_of(invoice, tx, payer), claim_token=invoice.claim_token)
        assert (refused.valid, refused.code) == (False, RejectCode.BINDING_INVALID)
        assert len(await gateway.service.refund_unclaimed(gateway.chain.network, tx)) == 2
        await gateway.finish()
        assert sum(await gateway.arrived(payer)) == 2 * PAID
        await gateway.audit()


async def test_a15_a_large_payment_opens_its_session_when_it_is_finalized(
    solana_world: SolanaWorld, sqlite_database: Database
) -> None:
    async with (
        solana_world.over(large_above={"SOL": PAID}) as chain,
        solana_gateway(solana_world, sqlite_database, chain=chain) as gateway,
    ):
        payer = await gateway.payer()
        small, large = await gateway.invoice(PAID), await gateway.invoice(PAID + 1)
        assert (await gateway.verify(await gateway.pay(payer, small), claim_token=small.claim_token)).valid
        proof = await gateway.pay(payer, large)
        opened = await gateway.verify(proof, claim_token=large.claim_token)
        assert opened.valid, opened.reason
        slot = solana_world.solana.transaction(proof.signature or "")["slot"]
        assert solana_world.solana.rpc("getSlot", {"commitment": "finalized"}) >= slot


async def test_a19_payments_of_a_client_that_crashed_are_found_without_being_told(
    solana_world: SolanaWorld, sqlite_database: Database
) -> None:
    """Paid while no gateway ran, and no proof was ever sent: the money is in the books, and goes back when asked."""
    async with solana_gateway(solana_world, sqlite_database) as gateway:
        payer = await gateway.payer()
        invoice, token = await gateway.invoice(PAID), await gateway.invoice(PAID, "DUSD")
        await gateway.engine.close()
    proofs = [await gateway.pay(payer, each) for each in (invoice, token)]
    async with solana_world.over() as chain, solana_gateway(solana_world, sqlite_database, chain=chain) as again:
        found = {each["tx"]: each["asset"] for each in (await again.service.lists.unclaimed(Search())).rows}
        # What funded our own account may be among them: on a validator it was not final when the ledger began.
        assert [found.get(each.signature) for each in proofs] == ["SOL", "DUSD"]
        for proof in proofs:
            await again.service.refund_unclaimed(chain.network, proof.signature or "")
        await again.finish()
        assert await again.arrived(payer) == [PAID]
        assert await again.arrived(payer, "DUSD") == [PAID]
        await again.audit()


async def test_a15_a_fork_that_removes_a_payment_ends_its_session(
    unsettled_solana: tuple[SolanaWorld, SolanaDevChain], sqlite_database: Database
) -> None:
    world, chain = unsettled_solana
    async with solana_gateway(world, sqlite_database) as gateway:
        payer = await gateway.payer()
        invoice = await gateway.invoice(PAID)
        proof = await gateway.pay(payer, invoice)
        opened = await gateway.verify(proof, claim_token=invoice.claim_token)
        assert opened.valid, opened.reason
        slot = world.solana.transaction(proof.signature or "")["slot"]
        chain.fork(world.solana.rpc("getSlot", {"commitment": "processed"}) - slot + 1)
        chain.advance(6)
        await gateway.service.watcher.step(gateway.chain)
        (row,) = await gateway.all(select(sessions))
        assert (row.state, row.end_reason) == ("reversed", "reorged")
        await gateway.audit()
