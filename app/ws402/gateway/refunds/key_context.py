"""What the parts of the engine share while they work for one signing key, and what they count."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import TypeVar

from ws402.chains.base import Chain
from ws402.gateway.ledger.database import Database
from ws402.gateway.refunds.lease import Lease
from ws402.gateway.refunds.policy import Policy
from ws402.keys.base import Signer

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(slots=True)
class Counters:
    """Events of this process since it started. `refunds_…` count refunds, the rest transactions."""

    refunds_final: int = 0
    refunds_held: int = 0
    refunds_credited: int = 0
    refunds_returned: int = 0
    """Back to due, because their transaction has expired or somebody else used its nonce."""
    signed: int = 0
    included: int = 0
    reverted: int = 0
    bumped: int = 0
    resent: int = 0
    refused: int = 0
    """Times that a node refused a transaction."""
    cancelled: int = 0
    reorged: int = 0
    expired: int = 0
    """Transactions that no block took while they were valid; their refunds were signed anew."""
    foreign: int = 0
    """Nonces that a transaction unknown to the ledger used up."""

    def __add__(self, other: Counters) -> Counters:
        return Counters(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))


@dataclass(slots=True)
class Condition:
    """How it stands with one key, as its holder saw it last; for metrics and operators."""

    short: dict[str, int] = field(default_factory=dict)
    """By asset: how much the key's account lacks for the refunds that are due."""
    limited: set[str] = field(default_factory=set)
    """Assets whose hourly limit is reached; 'fees' when the day's budget for fees is."""
    considered: dict[str, int] = field(default_factory=dict)
    """By asset: all that became due before this time, ms since the epoch, was looked at."""
    paused: str | None = None
    """Why the key is paused."""
    restored: bool = False
    """The ledger is a restored copy that was not reconciled with this network."""
    unproven: int = 0
    """Refunds whose payment the chain does not confirm."""
    deferred: int = 0
    """Payers whose small refunds wait."""
    nonce_gaps: int = 0
    """Nonces below the next that no delivery has, as of the last pass; they are used up at once."""
    delivery_cost: int | None = None
    """What one delivery cost in fees when that was last learnt, in the network's own coin."""
    states: dict[str, int] = field(default_factory=dict)
    """Unfinished refunds by state."""
    oldest_ms: int | None = None
    """When the oldest refund that should move by itself was made, ms since the epoch."""
    error: str | None = None
    """Why the engine cannot work on this network now."""


@dataclass(slots=True)
class KeyContext:
    """One key of one network."""

    database: Database
    chain: Chain
    signer: Signer
    address: str
    lease: Lease
    policy: Policy
    counters: Counters = field(default_factory=Counters)
    condition: Condition = field(default_factory=Condition)

    @property
    def network(self) -> str:
        """The network's name."""
        return self.chain.network

    async def each(
        self, items: Sequence[Item], call: Callable[[Item], Awaitable[Result]]
    ) -> list[tuple[Item, Result | Exception]]:
        """Call for every item, a bounded number at once; answers results, and errors as values, in order."""
        limit = asyncio.Semaphore(self.policy.concurrency)

        async def one(item: Item) -> Result:
            async with limit:
                return await call(item)

        results = await asyncio.gather(*(one(item) for item in items), return_exceptions=True)
        answers: list[tuple[Item, Result | Exception]] = []
        for item, result in zip(items, results, strict=True):
            if isinstance(result, BaseException) and not isinstance(result, Exception):
                raise result
            answers.append((item, result))
        return answers
