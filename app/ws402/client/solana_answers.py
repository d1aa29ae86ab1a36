"""What nodes of Solana answer to the calls that a wallet makes; amounts are lamports or a token's smallest units."""

from __future__ import annotations

from typing import Annotated, Any, Generic, TypeVar

import msgspec

from ws402.client.errors import WalletError

U63 = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Digits = Annotated[str, msgspec.Meta(pattern="^[0-9]{1,20}$")]
T = TypeVar("T")


class _Struct(msgspec.Struct, rename="camel"):
    """Named as in the JSON of the nodes."""


class Context(_Struct):
    """How far the node that answered has come."""

    slot: U63


class Contextual(_Struct, Generic[T]):
    """A value as of a slot."""

    value: T
    context: Context | None = None


class Blockhash(_Struct):
    """A block to tie a transaction to, and the last height at which such a transaction can be in a block."""

    blockhash: str
    last_valid_block_height: U63


class Status(_Struct):
    """Of a transaction that the node knows."""

    err: Any = None
    confirmation_status: str | None = None


class Simulation(_Struct):
    """What a transaction would do."""

    err: Any = None
    units_consumed: U63 = 0


class PrioritizationFee(_Struct):
    """Micro-lamports a compute unit that somebody paid."""

    prioritization_fee: U63


class Epoch(_Struct):
    """Where the chain is."""

    block_height: U63
    absolute_slot: U63


class Account(_Struct):
    """An account: its program, and its data in base64."""

    owner: str
    data: tuple[str, str]


class TokenAmount(_Struct):
    """Units of a token."""

    amount: Digits


class TokenBalance(_Struct):
    """Of one account that a transaction names."""

    mint: str
    ui_token_amount: TokenAmount
    owner: str | None = None


class Loaded(_Struct):
    """Accounts that came from look-up tables."""

    writable: list[str] = []


class Meta(_Struct):
    """What a transaction did."""

    pre_balances: list[U63]
    post_balances: list[U63]
    err: Any = None
    pre_token_balances: list[TokenBalance] | None = None
    post_token_balances: list[TokenBalance] | None = None
    loaded_addresses: Loaded | None = None


class _Message(_Struct):
    account_keys: list[str]


class _Body(_Struct):
    message: _Message


class Landed(_Struct):
    """A transaction in a block."""

    meta: Meta
    transaction: _Body


def convert(value: Any, kind: type[T], method: str) -> T:
    """Read an answer. Raises WalletError for one of another shape."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise WalletError(f"The node's answer to {method} cannot be read: {error}.", code="node_refused") from None
