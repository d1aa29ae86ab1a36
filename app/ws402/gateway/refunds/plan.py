"""Which refunds go out now, which are kept as credit, and which wait. A pure decision: no chain, no database."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec

from ws402.gateway.ledger.states import RefundState
from ws402.gateway.refunds.policy import Policy


class Debt(msgspec.Struct, frozen=True, kw_only=True):
    """A refund that could be sent. `state`: 'due' or 'credit'."""

    id: str
    recipient: str
    amount: int
    state: str
    cleared: bool


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """Debts to one recipient in one asset, oldest first: one delivery."""

    recipient: str
    asset: str
    debts: tuple[Debt, ...]

    @property
    def amount(self) -> int:
        """What the delivery sends."""
        return sum(debt.amount for debt in self.debts)


class Means(msgspec.Struct, frozen=True, kw_only=True):
    """What the key has and may spend in one asset. `cost` is what one delivery costs in the network's own coin."""

    asset: str
    native: bool
    cost: int
    balance: int
    """Of the asset, less what is in signed transactions."""
    gas: int
    """Of the network's own coin, less what is in signed transactions."""
    spent_in_hour: int
    recent: dict[str, int]
    """By recipient: deliveries in the policy's `small_window_ms`."""
    limited: bool = False
    """Somebody who waited longer than these waits for the hour's limit."""


class Plan(msgspec.Struct, kw_only=True):
    """The decision. What is in no list stays due."""

    send: list[Bundle] = []
    credit: list[Debt] = []
    hold: list[tuple[Debt, str]] = []
    deferred: int = 0
    short: int = 0
    """How much of the asset lacks for what could be sent otherwise."""
    short_of_gas: int = 0
    limited: bool = False
    limited_at: int | None = None
    """The position of the first bundle for which the hour's limit has no room."""
    looked: int = 0
    """How many bundles were decided about; behind them there was no room."""


def plan(bundles: Sequence[Bundle], means: Means, policy: Policy, room: int, *, refused: Collection[str] = ()) -> Plan:
    """Decide about `bundles`, the ones that waited longest first; at most `room` are sent, and none to `refused`.

    A bundle may be a part of what its recipient is due: what is in none waits for the next pass.
    """
    result = Plan()
    minimum = policy.min_refund.get(means.asset, means.cost if means.native else 0)
    limit = policy.hourly_limit.get(means.asset)
    left, gas, allowance = means.balance, means.gas, None if limit is None else limit - means.spent_in_hour
    for position, whole in enumerate(bundles):
        result.looked = position + 1
        if whole.recipient in refused:
            continue
        bundle = whole if limit is None else _within(whole, limit, result)
        if not bundle.debts:
            continue
        amount = bundle.amount
        cleared = any(debt.cleared for debt in bundle.debts)
        if amount < minimum and not cleared:
            # Not worth what sending costs: it travels with the payer's next one.
            result.credit += [debt for debt in bundle.debts if debt.state == RefundState.DUE]
            continue
        small = not minimum or amount < policy.small_factor * minimum
        if small and means.recent.get(bundle.recipient, 0) >= policy.small_burst:
            result.deferred += 1
            continue
        need = amount + means.cost if means.native else amount
        if need > left or means.cost > gas:
            # Smaller ones that fit still go.
            result.short += need
            result.short_of_gas += means.cost if means.cost > gas else 0
            continue
        if allowance is not None and (means.limited or result.limited or amount > allowance):
            # Strictly in order: else a stream of small refunds would keep a large one out for ever. Not before it is
            # sure that the account covers it: else one that nobody can pay would keep all others out.
            result.limited, result.limited_at = True, position if result.limited_at is None else result.limited_at
            continue
        if len(result.send) >= room:
            result.looked = position
            break
        result.send.append(bundle)
        left -= need
        gas -= need if means.native else means.cost
        if allowance is not None:
            allowance -= amount
    result.short = max(0, result.short - left) if result.short else 0
    return result


def _within(bundle: Bundle, limit: int, result: Plan) -> Bundle:
    """The part of a bundle that an hour's limit lets through at all; a debt that alone is above it is held."""
    taken: list[Debt] = []
    total = 0
    for debt in bundle.debts:
        if debt.amount > limit and debt.state == RefundState.DUE:
            reason = f"It is above the key's hourly limit of {limit}: raise the limit and release it."
            result.hold.append((debt, reason))
        elif total + debt.amount <= limit:
            taken.append(debt)
            total += debt.amount
    return msgspec.structs.replace(bundle, debts=tuple(taken))
