"""`EvmChain`: one EVM network, as the gateway asks for it."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Final, TypeVar

import msgspec

from ws402.chains.base import (
    BlockTransfers,
    BroadcastRefusedError,
    ChainUnavailableError,
    Head,
    InvoiceTerms,
    RefundOrder,
    SignedTransaction,
    TransferLookup,
    TxState,
    TxStatus,
)
from ws402.chains.evm import abi, signatures
from ws402.chains.evm.address import address_of, normalize_address, normalize_tx
from ws402.chains.evm.details import payment_details
from ws402.chains.evm.fees import Fees
from ws402.chains.evm.reader import Reader
from ws402.chains.evm.refunds import Refunds
from ws402.chains.evm.replies import EvmDialect, ReplyError
from ws402.chains.evm.transfers import Ours, number
from ws402.chains.rpc.chain import RpcChain, assets_of
from ws402.chains.rpc.endpoint import Endpoint
from ws402.chains.rpc.pool import Pool
from ws402.errors import ConfigurationError
from ws402.keys.base import Signer
from ws402.money import Asset
from ws402.protocol import EvmPaymentDetails
from ws402.settings import EvmNetworkSettings

T = TypeVar("T")
NATIVE: Final = "ETH"


class EvmChain(RpcChain):
    """See `ws402.chains.base.Chain`. `recipient` is where invoices are paid."""

    def __init__(self, settings: EvmNetworkSettings, recipient: str) -> None:
        self._settings = settings
        self._agree_above = settings.agree_above
        self.network = settings.network
        self.caip2 = f"eip155:{settings.chain_id}"
        self.native = NATIVE
        self.recipient = normalize_address(recipient)
        self.poll_seconds = settings.poll_seconds
        self.span = 50
        self.reserve = 0
        self.assets = _assets(settings)
        tokens = {each.contract.lower(): each.symbol for each in self.assets.values() if each.contract}
        urls = [each.get_secret_value() for each in settings.rpc]
        self._pool = Pool(settings.network, urls, EvmDialect(settings.chain_id), settings.rpc_timeout_seconds)
        self._ours = Ours(self.network, NATIVE, tokens)
        self._ours.add(self.recipient)
        self._reader = Reader(self._ours, settings.final_after)
        self._refunds = Refunds(
            self._pool, Fees(self._pool, settings.max_fee_gwei), settings.chain_id, self.assets, self.network
        )

    # --- Life --------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """See `Chain.start`. Also checks that each token is a contract with the configured decimals."""
        await self._pool.verify(every=True)
        await self.head()
        for asset in self.assets.values():
            if asset.contract:
                await self._check_token(asset, asset.contract)

    async def close(self) -> None:
        """See `Chain.close`."""
        await self._pool.close()

    def accept(self, address: str) -> None:
        """See `Chain.accept`."""
        self._ours.add(normalize_address(address))

    async def check(self) -> None:
        """See `Chain.check`."""
        await self._pool.verify(every=False)

    async def _check_token(self, asset: Asset, contract: str) -> None:
        try:
            answer = await self._pool.call("eth_call", {"to": contract, "data": abi.DECIMALS}, "latest")
        except ReplyError as error:
            answer = error.message
        try:
            decimals = number(answer)
        except ValueError:
            raise ConfigurationError(
                f"{asset.symbol} on {self.network}: there is no token at {contract}.",
                remedy="Check the token's contract address and the network.",
            ) from None
        if decimals != asset.decimals:
            raise ConfigurationError(
                f"{asset.symbol} on {self.network} has {decimals} decimals, not {asset.decimals} as configured.",
                remedy="Check the token's contract address and its decimals.",
            )

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
            # One endpoint may know of a block's finality before the other.
            final = answer.state is TxState.FINAL
            return msgspec.structs.replace(answer, state=TxState.INCLUDED) if final else answer

        return await self._agreed(comparable)

    def confirmations(self, asset: str, amount: int) -> int:
        """See `Chain.confirmations`."""
        large = self._settings.large_above.get(asset)
        if large is not None and amount > large:
            return max(self._settings.confirmations, self._settings.large_confirmations)
        return self._settings.confirmations

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
        """See `Chain.new_reference`: 192 random bits."""
        return secrets.token_urlsafe(24)

    def details(self, terms: InvoiceTerms) -> EvmPaymentDetails:
        """See `Chain.details`."""
        return payment_details(
            terms,
            self.assets[terms.asset],
            network=self.network,
            chain_id=self._settings.chain_id,
            recipient=self.recipient,
        )

    # --- Accounts ----------------------------------------------------------------------------------------------------

    async def check_signature(self, payer: str, message: str, signature: str) -> bool:
        """See `Chain.check_signature`."""
        return await self._sure(signatures.signed_by(self._pool, payer, message, signature))

    async def is_contract(self, address: str) -> bool:
        """See `Chain.is_contract`."""
        code: str = await self._sure(self._pool.call("eth_getCode", address, "latest"))
        return code not in ("0x", "") and not signatures.is_delegation(code)

    async def balance(self, address: str, asset: str, block: int | None = None) -> int:
        """See `Chain.balance`."""
        at = "latest" if block is None else hex(block)
        contract = self.assets[asset].contract
        if contract is None:
            return number(await self._sure(self._pool.call("eth_getBalance", address, at)))
        call = {"to": contract, "data": abi.balance_data(address)}
        answer: str = await self._sure(self._pool.call("eth_call", call, at))
        return 0 if answer == "0x" else number(answer)  # no code: the contract is younger than the block

    async def next_nonce(self, address: str) -> int:
        """See `Chain.next_nonce`."""
        return number(await self._sure(self._pool.call("eth_getTransactionCount", address, "latest")))

    # --- Refunds -----------------------------------------------------------------------------------------------------

    async def estimate_fee(self, order: RefundOrder, sender: str) -> int:
        """See `Chain.estimate_fee`."""
        return await self._refunds.estimate_fee(order, sender)

    async def sign(
        self, order: RefundOrder, signer: Signer, *, nonce: int | None, replaces: SignedTransaction | None = None
    ) -> SignedTransaction:
        """See `Chain.sign`. Answers `replaces` itself when the cap on fees forbids a bump."""
        if nonce is None:
            msg = "an EVM transaction needs a nonce"
            raise ValueError(msg)
        return await self._refunds.sign(order, signer, nonce=nonce, replaces=replaces)

    async def sign_cancel(self, signer: Signer, *, nonce: int, replaces: SignedTransaction | None) -> SignedTransaction:
        """See `Chain.sign_cancel`. Answers `replaces` itself when the cap on fees forbids a bump."""
        return await self._refunds.sign_cancel(signer, nonce=nonce, replaces=replaces)

    async def broadcast(self, transaction: SignedTransaction) -> None:
        """See `Chain.broadcast`."""
        try:
            await self._pool.call("eth_sendRawTransaction", "0x" + transaction.raw.hex())
        except ReplyError as error:
            if error.already_known:
                return
            reason = error.refusal or "other"
            if reason == "nonce_used":
                known = await self._sure(self._pool.call("eth_getTransactionByHash", transaction.tx))
                if known and known.get("blockHash"):
                    return  # it is itself what used the nonce
            raise BroadcastRefusedError(f"{self.network} refuses the transaction: {error.message}", reason) from error

    async def status(self, tx: str) -> TxStatus:
        """See `Chain.status`. A token's transfer that moved nothing has failed, whatever its receipt says."""

        async def work(endpoint: Endpoint) -> tuple[TxStatus, str, int]:
            return await self._reader.status(endpoint, tx)

        status, asset, amount = await self._read(work)
        if not status.final or not self._large(asset, amount):
            return status
        try:
            status, _, _ = await self._agreed(work)
        except ChainUnavailableError:
            # Nothing is final that only one endpoint says.
            state = TxState.INCLUDED if status.state is TxState.FINAL else status.state
            return msgspec.structs.replace(status, state=state, final=False)
        return status

    async def expired(self, transaction: SignedTransaction) -> bool:  # noqa: ARG002 - the protocol's
        """See `Chain.expired`: a nonce has no end."""
        return False


def _assets(settings: EvmNetworkSettings) -> dict[str, Asset]:
    native = Asset(network=settings.network, symbol=NATIVE, decimals=18)
    tokens = (
        Asset(
            network=settings.network,
            symbol=each.symbol,
            decimals=each.decimals,
            contract=normalize_address(each.contract),
        )
        for each in settings.tokens
    )
    return assets_of(settings, native, tokens, "token")
