"""Which debts of an old ledger did transactions pay that it does not know? A pure decision: no chain, no database."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from ws402.chains.base import Movement, Sent


class Owed(msgspec.Struct, frozen=True, kw_only=True):
    """A refund that no transaction carries, as the ledger has it."""

    id: str
    recipient: str
    asset: str
    amount: int
    state: str


class Signed(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery of the ledger whose transaction is in no block that it knows of."""

    id: str
    nonce: int | None
    signer: str
    kind: str
    recipient: str
    asset: str
    amount: int
    tag: str | None = None
    """Of the authorization that it collects."""


class Paid(msgspec.Struct, frozen=True, kw_only=True):
    """One movement that the ledger did not know. `refunds`: what it paid; none that are known, when empty."""

    sent: Sent
    index: int
    move: Movement
    refunds: tuple[Owed, ...] = ()


class Explanation(msgspec.Struct, kw_only=True):
    """What was found."""

    dearer: list[tuple[Signed, Sent, str]] = []
    """Deliveries that the ledger knows, in another form: with a higher fee ('refund', 'collect'), or without effect
    ('cancel').
    """
    paid: list[Paid] = []
    hold: list[tuple[Owed, Paid]] = []
    """Debts to somebody who was sent something that matches none of them: an operator must look."""


def explain(
    unknown: Sequence[Sent], signed: Sequence[Signed], owed: Sequence[Owed], ours: Callable[[str], bool]
) -> Explanation:
    """Match what was sent, oldest first, with what is owed, oldest first.

    A movement pays a debt, or several of one payer and asset that stand beside each other, of exactly its amount: so
    the engine bundles them. Whoever was sent something else is not sent anything by itself. `ours`: whether an address
    is one of our accounts, to which no refund goes.
    """
    found = Explanation()
    places = {(each.signer, each.nonce): each for each in signed}
    queues: dict[tuple[str, str], list[Owed]] = {}
    for debt in owed:
        queues.setdefault((debt.recipient, debt.asset), []).append(debt)
    for sent in unknown:
        known = None if sent.nonce is None else places.get((sent.sender, sent.nonce))
        form = None if known is None else _form(known, sent)
        if known is not None and form is not None:
            found.dearer.append((known, sent, form))
            continue
        for index, move in enumerate(sent.moves or (_nothing(sent),)):
            queue = queues.get((move.recipient, move.asset), [])
            run = () if ours(move.recipient) else _run(queue, move.amount)
            for debt in run:
                queue.remove(debt)
            found.paid.append(Paid(sent=sent, index=index, move=move, refunds=run))
    found.hold = list(_suspects(found.paid, queues, ours))
    return found


def _suspects(
    paid: Sequence[Paid], queues: Mapping[tuple[str, str], list[Owed]], ours: Callable[[str], bool]
) -> list[tuple[Owed, Paid]]:
    last = {
        (each.move.recipient, each.move.asset): each
        for each in paid
        if each.move.amount and not each.refunds and not ours(each.move.recipient)
    }
    return [(debt, each) for key, each in last.items() for debt in queues.get(key, ())]


def _form(known: Signed, sent: Sent) -> str | None:
    """What a transaction with a delivery's nonce is of it, or None when it is something else."""
    if known.kind == "collect":
        # It moves the payer's money, not ours: only the token tells it from one that gave the nonce back.
        return "collect" if known.tag in sent.collected else None if sent.moves or sent.collected else "cancel"
    if not sent.moves and not sent.collected:
        return "cancel"
    pays = Movement(recipient=known.recipient, asset=known.asset, amount=known.amount)
    return "refund" if known.kind == "refund" and sent.moves == (pays,) else None


def _nothing(sent: Sent) -> Movement:
    return Movement(recipient=sent.sender, asset="", amount=0)


def _run(queue: Sequence[Owed], amount: int) -> tuple[Owed, ...]:
    """The first debts beside each other that add up to an amount."""
    for first in range(len(queue)):
        total = 0
        for last in range(first, len(queue)):
            total += queue[last].amount
            if total == amount:
                return tuple(queue[first : last + 1])
            if total > amount:
                break
    return ()
