"""Reading transfers to us out of what nodes answer. Pure; malformed answers raise KeyError, TypeError or ValueError.

What counts: the transaction's own value when it goes straight to us; Transfer events of the configured contracts (their
amounts, not the call's); where a node traces, value that a contract sent us. Of a failed transaction nothing counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ws402.chains.base import Movement, Sent, Transfer
from ws402.chains.evm import abi
from ws402.chains.evm.address import normalize_address, word

OWN_VALUE: Final = -1
"""`Transfer.index` of the transaction's own value; internal payments are numbered down from -2."""

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Ours:
    """What belongs to us on one network. `tokens`: symbol by contract in lower case.

    `addresses` has our addresses, by their lower case: more than one after a rotation of the key that is paid. What
    moves from one of them to another is no payment.
    """

    network: str
    native: str
    tokens: Mapping[str, str]
    addresses: dict[str, str] = field(default_factory=dict)

    def add(self, address: str) -> None:
        """Count transfers to one more address."""
        self.addresses[address.lower()] = address

    @property
    def topics(self) -> list[str]:
        """Our addresses as log topics."""
        return [word(address) for address in self.addresses]

    def owns(self, address: str) -> bool:
        """Whether an address, or one written as a log topic, is ours."""
        return f"0x{address[-40:].lower()}" in self.addresses


@dataclass(frozen=True, slots=True)
class Place:
    """Where a transaction is."""

    block: int
    block_hash: str
    block_time: int

    @classmethod
    def of(cls, header: Json) -> Place:
        """From a block's header."""
        return cls(number(header["number"]), str(header["hash"]).lower(), number(header["timestamp"]) * 1000)


def number(quantity: Any) -> int:
    """A node's quantity."""
    return int(quantity, 16)


def succeeded(receipt: Json) -> bool:
    """Whether a transaction had its effect (EIP-658)."""
    return number(receipt["status"]) == 1


def pays_natively(transaction: Json, ours: Ours) -> bool:
    """Whether the transaction's own value goes to us, if it succeeds."""
    to = transaction.get("to")
    return (
        isinstance(to, str)
        and ours.owns(to)
        and not ours.owns(transaction["from"])
        and number(transaction["value"]) > 0
    )


def native_transfer(transaction: Json, place: Place, ours: Ours) -> Transfer:
    """The transaction's own value; its tag is the last word of its input."""
    return _transfer(
        ours,
        place,
        tx=transaction["hash"],
        index=OWN_VALUE,
        sender=transaction["from"],
        recipient=transaction["to"],
        asset=ours.native,
        amount=number(transaction["value"]),
        tags=_last_word(transaction["input"], beyond=0),
    )


def token_transfers(transaction: Json, logs: Sequence[Json], place: Place, ours: Ours) -> list[Transfer]:
    """Token transfers to us among a transaction's logs, in order.

    Their tags: the last word of the input, when the payer itself called `transfer` and this is the only transfer that
    came of it; the nonce of the payer's EIP-3009 authorization, alone and with the payer's name, whoever brought it to
    the chain.
    """
    found = [log for log in logs if _is_for_us(log, ours)]
    nonces = _authorizations(logs, ours)
    called = [log for log in found if _is_call_of(transaction, log)]
    tag = _last_word(transaction["input"], beyond=abi.TRANSFER_LENGTH) if len(called) == 1 else ()
    return [
        _transfer(
            ours,
            place,
            tx=transaction["hash"],
            index=number(log["logIndex"]),
            sender="0x" + log["topics"][1][-40:],
            recipient="0x" + log["topics"][2][-40:],
            asset=ours.tokens[log["address"].lower()],
            amount=number(log["data"]),
            tags=tag if log in called else nonces.get(number(log["logIndex"]), ()),
        )
        for log in found
    ]


def needs_whole_receipt(transaction: Json, logs: Sequence[Json]) -> bool:
    """Whether these logs, all transfers to us, are not enough to tell the transaction's tags."""
    return not all(_is_call_of(transaction, log) for log in logs)


def fee_of(receipt: Json) -> int:
    """What a transaction cost its sender; `l1Fee` is what rollups of the OP stack charge besides."""
    return number(receipt["gasUsed"]) * number(receipt["effectiveGasPrice"]) + number(receipt.get("l1Fee") or "0x0")


def sent(transaction: Json, receipt: Json, place: Place, ours: Ours) -> Sent:
    """What a transaction of an account of ours moved out of it. Its token transfers are read from their events."""
    sender = transaction["from"].lower()
    moves: list[tuple[str, str, int]] = []
    if succeeded(receipt):
        target: str = transaction.get("to") or receipt["contractAddress"]
        if value := number(transaction["value"]):
            moves.append((target, ours.native, value))
        moves += [
            ("0x" + log["topics"][2][-40:], ours.tokens[log["address"].lower()], number(log["data"]))
            for log in receipt["logs"]
            if _is_transfer(log)
            and log["address"].lower() in ours.tokens
            and log["topics"][1][-40:].lower() == sender[2:]
            and number(log["data"]) > 0
        ]
    return Sent(
        tx=transaction["hash"].lower(),
        block=place.block,
        block_time=place.block_time,
        sender=normalize_address(sender),
        nonce=number(transaction["nonce"]),
        fee=fee_of(receipt),
        moves=tuple(
            Movement(recipient=normalize_address(to.lower()), asset=asset, amount=amount) for to, asset, amount in moves
        ),
        collected=tuple(_tag_of(log, ours) for log in receipt["logs"] if _is_use(log, ours)),
    )


