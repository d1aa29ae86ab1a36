"""What operators' calls say and answer. No ledger is needed to read this: the mock gateway describes the API, too."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Annotated, Final, Literal

import msgspec

from ws402.gateway.auth.keys import TENANT, Scope
from ws402.money import WireAmount
from ws402.protocol import Message

_PUBLIC: Final = re.compile(r"0[xX][0-9a-fA-F]+|(?:inv|pay|ses|ref|del)_\w+|[1-9A-HJ-NP-Za-km-z]{33,88}")
"""Transactions, addresses, ids, and Solana's references, which everybody can read on chain. A secret reference has 32
characters of base64."""


def sought(text: str) -> tuple[str | None, str]:
    """How GET /api/admin/find is asked for something: `what`, unless it may be a secret reference; and its `tag`."""
    said = text.strip()
    return said if _PUBLIC.fullmatch(said) else None, sha256(said.encode()).hexdigest()


class AuditEntry(Message, kw_only=True):
    """One asset's audit, in smallest units; each difference is 0 unless money is lost or unbooked."""

    network: str
    asset: str
    block: int
    accounts: dict[str, WireAmount]
    booked: WireAmount
    on_chain: WireAmount
    difference: WireAmount
    escrow_difference: WireAmount
    owed_difference: WireAmount


class AuditResponse(Message, kw_only=True):
    """GET /api/admin/audit."""

    clean: bool
    timestamp: int
    entries: list[AuditEntry]
    decimals: dict[str, dict[str, int]]
    """By network and asset."""


class Command(Message, kw_only=True):
    """What every command may say: with `dry_run` all checks are made, and nothing is changed."""

    dry_run: bool = False


class RefundCommand(Command, kw_only=True):
    """POST /api/admin/refunds/change. `hold` and `resolve` need a reason; nothing changes the recipient."""

    refund_id: str
    action: Literal["hold", "release", "resolve", "retry"]
    reason: str = ""


class ReleaseCommand(Command, kw_only=True):
    """POST /api/admin/refunds/release: all held refunds, or all credit, of one asset."""

    network: str
    asset: str
    state: Literal["held", "credit"]


class CapitalCommand(Command, kw_only=True):
    """POST /api/admin/capital: book what the operator put into a refund key's account, or took out of it."""

    network: str
    asset: str
    amount: WireAmount
    tx: str
    action: Literal["deposit", "withdraw"]


class NewKeyCommand(Command, kw_only=True):
    """POST /api/admin/keys/add."""

    tenant: Annotated[str, msgspec.Meta(pattern=f"^(?:{TENANT})$")]
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    scopes: list[Scope] = msgspec.field(default_factory=lambda: [Scope.PAYMENTS])


class NewKey(Message, kw_only=True):
    """The key is told here, once; only its hash is kept. A dry run makes none."""

    id: str | None
    key: str | None


class RevokeCommand(Command, kw_only=True):
    """POST /api/admin/keys/revoke."""

    id: str


class KeyCommand(Command, kw_only=True):
    """POST /api/admin/signers/switch: stop or start all signing keys of a network. `pause` needs a reason."""

    network: str
    action: Literal["pause", "resume"]
    reason: str = ""


class ReconcileCommand(Command, kw_only=True):
    """POST /api/admin/reconcile: bring a ledger that was restored up to what its keys have sent since."""

    network: str


class FoundTransfer(Message, kw_only=True):
    """One movement of money that the ledger did not know. `refunds`: those that it paid."""

    tx: str
    block: int
    recipient: str
    asset: str
    amount: WireAmount
    refunds: list[str]


class ReconcileResponse(Message, kw_only=True):
    """How far it is. `looking`: call again; `waiting`: again later, `reason` says for what; `found`: what a dry run
    found; `done`: keys may sign again. `dearer`: other forms of transactions that the ledger knows. `held`: refunds
    that an operator must look at, for their payers were sent something that matches none of them.
    """

    network: str
    state: Literal["looking", "waiting", "found", "done"]
    block: int
    through: int
    reason: str | None
    sends: list[FoundTransfer]
    dearer: list[str]
    held: list[str]
    decimals: dict[str, dict[str, int]] = msgspec.field(default_factory=dict)
    """By network and asset: how many decimals a coin has."""


class UnclaimedCommand(Command, kw_only=True):
    """POST /api/admin/unclaimed/refund: send a transaction that pays for no session back to its sender."""

    network: str
    tx: str


class ReplayCommand(Command, kw_only=True):
    """POST /api/admin/events/replay: send these events again, or with `failed` what was given up. `endpoint`: to this
    one only.
    """

    ids: Annotated[list[str], msgspec.Meta(max_length=500)] = msgspec.field(default_factory=list)
    endpoint: str | None = None
    failed: bool = False


class EndpointCommand(Command, kw_only=True):
    """POST /api/admin/events/enable: send to an endpoint again that was disabled."""

    endpoint: str


class Done(Message, kw_only=True):
    """A command was carried out on these (a refund's id, keys' addresses)."""

    done: list[str]
