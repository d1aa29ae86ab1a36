"""`SolanaChain`: one Solana cluster, as the gateway asks for it. Blocks are numbered by their slots."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Final, TypeVar

import msgspec
from solders.pubkey import Pubkey
from solders.signature import Signature

from ws402.chains.base import (
    Anchor,
    BlockTransfers,
    ChainUnavailableError,
    Head,
    InvoiceTerms,
    RefundOrder,
    SignedTransaction,
    TransferLookup,
    TxState,
    TxStatus,
)
from ws402.chains.rpc.chain import RpcChain, assets_of
from ws402.chains.rpc.endpoint import Endpoint
from ws402.chains.rpc.pool import Pool, guarded
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


class SolanaChain(RpcChain):
    """See `ws402.chains.base.Chain`. `recipient` is where invoices are paid."""

    def __init__(self, settings: SolanaNetworkSettings, recipient: str) -> None:
        self._settings = settings
        self._agree_above = settings.agree_above
        self.network = settings.network
        self.native = NATIVE
        self.recipient = normalize_address(recipient)
        self.poll_seconds = settings.poll_seconds
        self.assets = _assets(settings)
        self.span = 500
        self.reserve = 0
        urls = [each.get_secret_value() for each in settings.rpc]
        self._dialect = SolanaDialect(self.network, settings.genesis_hash or SOLANA_GENESIS.get(self.network))
        self._pool = Pool(self.network, urls, self._dialect, settings.rpc_timeout_seconds)
        self._fees = Fees(self._pool, settings.max_priority_fee)
        self._statuses = Statuses(self._pool)
        self._mints: dict[str, Mint] = {}
        self._wallets = [self.recipient]
        self._height = (0, float("-inf"))
        self._use(())

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

    async def start(self) -> None:
        """See `Chain.start`. Also checks that each token's mint is one that can be accepted."""
        await self._pool.verify(every=True)
        await self.head()
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

    async def close(self) -> None:
        """See `Chain.close`."""
        await self._pool.close()

    async def check(self) -> None:
        """See `Chain.check`."""
        await self._pool.verify(every=False)

    # --- Payments ----------------------------------------------------------------------------------------------------

    async def head(self) -> Head:
        """See `Chain.head`."""
        return await self._read(self._reader.head)

    async def blocks(self, first: int, last: int) -> Sequence[BlockTransfers]:
        """See `Chain.blocks`."""
        return await self._read(lambda endpoint: self._reader.blocks(endpoint, first, last))

    async def lookup(self, tx: str, *, amount: int = 0) -> TransferLookup:
        """See `Chain.lookup`. `amount` above the limit of any asset in question makes two endpoints agree."""

        async def work(endpoint: Endpoint) -> TransferLookup:
            return await self._reader.lookup(endpoint, tx)

        found = await self._read(work)
        sums = [(each.asset, max(amount, each.amount)) for each in found.transfers]
        if not any(self._large(asset, worth) for asset, worth in sums or [(asset, amount) for asset in self.assets]):
            return found

        async def comparable(endpoint: Endpoint) -> TransferLookup:
            answer = await work(endpoint)
            # One endpoint may know of a slot's finality before the other.
            final = answer.state is TxState.FINAL
            return msgspec.structs.replace(answer, state=TxState.INCLUDED) if final else answer

        return await self._agreed(comparable)

    def confirmations(self, asset: str, amount: int) -> int | None:
        """See `Chain.confirmations`: `confirmed` is what the head shows; above the limit, `finalized`."""
        large = self._settings.large_above.get(asset)
        return None if large is not None and amount > large else 1

    def normalize_address(self, address: str) -> str:
        """See `Chain.normalize_address`."""
        return normalize_address(address)

    def normalize_tx(self, tx: str) -> str:
        """See `Chain.normalize_tx`."""
        return normalize_tx(tx)

    def address_of(self, signer: Signer) -> str:
        """See `Chain.address_of`."""
        return address_of(signer)

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
        (account,) = await self._read(lambda endpoint: self._reader.accounts(endpoint, payer))
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

        async def work(endpoint: Endpoint) -> tuple[TxStatus, str, int]:
            return await self._reader.status(endpoint, tx)

        status, asset, amount = await self._read(work)
        if not status.final or not self._large(asset, amount):
            return status
        try:
            status, _, _ = await self._agreed(work)
        except ChainUnavailableError:
            # Nothing is final that only one endpoint says.
            waiting = TxState.INCLUDED if status.state is TxState.FINAL else status.state
            return msgspec.structs.replace(status, state=waiting, final=False)
        return status

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
