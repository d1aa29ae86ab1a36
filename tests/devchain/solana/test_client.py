"""The stock Python client works on the embedded chain, and on a validator by the same calls."""

from __future__ import annotations

from solana.rpc.async_api import AsyncClient
from solana.rpc.commitment import Confirmed
from solana.rpc.models import TokenAccountOpts, TxOpts
from solders.keypair import Keypair
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction
from spl.token.constants import TOKEN_PROGRAM_ID
from tests.fixtures.solana import SOL, Solana, pay

from ws402.devchain.solana import SolanaDevChain


async def test_the_stock_client_pays_and_reads(solana: Solana) -> None:
    payer, payee = solana.account(2 * SOL), Keypair().pubkey()
    client = AsyncClient(solana.url, commitment=Confirmed)
    try:
        assert await client.is_connected()
        latest = (await client.get_latest_blockhash()).value
        message = MessageV0.try_compile(payer.pubkey(), [pay(payer, payee, SOL)], [], latest.blockhash)
        assert (await client.get_fee_for_message(message)).value == 5000
        transaction = VersionedTransaction(message, [payer])
        assert (await client.simulate_transaction(transaction)).value.err is None
        sent = await client.send_transaction(transaction, opts=TxOpts(preflight_commitment=Confirmed))
        confirmed = await client.confirm_transaction(
            sent.value, Confirmed, sleep_seconds=0.02, last_valid_block_height=latest.last_valid_block_height
        )
        assert confirmed.value[0].err is None
        for encoding in ("json", "jsonParsed", "base64"):
            found = await client.get_transaction(sent.value, encoding, max_supported_transaction_version=0)
            assert found.value.transaction.meta.fee == 5000
        assert (await client.get_balance(payee)).value == SOL
        assert (await client.get_account_info(payee)).value.lamports == SOL
        assert [each and each.lamports for each in (await client.get_multiple_accounts([payee])).value] == [SOL]
        (entry,) = (await client.get_signatures_for_address(payee, limit=5)).value
        assert entry.signature == sent.value
        assert (await client.get_signature_statuses([sent.value])).value[0].err is None
        assert (await client.get_block_height()).value > 0
        assert (await client.get_epoch_info()).value.absolute_slot > 0
        assert (await client.get_minimum_balance_for_rent_exemption(165)).value == 2_039_280
        assert (await client.get_version()).value.solana_core
        assert (await client.get_genesis_hash()).value
        block = (await client.get_block(found.value.slot, max_supported_transaction_version=0)).value
        assert sent.value in [each.transaction.signatures[0] for each in block.transactions]
        assert (await client.get_block_time(found.value.slot)).value > 1_600_000_000
        assert (await client.get_recent_prioritization_fees([payee])).value is not None
    finally:
        await client.close()


async def test_the_stock_client_reads_tokens(embedded_solana: SolanaDevChain) -> None:
    chain = embedded_solana
    owner, mint = Pubkey.from_string(chain.accounts[3].address), Pubkey.from_string(chain.token.mint)
    account = Pubkey.from_string(chain.token_account(str(owner)))
    client = AsyncClient(chain.rpc_url, commitment=Confirmed)
    try:
        assert (await client.get_token_account_balance(account)).value.ui_amount_string == "1000000"
        for which in (TokenAccountOpts(mint=mint), TokenAccountOpts(program_id=TOKEN_PROGRAM_ID)):
            (held,) = (await client.get_token_accounts_by_owner(owner, which)).value
            assert held.pubkey == account
            (parsed,) = (await client.get_token_accounts_by_owner_json_parsed(owner, which)).value
            assert parsed.account.data.parsed["info"]["tokenAmount"]["decimals"] == 6
        assert (await client.get_token_supply(mint)).value.decimals == 6
    finally:
        await client.close()
