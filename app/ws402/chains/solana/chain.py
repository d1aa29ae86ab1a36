"""`SolanaChain`: one Solana cluster, as the gateway asks for it. Blocks are numbered by their slots."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Final, TypeVar

from solders.pubkey import Pubkey
from solders.signature import Signature

from ws402.chains.base import (
    Anchor,
    ChainUnavailableError,
    InvoiceTerms,
    RefundOrder,
    SignedTransaction,
    TxState,
    TxStatus,
)
from ws402.chains.rpc.chain import RpcChain, assets_of, states_by
from ws402.chains.rpc.endpoint import Endpoint
from ws402.chains.rpc.pool import guarded
from ws402.chains.solana import address as addresses
from ws402.chains.solana import programs
from ws402.chains.solana.address import address_of, normalize_address, normalize_tx, token_account
from ws402.chains.solana.details import payment_details
from ws402.chains.solana.fees import Fees
from ws402.chains.solana.mints import Mint, read_mint, read_token_account
from ws402.chains.solana.reader import FINALIZED, Reader, numbers
from ws402.chains.solana.refunds import Refunds
from ws402.chains.solana.replies import SolanaDialect
from ws402.chains.solana.statuses import Statuses
from ws402.chains.solana.transfers import Ours
from ws402.keys.base import Signer
from ws402.money import Asset
from ws402.protocol import SolanaPaymentDetails
from ws402.settings import SOLANA_GENESIS, SolanaNetworkSettings

log = logging.getLogger(__name__)

T = TypeVar("T")
NATIVE: Final = "SOL"
CAIP2_LENGTH: Final = 32
HEIGHT_SECONDS: Final = 0.5

LAG_SLOTS: Final = 30
"""Twelve seconds: healthy endpoints differ by the slots that pass while they answer."""


class SolanaChain(RpcChain):
    """See `ws402.chains.base.Chain`. `recipient` is where invoices are paid."""

    _reader: Reader

    def __init__(self, settings: SolanaNetworkSettings, recipient: str) -> None:
        self._dialect = SolanaDialect(settings.network, settings.genesis_hash or SOLANA_GENESIS.get(settings.network))
        super().__init__(settings, self._dialect, LAG_SLOTS)
        self._settings = settings
        self.native = NATIVE
        self.recipient = normalize_address(recipient)
        self.assets = _assets(settings)
        self.span = 500
        self.daily_fees = settings.daily_fees
        self._fees = Fees(self._pool, settings.max_priority_fee)
        self._statuses = Statuses(self.network, lambda txs: states_by(self._pool, self._reader, txs))
        self._mints: dict[str, Mint] = {}
        self._wallets = [self.recipient]
        self._height = (0, float("-inf"))
        self._use(())

    reference_is_public = True  # Solana Pay's reference is a key among the transfer's accounts
    resend_seconds = 2.0  # blocks come fast, and a transaction lives for a minute only

    normalize_address = staticmethod(normalize_address)
    normalize_tx = staticmethod(normalize_tx)
    address_of = staticmethod(address_of)

    def _use(self, mints: Sequence[Mint]) -> None:
        """Work with these tokens."""
        self._mints = {each.asset.symbol: each for each in mints}
        self._ours = Ours(self.network, NATIVE, {}, memo=self._settings.require_memo)
        for wallet in self._wallets:
            self._ours.add(wallet, mints)
        self._reader = Reader(self._ours)
        self._refunds = Refunds(
            self._pool,
            self._reader,
            self._fees,
            self._mints.get,
            create_accounts=self._settings.create_token_accounts,
        )

    @property
    def caip2(self) -> str:
        """The cluster by its genesis hash (CAIP-2, namespace solana); one of your own is known once it was asked."""
        return f"solana:{(self._dialect.genesis or self.network)[:CAIP2_LENGTH]}"

    # --- Life --------------------------------------------------------------------------------------------------------

    async def _prepare(self) -> None:
        """Each token's mint must be one that can be accepted."""
        self.reserve = await self._sure(self._pool.call("getMinimumBalanceForRentExemption", 0))
        tokens = [each for each in self.assets.values() if each.contract]
        if not tokens:
            return
        wanted = [str(each.contract) for each in tokens]
        accounts = await self._read(lambda endpoint: self._reader.accounts(endpoint, *wanted))
        mints = [read_mint(asset, account, self.recipient) for asset, account in zip(tokens, accounts, strict=True)]
        self._use(mints)
        ours = await self._read(lambda endpoint: self._reader.accounts(endpoint, *(each.ours for each in mints)))
        for mint, account in zip(mints, ours, strict=True):
            if account is None:
                log.warning(
                    "%s has no account for %s yet: payers must make %s first, at their cost (or make it yourself)",
                    self.recipient,
                    mint.asset.symbol,
                    mint.ours,
                )

    def accept(self, address: str) -> None:
        """See `Chain.accept`."""
        wallet = normalize_address(address)
        if wallet not in self._wallets:
            self._wallets.append(wallet)
            self._ours.add(wallet, self._mints.values())

    def confirmations(self, asset: str, amount: int) -> int | None:
        """See `Chain.confirmations`: `confirmed` is what the head shows; above the limit, `finalized`."""
        large = self._settings.large_above.get(asset)
        return None if large is not None and amount > large else 1

    def new_reference(self) -> str:
        """See `Chain.new_reference`: a fresh public key, as Solana Pay has it."""
        return addresses.new_reference()

    def details(self, terms: InvoiceTerms) -> SolanaPaymentDetails:
        """See `Chain.details`."""
        mint = self._mints.get(terms.asset)
        return payment_details(
            terms,
            self.assets[terms.asset],
            network=self.network,
            recipient=self.recipient,
            program=mint.program if mint else None,
            memo=self._settings.require_memo,
        )

    # --- Accounts ----------------------------------------------------------------------------------------------------

    async def check_signature(self, payer: str, message: str, signature: str) -> bool:
        """See `Chain.check_signature`: ed25519 over the text itself, in base58. For a token account its owner signs."""
        try:
            signed = Signature.from_string(signature)
        except ValueError:
            return False
        if signed.verify(Pubkey.from_string(payer), message.encode()):
            return True
        (account,) = await self._strangers.run(guarded(lambda endpoint: self._reader.accounts(endpoint, payer)))
        tokens = read_token_account(account)
        return tokens is not None and signed.verify(Pubkey.from_string(tokens.owner), message.encode())

    async def is_contract(self, address: str) -> bool:
        """See `Chain.is_contract`: an account of a program, or one whose address no key can sign for."""
        (account,) = await self._read(lambda endpoint: self._reader.accounts(endpoint, address))
        tokens = read_token_account(account)
        if tokens is not None:
            return not Pubkey.from_string(tokens.owner).is_on_curve()
        if account is not None and account["owner"] != programs.SYSTEM:
            return True
        return not Pubkey.from_string(address).is_on_curve()

    async def balance(self, address: str, asset: str, block: int | None = None) -> int:
        """See `Chain.balance`: tokens are those of the address's associated token account."""
        mint = self._mints.get(asset)
        account = address if mint is None else token_account(address, mint.address, mint.program)
        return await self._read(lambda endpoint: self._reader.balance(endpoint, account, mint, block))

    async def next_nonce(self, address: str) -> int | None:  # noqa: ARG002 - the protocol's
        """See `Chain.next_nonce`: there are none."""
        return None

    async def outstanding(self, address: str) -> int:  # noqa: ARG002 - the protocol's
        """See `Chain.outstanding`: a transaction ends with its blockhash."""
        return 0

    async def anchor(self) -> Anchor:
        """See `AnchoredChain.anchor`: a recent blockhash."""
        return (await self._fees.quote(self.recipient)).anchor

    # --- Refunds -----------------------------------------------------------------------------------------------------

    async def estimate_fee(self, order: RefundOrder, sender: str) -> int:
        """See `Chain.estimate_fee`."""
        return await self._refunds.estimate_fee(order, sender)

    async def sign(
        self, order: RefundOrder, signer: Signer, *, nonce: int | None, replaces: SignedTransaction | None = None
    ) -> SignedTransaction:
        """See `Chain.sign`."""
        if nonce is not None or replaces is not None:
            msg = "a Solana transaction has no nonce, and nothing can take its place"
            raise ValueError(msg)
        return await self._refunds.sign(order, signer)

    async def sign_cancel(
        self,
        signer: Signer,  # noqa: ARG002 - the protocol's
        *,
        nonce: int,  # noqa: ARG002
        replaces: SignedTransaction | None,  # noqa: ARG002
    ) -> SignedTransaction:
        """See `Chain.sign_cancel`: nothing waits for another transaction here, so there is nothing to give back."""
        msg = "a Solana transaction has no nonce"
        raise ValueError(msg)

    async def broadcast(self, transaction: SignedTransaction) -> None:
        """See `Chain.broadcast`."""
        await self._refunds.broadcast(transaction)

    async def status(self, tx: str) -> TxStatus:
        """See `Chain.status`."""
        state = await self._statuses.state(tx)
        if state is not TxState.INCLUDED:
            return TxStatus(state=state)

        return await self._standing(tx)

    async def expired(self, transaction: SignedTransaction) -> bool:
        """See `Chain.expired`. Every endpoint must prove it, by blocks that are final."""
        limit = transaction.valid_until
        if limit is None or await self._final_height() <= limit:
            return False
        try:
            proven = await self._proven_absent(transaction, limit)
        except ChainUnavailableError as error:
            log.warning("%s: whether %s has expired cannot be told: %s", self.network, transaction.tx, error)
            return False
        if proven:
            self._fees.raise_floor(transaction.fee["computeUnitPrice"])
        return proven

    async def _proven_absent(self, transaction: SignedTransaction, limit: int) -> bool:
        since = transaction.fee["slot"]

        async def work(endpoint: Endpoint) -> bool:
            return await self._reader.absent(endpoint, transaction.tx, since, limit)

        return all(await self._pool.every(guarded(work)))

    async def _final_height(self) -> int:
        """Of the best endpoint, kept for half a second: only to spare the others the question."""
        height, until = self._height
        if time.monotonic() < until:
            return height
        (height,) = numbers([await self._sure(self._pool.call("getBlockHeight", FINALIZED))])
        self._height = height, time.monotonic() + HEIGHT_SECONDS
        return height


def _assets(settings: SolanaNetworkSettings) -> dict[str, Asset]:
    native = Asset(network=settings.network, symbol=NATIVE, decimals=9)
    tokens = (
        Asset(
            network=settings.network,
            symbol=each.symbol,
            decimals=each.decimals,
            contract=normalize_address(each.mint),
        )
        for each in settings.tokens
    )
    return assets_of(settings, native, tokens, "mint")
