"""The payers of the demonstration. Each pays, streams, leaves early and waits until the refund is on the chain."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from ws402.client import Options, Refund, Session, Settlement, Wallet, connect
from ws402.demo.chains import DemoError, Goods
from ws402.demo.parts import Parts

REFUND_SECONDS: Final = 40
CAP_SECONDS: Final = 900
"""Nobody's session may cost more than this many seconds."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a payer means to do."""

    name: str
    resource: str
    server: int
    buys: int
    """Seconds."""
    stays: float | None
    """Seconds; None: until all is used."""
    tops_up: int = 0
    """Seconds more, paid in the session."""
    restart: bool = False
    """The server is restarted under the session, which goes on."""


PLANS: Final = (
    Plan("Ada", "ticker", 0, 300, 4),
    Plan("Ben", "ticker", 1, 120, 6, tops_up=60),
    Plan("Cleo", "dollars", 1, 600, 5),
    Plan("Dan", "dollars", 0, 90, 3),
    Plan("Eva", "ticker", 2, 240, 2, restart=True),
    Plan("Finn", "ticker", 0, 4, None),
    Plan("Gia", "sol", 0, 300, 4, tops_up=60),
    Plan("Hugo", "sol", 1, 180, 3),
    Plan("Iris", "spl", 1, 600, 4),
    Plan("Jon", "spl", 0, 90, 3),
)


@dataclass(slots=True)
class Outcome:
    """What became of it."""

    plan: Plan
    network: str
    goods: Goods
    url: str
    settlement: Settlement
    refund: Refund | None
    payments: list[str] = field(default_factory=list)
    messages: int = 0

    def problems(self) -> list[str]:
        """Whatever is not as it must be."""
        found = []
        settlement = self.settlement
        if not settlement.exact or settlement.paid != settlement.consumed + settlement.refund:
            found.append(f"{self.plan.name}'s settlement does not add up")
        if settlement.paid != self.goods.price * (self.plan.buys + self.plan.tops_up):
            found.append(f"{self.plan.name} was credited {settlement.paid}")
        if settlement.refund and (self.refund is None or self.refund.amount != settlement.refund):
            found.append(f"{self.plan.name} is owed {settlement.refund}, but that is not what is refunded")
        elif settlement.refund and self.refund is not None and not self.refund.seen:
            found.append(f"{self.plan.name}'s refund ({self.refund.state}) is not seen on the chain")
        if not self.messages:
            found.append(f"{self.plan.name} paid and got nothing")
        return found


async def play(parts: Parts, plan: Plan, wallet: Wallet, say: Callable[[str], None]) -> Outcome:
    """One payer's whole way. Raises the client's errors."""
    chain, goods = parts.find(plan.resource)
    url = parts.server_urls[plan.server]
    try:
        async with connect(
            url,
            wallet=wallet,
            resource=plan.resource,
            duration=plan.buys,
            max_amount=CAP_SECONDS * goods.price,
            asset=goods.allow,
            payees=[chain.merchant],
            options=Options(reconnect_seconds=40),
        ) as session:
            say(f"{plan.name} paid {goods.symbol} on {chain.network} for {plan.buys} s and streams from {url}")
            messages = await _stream(parts, plan, session, say)
            settlement = await session.end()
            say(f"{plan.name} {'has used it all' if plan.stays is None else 'leaves'}")
            refund = await session.refund(REFUND_SECONDS)
            payments = [each.tx for each in session.payments]
            return Outcome(plan, chain.network, goods, url, settlement, refund, payments, messages)
    finally:
        await wallet.close()


async def _stream(parts: Parts, plan: Plan, session: Session, say: Callable[[str], None]) -> int:
    count = 0

    async def read() -> None:
        nonlocal count
        async for _ in session:
            count += 1

    reading = asyncio.create_task(read())
    if plan.tops_up:
        await session.top_up(plan.tops_up)
        say(f"{plan.name} added {plan.tops_up} s")
    if plan.restart:
        await _restart(parts, plan, session, say)
    await asyncio.wait([reading], timeout=plan.stays)
    if reading.done():
        await reading
        if plan.stays is not None:
            raise DemoError(f"{plan.name}'s session ended by itself.")
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    return count


async def _restart(parts: Parts, plan: Plan, session: Session, say: Callable[[str], None]) -> None:
    await asyncio.sleep(1.5)
    token = session.payments[0].resume_token
    say(f"{plan.name}'s server restarts …")
    await parts.servers[plan.server].restart()
    for _ in range(300):
        if session.payments[0].resume_token != token:
            break
        await asyncio.sleep(0.1)
    else:
        raise DemoError(f"{plan.name}'s session did not go on after the restart.")
    say(f"{plan.name}'s session goes on")
