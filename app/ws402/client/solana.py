"""A wallet of one local key on Solana, over JSON-RPC: SOL, and SPL tokens from the key's associated token account."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ws402.client.errors import WalletError
from ws402.client.offers import Offer, SolanaOffer
from ws402.client.offers.solana import SOL_DECIMALS
from ws402.client.rpc import MAX_TEXT, Rpc, RpcError
from ws402.client.solana_answers import (
    U63,
    Account,
    Blockhash,
    Contextual,
    Epoch,
    Landed,
    PrioritizationFee,
    Simulation,
    Status,
    convert,
)
from ws402.client.wallet import Inclusion, SignedPayment
from ws402.errors import ConfigurationError
from ws402.money import AmountError, from_decimal, to_decimal

if TYPE_CHECKING:
    from solders.hash import Hash
    from solders.instruction import Instruction
    from solders.keypair import Keypair
    from solders.transaction import Transaction

POLL_SECONDS: Final = 0.4
RESEND_SECONDS: Final = 2.0
"""Nodes forget what the leaders did not take: the same bytes are sent again until they are in a block."""
SIGNATURE_LAMPORTS: Final = 5000
MAX_UNITS: Final = 200_000
"""A payment that needs more compute units is no plain transfer."""
TOKEN_PROGRAM: Final = "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA"  # noqa: S105 - an address
TOKEN_2022_PROGRAM: Final = "TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb"  # noqa: S105 - an address
MEMO_PROGRAM: Final = "MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr"
_TRANSFER_CHECKED: Final = 12
"""Instruction of both token programs."""
_MINT_BYTES: Final = 82
_EXTENSIONS_AT: Final = 166
"""Where Token-2022 keeps a mint's extensions: after the length of an account and the account's kind."""
_REFUSED_EXTENSIONS: Final = {1: "a transfer fee", 9: "a ban on transfers", 14: "a transfer hook"}
_LANDED: Final = ("confirmed", "finalized")

T = TypeVar("T")


class SolanaWallet:
    """Pays from `private_key`: JSON array of 64 numbers (the Solana CLI's file), base58, 64 bytes, or a 32-byte seed.

    `max_fee_lamports` caps what one payment's fees may be. Raises ConfigurationError for what is no key. Needs
    `pip install 'ws402[client]'`.
    """

    def __init__(
        self, rpc_url: str, private_key: str | bytes, *, max_fee_lamports: int = 100_000, timeout: float = 10
    ) -> None:
        self._key = _read_key(private_key)
        self.address: str = str(self._key.pubkey())
        self.lock = asyncio.Lock()
        self._max_fee = max_fee_lamports
        self._rpc = Rpc(rpc_url, timeout=timeout)
        self._chain: str | None = None

    def __repr__(self) -> str:
        return f"SolanaWallet({self.address} on {self._rpc.host})"

    async def close(self) -> None:
        """Close connections."""
        await self._rpc.close()

    async def chain(self) -> str:
        """The chain that the node serves, by the hash of its genesis block."""
        if self._chain is None:
            self._chain = f"solana:{(await self._ask(str, 'getGenesisHash'))[:32]}"
        return self._chain

    async def balance(self, token: str | None = None) -> int:
        """What the account holds, in smallest units; of a token, what its associated token account holds."""
        if token is None:
            return (await self._ask(Contextual[U63], "getBalance", self.address, {"commitment": "confirmed"})).value
        program, _ = await self._mint(token)
        account = _token_account(self.address, token, program)
        data = await self._account(account)
        return 0 if data is None else int.from_bytes(data[1][64:72], "little")

    async def decimals(self, token: str | None) -> int:
        """Decimal places of a token, as its mint says."""
        return SOL_DECIMALS if token is None else (await self._mint(token))[1]

    async def sign(self, offer: Offer) -> SignedPayment:
        """Sign the payment. Raises WalletError when the account cannot pay it, or only at too high a fee."""
        from solders.hash import Hash  # noqa: PLC0415 - a server imports this package without the extra

        if not isinstance(offer, SolanaOffer):
            raise WalletError(f"A wallet for Solana cannot pay on {offer.network}.", code="wrong_network")
        transfer = await self._transfer(offer)
        units = await self._simulate(offer, transfer)
        price = await self._unit_price(offer, units)
        fee = SIGNATURE_LAMPORTS + -(-units * price // 10**6)
        await self._check_balance(offer, fee)
        latest = (await self._ask(Contextual[Blockhash], "getLatestBlockhash", {"commitment": "confirmed"})).value
        try:
            recent = Hash.from_string(latest.blockhash)
        except ValueError:
            raise WalletError("The node's recent block has no hash of Solana.", code="node_refused") from None
        transaction = self._transaction(offer, transfer, recent, units, price)
        return SignedPayment(
            tx=str(transaction.signatures[0]),
            raw=base64.b64encode(bytes(transaction)).decode(),
            valid_until=latest.last_valid_block_height,
        )

    async def send(self, payment: SignedPayment) -> None:
        """Send the signed bytes; `inclusion` goes on sending them."""
        try:
            await self._submit(payment)
        except RpcError as error:
            # Nodes that lag do not know a new blockhash; whether an old one has expired is for `inclusion` to find out.
            if "blockhash not found" in str(error).lower() or await self._status(payment.tx) is not None:
                return
            raise WalletError(f"The node refuses the payment: {error}.", code="node_refused") from error

    async def inclusion(self, payment: SignedPayment, seconds: float) -> Inclusion:
        """Wait until it is confirmed, sending it again and again."""
        deadline = time.monotonic() + seconds
        resend = time.monotonic() + RESEND_SECONDS
        while True:
            status = await self._status(payment.tx)
            if status is not None and status.confirmation_status in _LANDED:
                return Inclusion.INCLUDED if status.err is None else Inclusion.FAILED
            if status is None and await self._expired(payment):
                return Inclusion.EXPIRED
            now = time.monotonic()
            if now >= deadline:
                return Inclusion.PENDING
            if now >= resend:
                resend = now + RESEND_SECONDS
                with suppress(RpcError):  # what became of it is read from the chain
                    await self._submit(payment, preflight=False)
            await asyncio.sleep(POLL_SECONDS)

    async def sign_message(self, text: str) -> str:
        """Sign a text with the key (ed25519), as base58."""
        return str(self._key.sign_message(text.encode()))

    async def received(self, tx: str, recipient: str, amount: int, token: str | None) -> bool:
        """Whether a confirmed transaction left the recipient with this much more, of SOL or of a token."""
        options = {"encoding": "json", "commitment": "confirmed", "maxSupportedTransactionVersion": 0}
        answer = await self._ask(object, "getTransaction", tx, options)
        if answer is None:
            return False
        found = convert(answer, Landed, "getTransaction")
        meta = found.meta
        if meta.err is not None:
            return False
        if token is not None:
            held = [
                sum(
                    int(each.ui_token_amount.amount)
                    for each in balances or ()
                    if each.mint == token and each.owner == recipient
                )
                for balances in (meta.pre_token_balances, meta.post_token_balances)
            ]
            return held[1] - held[0] >= amount
        loaded = meta.loaded_addresses.writable if meta.loaded_addresses else []
        keys = [*found.transaction.message.account_keys, *loaded]
        changes = zip(keys, meta.pre_balances, meta.post_balances, strict=False)
        return any(key == recipient and after - before >= amount for key, before, after in changes)

    # --- the transaction -----------------------------------------------------------------------------------------

    async def _transfer(self, offer: SolanaOffer) -> Instruction:
        """The instruction that pays, with the reference as its last account. Raises WalletError."""
        from solders.instruction import AccountMeta, Instruction  # noqa: PLC0415 - see above
        from solders.pubkey import Pubkey  # noqa: PLC0415 - see above
        from solders.system_program import TransferParams, transfer  # noqa: PLC0415 - see above

        reference = AccountMeta(Pubkey.from_string(offer.reference), is_signer=False, is_writable=False)
        owner = self._key.pubkey()
        if offer.token is None:
            plain = transfer(
                TransferParams(from_pubkey=owner, to_pubkey=Pubkey.from_string(offer.recipient), lamports=offer.amount)
            )
            return Instruction(plain.program_id, plain.data, [*plain.accounts, reference])
        program, decimals = await self._mint(offer.token)
        try:
            meant = from_decimal(offer.coins, decimals)
        except AmountError:
            meant = None
        if meant != offer.amount:
            raise WalletError(
                f"The server shows {offer.coins} {offer.symbol}, but asks for {offer.amount} smallest units of a token "
                f"with {decimals} decimals.",
                code="wrong_decimals",
            )
        destination = _token_account(offer.recipient, offer.token, program)
        if await self._account(destination) is None:
            raise WalletError(
                f"The payee {offer.recipient} has no account for the token {offer.token}.",
                remedy="Tell the server's owner: it is theirs to make.",
                code="no_token_account",
            )
        return Instruction(
            Pubkey.from_string(program),
            bytes([_TRANSFER_CHECKED]) + offer.amount.to_bytes(8, "little") + bytes([decimals]),
            [
                AccountMeta(Pubkey.from_string(_token_account(self.address, offer.token, program)), False, True),
                AccountMeta(Pubkey.from_string(offer.token), False, False),
                AccountMeta(Pubkey.from_string(destination), False, True),
                AccountMeta(owner, True, False),
                reference,
            ],
        )

    def _transaction(
        self, offer: SolanaOffer, transfer: Instruction, blockhash: Hash, units: int, price: int
    ) -> Transaction:
        from solders.compute_budget import set_compute_unit_limit, set_compute_unit_price  # noqa: PLC0415 - see above
        from solders.instruction import Instruction  # noqa: PLC0415 - see above
        from solders.message import Message  # noqa: PLC0415 - see above
        from solders.pubkey import Pubkey  # noqa: PLC0415 - see above
        from solders.transaction import Transaction  # noqa: PLC0415 - see above

        instructions = [set_compute_unit_limit(units), set_compute_unit_price(price)]
        if offer.memo:
            # Solana Pay: the memo stands directly before the transfer.
            instructions.append(Instruction(Pubkey.from_string(MEMO_PROGRAM), offer.memo.encode(), []))
        instructions.append(transfer)
        message = Message.new_with_blockhash(instructions, self._key.pubkey(), blockhash)
        return Transaction([self._key], message, blockhash)

    async def _simulate(self, offer: SolanaOffer, transfer: Instruction) -> int:
        """Compute units that the payment needs, and a fifth more. Raises WalletError when it would fail."""
        from solders.hash import Hash  # noqa: PLC0415 - see above

        await self._check_balance(offer, SIGNATURE_LAMPORTS)
        trial = self._transaction(offer, transfer, Hash.default(), MAX_UNITS, 0)
        options = {
            "encoding": "base64",
            "commitment": "confirmed",
            "sigVerify": False,
            "replaceRecentBlockhash": True,
        }
        packed = base64.b64encode(bytes(trial)).decode()
        result = (await self._ask(Contextual[Simulation], "simulateTransaction", packed, options)).value
        if result.err is not None:
            raise WalletError(
                f"The payment would fail on the chain: {json.dumps(result.err)[:MAX_TEXT]}.",
                remedy="Nothing was sent. Check the account's and the payee's balances.",
                code="node_refused",
            )
        return min(result.units_consumed * 6 // 5 + 100, MAX_UNITS)

    async def _unit_price(self, offer: SolanaOffer, units: int) -> int:
        """Micro-lamports a unit: what half of the recent transactions with this payee paid. Raises WalletError."""
        if self._max_fee < SIGNATURE_LAMPORTS:
            raise WalletError(
                f"A payment costs at least {SIGNATURE_LAMPORTS} lamports, above {self._max_fee}.",
                remedy="Raise the fee cap.",
                code="fee_too_high",
            )
        recent = await self._ask(list[PrioritizationFee], "getRecentPrioritizationFees", [offer.recipient])
        prices = sorted(each.prioritization_fee for each in recent)
        price = prices[len(prices) // 2] if prices else 0
        return min(price, (self._max_fee - SIGNATURE_LAMPORTS) * 10**6 // units)

    async def _check_balance(self, offer: SolanaOffer, fee: int) -> None:
        if offer.token is not None and (held := await self.balance(offer.token)) < offer.amount:
            raise WalletError(
                f"The account {self.address} holds {held} smallest units of {offer.symbol}, but needs {offer.amount}.",
                remedy="Top it up, or ask for a shorter time.",
                code="insufficient_funds",
            )
        need = fee + (offer.amount if offer.token is None else 0)
        if (held := await self.balance()) < need:
            raise WalletError(
                f"The account {self.address} holds {to_decimal(held, SOL_DECIMALS)} SOL, "
                f"but needs {to_decimal(need, SOL_DECIMALS)}.",
                remedy="Top it up, or ask for a shorter time.",
                code="insufficient_funds",
            )

    # --- the node ------------------------------------------------------------------------------------------------

    async def _ask(self, kind: type[T], method: str, *params: Any) -> T:
        """A call that has no good reason to be refused. Raises WalletError, NodeUnavailableError."""
        try:
            return convert(await self._rpc(method, *params), kind, method)
        except RpcError as error:
            raise WalletError(f"The node refuses {method}: {error}.", code="node_refused") from error

    async def _submit(self, payment: SignedPayment, *, preflight: bool = True) -> None:
        options = {"encoding": "base64", "preflightCommitment": "confirmed", "skipPreflight": not preflight}
        await self._rpc("sendTransaction", payment.raw, options)

    async def _status(self, tx: str) -> Status | None:
        return (await self._statuses(tx)).value[0]

    async def _statuses(self, tx: str) -> Contextual[tuple[Status | None]]:
        kind = Contextual[tuple[Status | None]]
        return await self._ask(kind, "getSignatureStatuses", [tx], {"searchTransactionHistory": True})

    async def _expired(self, payment: SignedPayment) -> bool:
        """Whether it can never be in a block: the final chain is past its last height, and it is still unknown."""
        if payment.valid_until is None:
            return False
        final = await self._ask(Epoch, "getEpochInfo", {"commitment": "finalized"})
        if final.block_height <= payment.valid_until:
            return False
        answer = await self._statuses(payment.tx)
        # Behind one address there may be many nodes: the one that does not know it must have come as far.
        slot = answer.context.slot if answer.context else -1
        return answer.value[0] is None and slot >= final.absolute_slot

    async def _account(self, address: str) -> tuple[str, bytes] | None:
        """Owner and data of an account, if there is one."""
        options = {"encoding": "base64", "commitment": "confirmed"}
        value = (await self._ask(Contextual[Account | None], "getAccountInfo", address, options)).value
        try:
            return None if value is None else (value.owner, base64.b64decode(value.data[0], validate=True))
        except ValueError:
            raise WalletError("The node's account data are not base64.", code="node_refused") from None

    async def _mint(self, token: str) -> tuple[str, int]:
        """Program and decimals of a mint. Raises WalletError for what is none, or takes more than is sent."""
        found = await self._account(token)
        if found is None or found[0] not in (TOKEN_PROGRAM, TOKEN_2022_PROGRAM) or len(found[1]) < _MINT_BYTES:
            raise WalletError(f"{token} is no token on this network.", code="unknown_token")
        program, data = found
        at = _EXTENSIONS_AT
        while at + 4 <= len(data):
            kind, size = int.from_bytes(data[at : at + 2], "little"), int.from_bytes(data[at + 2 : at + 4], "little")
            if kind in _REFUSED_EXTENSIONS:
                raise WalletError(f"The token {token} has {_REFUSED_EXTENSIONS[kind]}.", code="refused_token")
            at += 4 + size
        return program, data[44]


def _token_account(owner: str, mint: str, program: str) -> str:
    """The associated token account."""
    from solders.pubkey import Pubkey  # noqa: PLC0415 - see above
    from solders.token.associated import get_associated_token_address  # noqa: PLC0415 - see above

    return str(
        get_associated_token_address(
            Pubkey.from_string(owner), Pubkey.from_string(mint), token_program_id=Pubkey.from_string(program)
        )
    )


def _read_key(text: str | bytes) -> Keypair:
    try:
        from solders.keypair import Keypair  # noqa: PLC0415 - see above
    except ImportError:
        raise ConfigurationError("Solana is not installed.", remedy="pip install 'ws402[client]'") from None
    try:
        if isinstance(text, bytes):
            return Keypair.from_seed(text) if len(text) == 32 else Keypair.from_bytes(text)
        text = text.strip()
        return Keypair.from_bytes(bytes(json.loads(text))) if text.startswith("[") else Keypair.from_base58_string(text)
    except (ValueError, TypeError):  # its text may hold the key
        raise ConfigurationError(
            "The private key is neither a JSON array of 64 numbers nor base58 of 64 bytes.",
            remedy="Check the key's file or variable.",
        ) from None
