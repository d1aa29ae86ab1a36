"""The whole way on Solana: an invoice, a wallet's transfer, a session, its settlement, the refund."""

from __future__ import annotations

import asyncio

from tests.fixtures.solana_world import SolanaWorld
from tests.gateway.refunds.solana_world import TENANT, solana_gateway

from ws402.gateway.ledger.database import Database
from ws402.protocol import EndReason, SettleRequest

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
            settled = await gateway.service.settle(
                TENANT,
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
