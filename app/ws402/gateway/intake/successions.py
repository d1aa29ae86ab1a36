"""Payees over time: each names its successor and signs that, so that returning payers need not ask whose it is."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from sqlalchemy import select

from ws402.chains.base import Chain
from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.entries import insert_ignore
from ws402.gateway.ledger.tables import successions
from ws402.keys.base import Signer, SignerUnavailableError
from ws402.protocol import Succession, succession_message

log = logging.getLogger(__name__)

MOST: Final = 16
"""Successions that invoices show, the newest: so many times a payee can change before a payer comes back."""


SignText = Callable[[Signer, str], Awaitable[str]]
"""Signs a text as wallets of the signer's kind do. Raises SignerUnavailableError."""


class Successions:
    """Those of one ledger, and in memory those that lead to the payee of now."""

    def __init__(self, database: Database, chains: Mapping[str, Chain]) -> None:
        self._database = database
        self._chains = chains
        self._leading: dict[str, list[Succession]] = {}

    def leading(self, network: str) -> list[Succession] | None:
        """Those by which a payer of before finds to the payee of now, oldest first; None without any."""
        return self._leading.get(network) or None

    async def announce(self, network: str, former: Signer, successor: str, sign: SignText) -> None:
        """Have a payee name the one after it, once. Without its signature the change goes on, and the log says so."""
        chain = self._chains[network]
        payee = chain.address_of(former)
        if payee == successor or await self._known(network, payee, successor):
            return
        try:
            signature = await sign(former, succession_message(network, payee, successor))
        except SignerUnavailableError as error:
            log.warning(
                "%s: %s could not sign that %s comes after it; payers who know it must be told: %s",
                network,
                payee,
                successor,
                error.message,
            )
            return
        row = {
            "network": network,
            "payee": payee,
            "successor": successor,
            "signature": signature,
            "created_at": self._database.now_ms(),
        }
        async with self._database.begin() as connection:
            await connection.execute(insert_ignore(connection, successions), [row])
        log.info("%s: %s names %s as the payee after it", network, payee, successor)

    async def refresh(self, network: str) -> None:
        """Find the successions that lead to the payee of now."""
        query = select(*successions.c["payee", "successor", "signature"]).where(successions.c.network == network)
        async with self._database.begin() as connection:
            rows = (await connection.execute(query.order_by(successions.c.created_at.desc()))).all()
        reached, found = [self._chains[network].recipient], []
        for successor in reached:  # grows
            for row in rows:
                if row.successor == successor and row.payee not in reached:
                    reached.append(row.payee)
                    found.append(Succession(payee=row.payee, successor=row.successor, signature=row.signature))
        self._leading[network] = found[:MOST][::-1]

    async def _known(self, network: str, payee: str, successor: str) -> bool:
        of = successions.c
        query = select(of.signature).where(of.network == network, of.payee == payee, of.successor == successor)
        async with self._database.begin() as connection:
            return (await connection.execute(query)).first() is not None
