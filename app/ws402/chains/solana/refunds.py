"""Building refund transactions: find the account that paid, simulate, price, sign.

Nothing in a refund comes from a client but the address and the amount that the ledger has from the chain. What is
signed is read once more before: two compute-budget instructions, the memo, and one transfer out of our own account.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Any, Final

from solders.compute_budget import set_compute_unit_limit, set_compute_unit_price
from solders.hash import Hash
from solders.instruction import Instruction
from solders.message import Message
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.system_program import TransferParams, transfer
from solders.transaction import Transaction
from spl.token.instructions import create_idempotent_associated_token_account, transfer_checked
from spl.token.models import TransferCheckedParams

from ws402.chains.base import (
    BroadcastRefusedError,
    ChainUnavailableError,
    RefundImpossibleError,
    RefundOrder,
    SignedTransaction,
)
from ws402.chains.rpc.endpoint import Endpoint
from ws402.chains.rpc.pool import Pool, guarded
from ws402.chains.solana import programs
from ws402.chains.solana.address import address_of, token_account
from ws402.chains.solana.fees import Fees, cost
from ws402.chains.solana.mints import ACCOUNT_LENGTH, Mint, TokenAccount, read_token_account
from ws402.chains.solana.reader import CONFIRMED, Reader
from ws402.chains.solana.replies import PREFLIGHT, ReplyError
from ws402.keys.base import Signer, SignerUnavailableError

MAX_UNITS: Final = 100_000
"""A refund that takes more compute units than this is not sent. Transfers take 150 to 10,000, a memo some more."""

TYPICAL_UNITS: Final = 25_000
"""For estimates before anything was simulated."""

INSUFFICIENT: Final = 1
"""Both the system program's and the token programs' error number for too little money."""

ALLOWED: Final = frozenset(
    {programs.SYSTEM, programs.COMPUTE_BUDGET, programs.MEMO, programs.ASSOCIATED_TOKEN, *programs.TOKEN_PROGRAMS}
)
"""Programs that a refund may call."""


class Refunds:
    """Refund transactions of one cluster. `mint_of` knows the accepted tokens by symbol, None for SOL."""

    def __init__(
        self, pool: Pool, reader: Reader, fees: Fees, mint_of: Callable[[str], Mint | None], *, create_accounts: bool
    ) -> None:
        self._pool = pool
        self._reader = reader
        self._fees = fees
        self._mint_of = mint_of
        self._create_accounts = create_accounts
        self._units: dict[str, int] = {}

    async def estimate_fee(self, order: RefundOrder, sender: str) -> int:
        """About what delivering costs now, in lamports. Raises ChainUnavailableError."""
        quote = await self._fees.quote(sender)
        return cost(self._units.get(order.asset, TYPICAL_UNITS), self._fees.bid(quote))

    async def sign(self, order: RefundOrder, signer: Signer) -> SignedTransaction:
        """A signed refund.

        Raises RefundImpossibleError when the recipient cannot take it, BroadcastRefusedError when our account does not
        cover it, ChainUnavailableError.
        """
        sender = address_of(signer)
        steps, rent = await self._steps(order, sender)
        quote = await self._fees.quote(sender)
        units = await self._simulate(order, sender, steps)
        limit = units + units // 4 + 500
        price = self._fees.bid(quote)
        message = _message(sender, steps, limit, price, quote.anchor.blockhash)
        inspect(message, order, sender, self._mint_of(order.asset))
        signature = await signer.sign(bytes(message))
        signed = Signature.from_bytes(signature)
        if not signed.verify(Pubkey.from_string(sender), bytes(message)):
            raise SignerUnavailableError(
                f"The keeper of the key {signer.key_id} answered with no signature of that key."
            )
        return SignedTransaction(
            tx=str(signed),
            raw=bytes(Transaction.populate(message, [signed])),
            sender=sender,
            nonce=None,
            valid_until=quote.anchor.valid_until,
            max_fee=cost(limit, price) + rent,
            fee={"computeUnitLimit": limit, "computeUnitPrice": price, "slot": quote.anchor.slot},
        )

    async def broadcast(self, transaction: SignedTransaction) -> None:
        """Send stored bytes. Raises BroadcastRefusedError."""
        options = {"encoding": "base64", "preflightCommitment": "confirmed"}
        try:
            await self._pool.call("sendTransaction", base64.b64encode(transaction.raw).decode(), options)
        except ReplyError as error:
            failure = error.failure
            if failure == "AlreadyProcessed":
                return
            reason = "other"
            if failure == "BlockhashNotFound":
                reason = "expired"
            elif _is_short(failure):
                reason = "insufficient_funds"
            raise BroadcastRefusedError(
                f"{self._reader.ours.network} refuses the transaction: {error.message}", reason
            ) from error

    # --- Parts -------------------------------------------------------------------------------------------------------

    async def _steps(self, order: RefundOrder, sender: str) -> tuple[list[Instruction], int]:
        """The instructions that do it, and what they pay for rent. The memo stands right before the transfer: token
        accounts may ask for that (Token-2022, required memo on transfer).
        """
        memo = Instruction(Pubkey.from_string(programs.MEMO), order.memo.encode(), []) if order.memo else None
        before = [memo] if memo else []
        payer = Pubkey.from_string(sender)
        mint = self._mint_of(order.asset)
        if mint is None:
            to = Pubkey.from_string(order.recipient)
            return [*before, transfer(TransferParams(from_pubkey=payer, to_pubkey=to, lamports=order.amount))], 0
        source = token_account(sender, mint.address, mint.program)
        target, missing = await self._target(order, mint, source)
        made = []
        rent = 0
        if missing:
            made.append(_create(payer, order.recipient, mint))
            rent = await self._pool.call("getMinimumBalanceForRentExemption", ACCOUNT_LENGTH + 5)
        move = transfer_checked(
            TransferCheckedParams(
                program_id=Pubkey.from_string(mint.program),
                source=Pubkey.from_string(source),
                mint=Pubkey.from_string(mint.address),
                dest=Pubkey.from_string(target),
                owner=payer,
                amount=order.amount,
                decimals=mint.asset.decimals,
            )
        )
        return [*made, *before, move], rent

    async def _target(self, order: RefundOrder, mint: Mint, source: str) -> tuple[str, bool]:
        """The token account that the payment came from, and whether it must be made. Raises RefundImpossibleError."""
        own = token_account(order.recipient, mint.address, mint.program)

        async def work(endpoint: Endpoint) -> list[TokenAccount | None]:
            found = await self._reader.accounts(endpoint, source, order.recipient, own)
            return [read_token_account(each) for each in found]

        ours, itself, associated = await self._pool.run(guarded(work))
        if ours is None or ours.amount < order.amount:
            raise _short(order)
        if ours.frozen:
            raise BroadcastRefusedError(f"Our {order.asset} account {source} is frozen.", "other")
        if itself is not None:
            target, address = itself, order.recipient
        elif associated is None:
            if not self._create_accounts:
                raise RefundImpossibleError(
                    f"{order.recipient} has closed its {order.asset} account, and making it anew would cost us the rent"
                )
            return own, True
        elif associated.owner != order.recipient:
            raise RefundImpossibleError(
                f"The {order.asset} account {own} does not belong to {order.recipient} any more"
            )
        else:
            target, address = associated, own
        if target.mint != mint.address:
            raise RefundImpossibleError(f"{address} holds no {order.asset}")
        if target.frozen:
            raise RefundImpossibleError(f"The {order.asset} account {address} is frozen")
        return address, False

    async def _simulate(self, order: RefundOrder, sender: str, steps: Sequence[Instruction]) -> int:
        """The compute units that it takes. Raises as `sign` does."""
        message = _message(sender, steps, MAX_UNITS, 0, str(Hash.default()))
        unsigned = Transaction.populate(message, [Signature.default()])
        options = CONFIRMED | {"encoding": "base64", "sigVerify": False, "replaceRecentBlockhash": True}
        try:
            answer = await self._pool.call("simulateTransaction", base64.b64encode(bytes(unsigned)).decode(), options)
        except ReplyError as error:
            if error.number == PREFLIGHT:
                raise RefundImpossibleError(f"{order.recipient} cannot take it: {error.message}") from error
            raise ChainUnavailableError(
                f"{self._reader.ours.network} cannot simulate a refund: {error.message}"
            ) from error
        value = answer["value"]
        if value["err"] is not None:
            raise _explained(value["err"], order)
        units = int(value["unitsConsumed"])
        self._units[order.asset] = units + units // 4 + 500
        return units


def inspect(message: Message, order: RefundOrder, sender: str, mint: Mint | None) -> None:
    """Refuse to sign anything but a plain refund (A25, A27). Raises RuntimeError: no code path makes such a message."""
    called = [str(message.account_keys[each.program_id_index]) for each in message.instructions]
    program = programs.SYSTEM if mint is None else mint.program
    moves = [each for each, name in zip(message.instructions, called, strict=True) if name == program]
    amount = moves[0].data[4:12] if mint is None else moves[0].data[1:9]
    sound = (
        set(called) <= ALLOWED
        and called.count(programs.COMPUTE_BUDGET) == 2
        and called.count(programs.MEMO) <= 1
        and called.count(programs.ASSOCIATED_TOKEN) <= (0 if mint is None else 1)
        and len(moves) == 1
        and int.from_bytes(amount, "little") == order.amount
        and message.header.num_required_signatures == 1
        and str(message.account_keys[0]) == sender
    )
    if not sound:
        msg = f"not a refund of {order.amount} {order.asset}: {called}"
        raise RuntimeError(msg)


def _message(sender: str, steps: Sequence[Instruction], limit: int, price: int, blockhash: str) -> Message:
    budget = [set_compute_unit_limit(limit), set_compute_unit_price(price)]
    return Message.new_with_blockhash([*budget, *steps], Pubkey.from_string(sender), Hash.from_string(blockhash))


def _create(payer: Pubkey, owner: str, mint: Mint) -> Instruction:
    return create_idempotent_associated_token_account(
        payer, Pubkey.from_string(owner), Pubkey.from_string(mint.address), Pubkey.from_string(mint.program)
    )


def _short(order: RefundOrder) -> BroadcastRefusedError:
    return BroadcastRefusedError(f"Our account does not hold {order.amount} {order.asset}.", "insufficient_funds")


def _explained(failure: Any, order: RefundOrder) -> BroadcastRefusedError | RefundImpossibleError:
    """What a failed simulation means. An empty account of ours must not look like a refusing recipient."""
    if _is_short(failure):
        return _short(order)
    if isinstance(failure, dict) and "InsufficientFundsForRent" in failure:
        return RefundImpossibleError(
            f"{order.recipient} would hold less than an account must (the rent-exempt minimum)"
        )
    return RefundImpossibleError(f"{order.recipient} cannot take it: {failure}")


def _is_short(failure: Any) -> bool:
    """Whether a transaction error (`TransactionError` in Agave) says that our own account holds too little."""
    if failure in ("InsufficientFundsForFee", "AccountNotFound"):
        return True
    if not isinstance(failure, dict):
        return False
    if "InsufficientFundsForRent" in failure:
        return bool(failure["InsufficientFundsForRent"].get("account_index") == 0)
    error = failure.get("InstructionError")
    return isinstance(error, list) and error[1] == {"Custom": INSUFFICIENT}
