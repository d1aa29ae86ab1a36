"""`EvmChain`: one EVM network, as the gateway asks for it."""

from __future__ import annotations

import secrets
from typing import Final, TypeVar

from ws402.chains.base import (
    BroadcastRefusedError,
    InvoiceTerms,
    RefundOrder,
    SignedTransaction,
    TxStatus,
)
from ws402.chains.evm import abi, signatures
from ws402.chains.evm.address import address_of, normalize_address, normalize_tx
from ws402.chains.evm.authorizations import EvmAuthorizations
from ws402.chains.evm.details import payment_details
from ws402.chains.evm.fees import Fees
from ws402.chains.evm.reader import Reader
from ws402.chains.evm.refunds import Refunds
from ws402.chains.evm.replies import EvmDialect, ReplyError
from ws402.chains.evm.transfers import Ours, number
from ws402.chains.rpc.chain import RpcChain, assets_of
from ws402.chains.rpc.endpoint import Call, Endpoint, EndpointError
from ws402.chains.rpc.pool import guarded
from ws402.errors import ConfigurationError
from ws402.keys.base import Signer
from ws402.money import Asset
from ws402.protocol import EvmPaymentDetails
from ws402.settings import EvmNetworkSettings

T = TypeVar("T")
NATIVE: Final = "ETH"

LAG_BLOCKS: Final = 3
"""Endpoints of a healthy provider differ by one or two blocks."""


class EvmChain(RpcChain):
    """See `ws402.chains.base.Chain`. `recipient` is where invoices are paid."""

    def __init__(self, settings: EvmNetworkSettings, recipient: str) -> None:
        super().__init__(settings, EvmDialect(settings.chain_id), LAG_BLOCKS)
        self._settings = settings
        self.caip2 = f"eip155:{settings.chain_id}"
        self.native = NATIVE
        self.recipient = normalize_address(recipient)
        self.span = 50
        self.assets = _assets(settings)
        tokens = {each.contract.lower(): each.symbol for each in self.assets.values() if each.contract}
        self._ours = Ours(self.network, NATIVE, tokens)
        self._ours.add(self.recipient)
        self._reader = Reader(self._ours, settings.final_after)
        fees = Fees(self._pool, settings.max_fee_gwei)
        self._refunds = Refunds(self._pool, fees, settings.chain_id, self.assets, self.network)
        self.authorizations = EvmAuthorizations(settings, self._pool, self._strangers, fees)

    reference_is_public = False  # the calldata holds its hash
    daily_fees = None
    resend_seconds = 15.0

    normalize_address = staticmethod(normalize_address)
    normalize_tx = staticmethod(normalize_tx)
    address_of = staticmethod(address_of)

    # --- Life --------------------------------------------------------------------------------------------------------

    async def _prepare(self) -> None:
        """Each token must be a contract with the configured decimals."""
        for asset in self.assets.values():
            if asset.contract:
                await self._check_token(asset, asset.contract)

    def accept(self, address: str) -> None:
        """See `Chain.accept`."""
        self._ours.add(normalize_address(address))

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

    def confirmations(self, asset: str, amount: int) -> int:
        """See `Chain.confirmations`."""
        large = self._settings.large_above.get(asset)
        if large is not None and amount > large:
            return max(self._settings.confirmations, self._settings.large_confirmations)
        return self._settings.confirmations

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
        return await self._sure(signatures.signed_by(self._strangers, payer, message, signature))

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

    async def outstanding(self, address: str) -> int:
        """See `Chain.outstanding`: nodes count those of their pools in the nonce `pending`."""

        async def work(endpoint: Endpoint) -> int:
            calls: list[Call] = [("eth_getTransactionCount", [address, tag]) for tag in ("pending", "latest")]
            pending, mined = await endpoint.call(calls)
            if isinstance(pending, ReplyError) or isinstance(mined, ReplyError):
                raise EndpointError(f"{endpoint.name} does not tell how many transactions wait")
            return max(0, number(pending) - number(mined))

        return await self._pool.search(guarded(work), lambda waiting: waiting, 1)

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
        return await self._standing(tx)

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