def internal_transfers(trace: Json, tx: str, place: Place, ours: Ours) -> list[Transfer]:
    """Value that contracts sent us inside a transaction (a callTracer's tree); calls that were undone do not count."""
    return [
        _transfer(
            ours,
            place,
            tx=tx,
            index=OWN_VALUE - 1 - position,
            sender=call["from"],
            recipient=call["to"],
            asset=ours.native,
            amount=number(call["value"]),
            tags=(),
        )
        for position, call in enumerate(_inner_payments(trace, ours))
    ]


def elsewhere(transaction: Json, logs: Sequence[Json], ours: Ours) -> tuple[str, ...]:
    """What a transaction without a transfer to us did instead: 'asset', 'recipient' or both."""
    reasons = []
    transfers = [log for log in logs if _is_transfer(log)]
    if any(ours.owns(log["topics"][2]) for log in transfers):
        reasons.append("asset")
    pinned = any(log["address"].lower() in ours.tokens for log in transfers)
    if pinned or number(transaction["value"]) > 0:
        reasons.append("recipient")
    return tuple(reasons)


def _transfer(
    ours: Ours,
    place: Place,
    *,
    tx: str,
    index: int,
    sender: str,
    recipient: str,
    asset: str,
    amount: int,
    tags: tuple[str, ...],
) -> Transfer:
    return Transfer(
        network=ours.network,
        tx=tx.lower(),
        index=index,
        block=place.block,
        block_hash=place.block_hash,
        block_time=place.block_time,
        sender=normalize_address(sender.lower()),
        recipient=ours.addresses[recipient.lower()],
        asset=asset,
        amount=amount,
        tags=tags,
    )


def _is_transfer(log: Json) -> bool:
    # Three topics: an NFT's Transfer has the same first topic, but four.
    return len(log["topics"]) == 3 and log["topics"][0].lower() == abi.TRANSFER


def _is_for_us(log: Json, ours: Ours) -> bool:
    return (
        _is_transfer(log)
        and log["address"].lower() in ours.tokens
        and ours.owns(log["topics"][2])
        and not ours.owns(log["topics"][1])
        and not log.get("removed", False)
        and number(log["data"]) > 0
    )


def _is_call_of(transaction: Json, log: Json) -> bool:
    """Whether the log is what the sender of the transaction itself asked the token for, by `transfer`."""
    return bool(
        (transaction.get("to") or "").lower() == log["address"].lower()
        and transaction["input"][:10].lower() == abi.TRANSFER_SELECTOR
        and log["topics"][1][-40:].lower() == transaction["from"][2:].lower()
    )


def _last_word(data: str, *, beyond: int) -> tuple[str, ...]:
    """The last 32 bytes of calldata that has at least as many after its first `beyond` bytes."""
    return (data[-64:].lower(),) if len(data) - 2 >= 2 * (beyond + 32) else ()


def _authorizations(logs: Sequence[Json], ours: Ours) -> dict[int, tuple[str, str]]:
    """By the index of a Transfer: the nonce of the EIP-3009 authorization that caused it, alone and with its payer.

    The standard's contracts emit AuthorizationUsed right before the Transfer. Where something stands between, it is
    certain only if the payer used one authorization and made one transfer of this token in the whole transaction.
    """
    tokens = [log for log in logs if log["address"].lower() in ours.tokens]
    used = [log for log in tokens if _is_use(log, ours)]
    by_index = {number(log["logIndex"]): log for log in used}
    uses = Counter(_party(log) for log in used)
    moves = Counter(_party(log) for log in tokens if _is_transfer(log))
    only = {_party(log): log for log in used if uses[_party(log)] == 1 and moves[_party(log)] == 1}
    found: dict[int, tuple[str, str]] = {}
    for log in tokens:
        if not _is_transfer(log):
            continue
        index = number(log["logIndex"])
        before = by_index.get(index - 1)
        match = before if before is not None and _party(before) == _party(log) else only.get(_party(log))
        if match is not None:
            found[index] = match["topics"][2][2:].lower(), _tag_of(match, ours)
    return found


def _is_use(log: Json, ours: Ours) -> bool:
    """Whether a configured token says that an authorization was used (EIP-3009: AuthorizationUsed)."""
    topics = log["topics"]
    return log["address"].lower() in ours.tokens and len(topics) == 3 and topics[0].lower() == abi.AUTHORIZATION_USED


def _tag_of(use: Json, ours: Ours) -> str:
    """Its tag, which names token, payer and nonce."""
    nonce, payer = use["topics"][2][2:].lower(), "0x" + use["topics"][1][-40:].lower()
    return abi.authorization_tag(ours.network, use["address"].lower(), payer, nonce)


def _party(log: Json) -> tuple[str, str]:
    """A token and the account whose money it is about."""
    return log["address"].lower(), log["topics"][1].lower()


def _inner_payments(call: Json, ours: Ours, *, top: bool = True) -> Iterator[Json]:
    if call.get("error") or call.get("revertReason"):
        return
    moves = call.get("type") in ("CALL", "SELFDESTRUCT") and call.get("value") not in (None, "0x0", "0x")
    to, sender = (call.get("to") or "").lower(), call["from"].lower()
    if not top and moves and ours.owns(to) and not ours.owns(sender):
        yield call
    for inner in call.get("calls", ()):
        yield from _inner_payments(inner, ours, top=False)


def is_payment_by(log: Json, transaction: Json) -> bool:
    """Whether the log is a transfer of the called token's, out of the sender's account."""
    return _is_transfer(log) and _is_call_of(transaction, log) and number(log["data"]) > 0
