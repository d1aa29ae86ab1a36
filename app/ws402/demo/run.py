"""The demonstration from start to end, and what it shows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from ws402.demo.parts import Parts
from ws402.demo.payers import PLANS, Outcome, play
from ws402.errors import WS402Error
from ws402.gateway.books.balance_check import AuditLine
from ws402.gateway.run.gateway import build
from ws402.money import to_decimal
from ws402.settings import GatewaySettings, load

Say = Callable[[str], None]


class Demo:
    """`problems` stays empty when all went well."""

    def __init__(
        self, folder: Path, say: Say, *, port: int, gateway_port: int, rpc_port: int, solana_port: int
    ) -> None:
        self.parts = Parts(folder, port=port, gateway_port=gateway_port, rpc_port=rpc_port, solana_port=solana_port)
        self.problems: list[str] = []
        self._say = say
        self._began = time.monotonic()

    async def run(self) -> None:
        """Start everything, let the payers pay, and check the books. Raises WS402Error when a part does not start."""
        parts = self.parts
        self._step("Starting an EVM chain and a Solana chain …")
        await parts.start_chains()
        chains = " and ".join(f"{chain.network} at {chain.rpc_url}" for chain in parts.chains)
        self._step(f"Chains {chains}. Starting the gateway …")
        await parts.start_gateway()
        self._step(f"Gateway at {parts.gateway_url}. Starting three servers …")
        await parts.start_servers()
        self._step(f"Servers at {', '.join(parts.server_urls)}. {len(PLANS)} payers come.")
        outcomes = await self._play()
        for line in table(outcomes):
            self._say(line)
        await self._check()

    async def _play(self) -> list[Outcome]:
        wallets = await asyncio.gather(*(self.parts.find(plan.resource)[0].wallet(at) for at, plan in enumerate(PLANS)))
        played = await asyncio.gather(
            *(play(self.parts, plan, wallet, self._step) for plan, wallet in zip(PLANS, wallets, strict=True)),
            return_exceptions=True,
        )
        outcomes = []
        for plan, outcome in zip(PLANS, played, strict=True):
            if isinstance(outcome, Outcome):
                outcomes.append(outcome)
                self.problems += outcome.problems()
            elif isinstance(outcome, WS402Error):
                self.problems.append(f"{plan.name}: {outcome}")
            else:
                raise outcome
        return outcomes

    async def _check(self) -> None:
        """The ledger against itself and against the chain."""
        decimals_of = {
            (chain.network, goods.symbol): goods.decimals for chain in self.parts.chains for goods in chain.goods
        }
        self._say("")
        for line in await self._audit():
            decimals = decimals_of[line.network, line.asset]
            self._say(
                f"Audit of {line.asset} on {line.network} at block {line.block}: "
                f"ledger {to_decimal(line.booked, decimals)}, chain {to_decimal(line.on_chain, decimals)}, "
                f"difference {line.difference}"
            )
            if not line.clean:
                self.problems.append(f"the audit of {line.asset} on {line.network} is not clean: {line}")

    async def _audit(self) -> list[AuditLine]:
        settings = load(GatewaySettings, **self.parts.gateway_settings)
        gateway = build(settings)
        try:
            for chain in gateway.chains.values():
                await chain.start()
            return await gateway.service.audit()
        finally:
            for chain in gateway.chains.values():
                await chain.close()
            await gateway.database.close()

    def _step(self, text: str) -> None:
        self._say(f"{time.monotonic() - self._began:5.1f} s  {text}")


def table(outcomes: list[Outcome]) -> list[str]:
    """Who paid, used and got back what, with the hashes of all transactions."""
    head = ("payer", "server", "network", "asset", "paid", "consumed", "refunded")
    rows: list[tuple[str, ...]] = []
    below: list[list[str]] = []
    for each in outcomes:
        amounts = (each.settlement.paid, each.settlement.consumed, each.settlement.refund)
        shown = (to_decimal(amount, each.goods.decimals) for amount in amounts)
        rows.append((each.plan.name, each.url.rsplit(":", 1)[1], each.network, each.goods.symbol, *shown))
        hashes = [f"paid {tx}" for tx in each.payments]
        if each.refund is not None and each.refund.tx_hash:
            hashes.append(f"back {each.refund.tx_hash}")
        below.append(hashes)
    widths = [max(len(row[at]) for row in (head, *rows)) for at in range(len(head))]
    lines = ["", _row(head, widths), _row(tuple("-" * width for width in widths), widths)]
    for row, hashes in zip(rows, below, strict=True):
        lines.append(_row(row, widths))
        lines += [f"    {text}" for text in hashes]
    return lines


def _row(cells: tuple[str, ...], widths: list[int]) -> str:
    left = [cell.ljust(width) for cell, width in zip(cells[:4], widths[:4], strict=True)]
    right = [cell.rjust(width) for cell, width in zip(cells[4:], widths[4:], strict=True)]
    return "  ".join(left + right).rstrip()
