"""A wallet of one local key on an EVM network, over JSON-RPC (EIP-1559 transactions, EIP-191 signatures)."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from ws402.client.errors import WalletError
from ws402.client.nodes import Node, RpcNode, Web3Node
from ws402.client.offers import EvmOffer, Offer
from ws402.client.offers.evm import NATIVE_DECIMALS
from ws402.client.rpc import RpcError
from ws402.client.wallet import Inclusion, SignedPayment
from ws402.errors import ConfigurationError
from ws402.money import to_decimal

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount
    from web3 import AsyncWeb3

GWEI: Final = 10**9
POLL_SECONDS: Final = 0.4
NONCE_SECONDS: Final = 30
MAX_GAS: Final = 300_000
"""A payment that needs more is no plain transfer."""
_TRANSFER_TOPIC: Final = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
_QUANTITY_CHARS: Final = 66

T = TypeVar("T")


class _Log(msgspec.Struct):
    address: str
    topics: list[str]
    data: str


class _Receipt(msgspec.Struct):
    status: str
    logs: list[_Log] = []


class _Transaction(msgspec.Struct):
    value: str
    to: str | None = None


class _Block(msgspec.Struct, rename="camel"):
    base_fee_per_gas: str | None = None


class EvmWallet:
    """Pays from `private_key`: hex or 32 bytes (never shown again), or an account of eth-account.

    `node`: a JSON-RPC address, or an `AsyncWeb3`, whose provider and middleware are then used, and which stays open.
    `max_fee_gwei` caps the fee per gas. `timeout`: seconds for a call to an address; web3's provider has its own.

    Raises ConfigurationError for what is no key. Needs `pip install 'ws402[client]'`.
    """

    def __init__(
        self,
        node: str | AsyncWeb3[Any],
        private_key: str | bytes | LocalAccount,
        *,
        max_fee_gwei: int = 100,
        timeout: float = 10,
    ) -> None:
        # A server imports this package without the extra.
        from eth_account import Account  # noqa: PLC0415
        from eth_account.signers.local import LocalAccount  # noqa: PLC0415

        from ws402.keys import eth_keys  # noqa: PLC0415

        eth_keys.speed_up()
        try:
            self._account = private_key if isinstance(private_key, LocalAccount) else Account.from_key(private_key)
        except Exception:  # noqa: BLE001 - the error's text may hold the key
            raise ConfigurationError(
                "The private key is not 32 bytes in hex.", remedy="Check the key's file or variable."
            ) from None
        self.address: str = self._account.address
        self.lock = asyncio.Lock()
        self._max_fee = max_fee_gwei * GWEI
        self._node: Node = RpcNode(node, timeout=timeout) if isinstance(node, str) else Web3Node(node)
        self._chain_id: int | None = None

    def __repr__(self) -> str:
        return f"EvmWallet({self.address} on {self._node.host})"

    async def close(self) -> None:
        """Close connections."""
        await self._node.close()

    async def chain(self) -> str:
        """The chain that the node serves."""
        if self._chain_id is None:
            self._chain_id = _number(await self._call("eth_chainId"))
        return f"eip155:{self._chain_id}"

    async def balance(self, token: str | None = None) -> int:
        """What the account holds, in smallest units."""
        if token is None:
            return _number(await self._call("eth_getBalance", self.address, "latest"))
        return await self._read_token(token, "balanceOf", self.address)

    async def decimals(self, token: str | None) -> int:
        """Decimal places of a token, as its contract says."""
        if token is None:
            return NATIVE_DECIMALS
        return await self._read_token(token, "decimals")

    async def sign(self, offer: Offer) -> SignedPayment:
        """Sign the payment. Raises WalletError when the account cannot pay it, or only at too high a fee."""
        from eth_utils.address import to_checksum_address  # noqa: PLC0415 - see above

        if not isinstance(offer, EvmOffer):
            raise WalletError(f"A wallet for EVM networks cannot pay on {offer.network}.", code="wrong_network")
        await self._check_balance(offer)
        call = {"from": self.address, "to": offer.to, "value": hex(offer.value), "data": offer.data}
        gas = _number(await self._call("eth_estimateGas", call))
        gas += gas // 5 if offer.token else 0  # what a token costs depends on its state
        if gas > MAX_GAS:
            raise WalletError(f"The payment would take {gas} gas, above {MAX_GAS}.", code="fee_too_high")
        tip, fee = await self._fees()
        if offer.value + gas * fee > (held := await self.balance()):
            need = to_decimal(offer.value + gas * fee, 18)
            raise WalletError(
                f"The account {self.address} holds {to_decimal(held, 18)} of the network's coin, but needs {need}.",
                remedy="Top it up, or ask for a shorter time.",
                code="insufficient_funds",
            )
        nonce = _number(await self._call("eth_getTransactionCount", self.address, "pending"))
        fields: dict[str, Any] = {
            "type": 2,
            "chainId": offer.chain_id,
            "nonce": nonce,
            "to": to_checksum_address(offer.to),
            "value": offer.value,
            "data": offer.data,
            "gas": gas,
            "maxPriorityFeePerGas": tip,
            "maxFeePerGas": fee,
        }
        signed = self._account.sign_transaction(fields)
        return SignedPayment(
            tx="0x" + bytes(signed.hash).hex(), raw="0x" + bytes(signed.raw_transaction).hex(), nonce=nonce
        )

    async def send(self, payment: SignedPayment) -> None:
        """Send the signed bytes."""
        try:
            await self._node("eth_sendRawTransaction", payment.raw)
        except RpcError as error:
            if await self._known(payment):
                return
            if await self._nonce_lost(payment):
                raise WalletError(
                    "Another transaction of the account came first.", remedy="Try again.", code="nonce_taken"
                ) from error
            raise WalletError(f"The node refuses the payment: {error}.", code="node_refused") from error

    async def inclusion(self, payment: SignedPayment, seconds: float) -> Inclusion:
        """Wait for a block."""
        deadline = time.monotonic() + seconds
        while True:
            receipt = await self._receipt(payment.tx)
            if receipt is not None:
                return Inclusion.INCLUDED if _number(receipt.status) == 1 else Inclusion.FAILED
            if await self._nonce_taken(payment):
                # Asked again: its own block may have come between the two questions.
                if await self._receipt(payment.tx) is None:
                    return Inclusion.REPLACED
                continue
            if time.monotonic() >= deadline:
                return Inclusion.PENDING
            await asyncio.sleep(POLL_SECONDS)

    async def sign_message(self, text: str) -> str:
        """Sign a text as wallets do (personal_sign)."""
        from eth_account.messages import encode_defunct  # noqa: PLC0415 - see above

        return "0x" + bytes(self._account.sign_message(encode_defunct(text=text)).signature).hex()

    async def received(self, tx: str, recipient: str, amount: int, token: str | None) -> bool:
        """Whether a transaction in a block paid this much: by its value, or by the token's Transfer events."""
        receipt = await self._receipt(tx)
        if receipt is None or _number(receipt.status) != 1:
            return False
        if token is None:
            transaction = await self._ask(_Transaction, "eth_getTransactionByHash", tx)
            return (transaction.to or "").lower() == recipient.lower() and _number(transaction.value) >= amount
        to = "0x" + recipient[2:].lower().rjust(64, "0")
        paid = sum(
            _number(log.data)
            for log in receipt.logs
            if log.address.lower() == token.lower()
            and [topic.lower() for topic in (*log.topics[:1], *log.topics[2:3])] == [_TRANSFER_TOPIC, to]
        )
        return paid >= amount

    async def _receipt(self, tx: str) -> _Receipt | None:
        if (found := await self._call("eth_getTransactionReceipt", tx)) is None:
            return None
        return _convert(found, _Receipt, "eth_getTransactionReceipt")

    async def _ask(self, kind: type[T], method: str, *params: Any) -> T:
        """A call whose answer has this shape. Raises WalletError, NodeUnavailableError."""
        return _convert(await self._call(method, *params), kind, method)

    async def _call(self, method: str, *params: Any) -> Any:
        """A call that has no good reason to be refused. Raises WalletError, NodeUnavailableError."""
        try:
            return await self._node(method, *params)
        except RpcError as error:
            raise WalletError(f"The node refuses {method}: {error}.", code="node_refused") from error

    async def _read_token(self, token: str, function: str, *accounts: str) -> int:
        """An integer that a token's contract answers. Raises WalletError, NodeUnavailableError."""
        try:
            answer = await self._node.read_token(token, function, *accounts)
        except RpcError as error:
            raise WalletError(f"The token {token} refuses {function}: {error}.", code="node_refused") from error
        return answer if isinstance(answer, int) else _number(answer)

    async def _check_balance(self, offer: Offer) -> None:
        held = await self.balance(offer.token)
        if held < offer.amount:
            raise WalletError(
                f"The account {self.address} holds {held} smallest units of {offer.symbol}, but needs {offer.amount}.",
                remedy="Top it up, or ask for a shorter time.",
                code="insufficient_funds",
            )

    async def _fees(self) -> tuple[int, int]:
        """Tip and most per gas, wei: twice the base fee outlasts six full blocks (EIP-1559)."""
        block = await self._ask(_Block, "eth_getBlockByNumber", "latest", False)
        base = _number(block.base_fee_per_gas or "0x0")
        tip = _number(await self._call("eth_maxPriorityFeePerGas"))
        fee = min(2 * base + tip, self._max_fee)
        if fee < base + min(tip, 1):
            raise WalletError(
                f"The network's fee is {base / GWEI:.3f} gwei per gas, above {self._max_fee // GWEI}.",
                remedy="Wait, or raise the fee cap.",
                code="fee_too_high",
            )
        return min(tip, fee), fee

    async def _known(self, payment: SignedPayment) -> bool:
        return await self._call("eth_getTransactionByHash", payment.tx) is not None

    async def _nonce_taken(self, payment: SignedPayment, block: str = "latest") -> bool:
        count = _number(await self._call("eth_getTransactionCount", self.address, block))
        return payment.nonce is not None and count > payment.nonce

    async def _nonce_lost(self, payment: SignedPayment) -> bool:
        """Whether another transaction holds the nonce for good; one that waits is given time to get into a block."""
        deadline = time.monotonic() + NONCE_SECONDS
        while not await self._nonce_taken(payment):
            if time.monotonic() >= deadline or not await self._nonce_taken(payment, "pending"):
                return False
            await asyncio.sleep(POLL_SECONDS)
        return not await self._known(payment)


def _convert(value: Any, kind: type[T], method: str) -> T:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise WalletError(f"The node's answer to {method} cannot be read: {error}.", code="node_refused") from None


def _number(value: Any) -> int:
    """A quantity of JSON-RPC, at most 256 bits. Raises WalletError for anything else."""
    try:
        number = int(value, 16) if len(value) <= _QUANTITY_CHARS else -1
    except (TypeError, ValueError):
        number = -1
    if number < 0:
        raise WalletError("The node's answer is no number.", code="node_refused")
    return number
