"""Invoices: what to pay, to whom, until when, for which resource at which price."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Final

from msgspec import structs
from sqlalchemy import select

from ws402.chains.base import Chain, ChainUnavailableError, InvoiceTerms
from ws402.errors import ConflictError, InvalidRequestError, NotFoundError, WS402Error
from ws402.gateway.intake.open_invoices import OpenInvoices, by_link, too_many
from ws402.gateway.intake.successions import Successions
from ws402.gateway.ledger.bulk import insert
from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.ids import digest, new_id, new_token
from ws402.gateway.ledger.statements import Statement, one_of
from ws402.gateway.ledger.states import GOING_ON
from ws402.gateway.ledger.tables import invoices, sessions
from ws402.gateway.ledger.transactions import Transaction
from ws402.gateway.usage.settlement import price_of, unpriced
from ws402.money import Asset, parse_amount, wire_amount
from ws402.prices import Price, check_decimals
from ws402.protocol import EvmPaymentDetails, GenerateRequest, PaymentDetails, price_terms, price_text, stated_price
from ws402.settings import GatewaySettings

_SESSIONS: Final = Statement(
    select(
        *sessions.c[
            "id", "tenant", "state", "network", "asset", "resource_id", "price_per_second", "price", "resume_hash"
        ]
    ).where(one_of(sessions.c.id, "ids"))
)


@dataclass(slots=True)
class Draft:
    """A checked request for an invoice."""

    tenant: str
    chain: Chain
    asset: str
    amount: int
    price: Price | None
    request: GenerateRequest
    unique: bool = False
    """No other open invoice asks for this amount."""


class Invoices:
    """Makes invoices. Amounts, assets and recipients come from settings and the server, never from a payer."""

    def __init__(
        self,
        settings: GatewaySettings,
        database: Database,
        chains: Mapping[str, Chain],
        missing: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """`missing`: networks that were not reached since the start."""
        self.successions = Successions(database, chains)
        self._settings = settings
        self._missing = missing
        self._database = database
        self._chains = chains
        self._open = OpenInvoices(settings, database, chains)
        self._default_network = settings.default_network or next(iter(chains))

    def draft(self, tenant: str, request: GenerateRequest) -> Draft:
        """Check a request. Raises InvalidRequestError, ChainUnavailableError."""
        network = request.network or self._default_network
        chain = self._chains.get(network)
        if chain is None:
            raise InvalidRequestError(
                f"Network '{network}' is not configured.", remedy=f"Use one of: {', '.join(self._chains)}."
            )
        if network in self._missing:
            raise ChainUnavailableError(
                f"The network {network} cannot be reached now.", remedy="Try again later, or pay on another network."
            )
        symbol = request.asset or (self._settings.default_asset if not request.network else None) or chain.native
        if symbol not in chain.assets:
            raise InvalidRequestError(
                f"Asset '{symbol}' is not accepted on {network}.", remedy=f"Use one of: {', '.join(chain.assets)}."
            )
        if not request.resource_id or len(request.resource_id) > 256:
            raise InvalidRequestError("'resourceId' must have 1 to 256 characters.")
        if not 0 < request.estimated_duration <= 31_536_000:
            raise InvalidRequestError("'estimatedDuration' must be between 1 second and a year.")
        return Draft(
            tenant=tenant,
            chain=chain,
            asset=symbol,
            amount=parse_amount(request.amount),
            price=_stated(request, chain.assets[symbol]),
            request=request,
        )

    async def create(self, drafts: Sequence[Draft]) -> list[PaymentDetails | WS402Error]:
        """Record invoices in one transaction and answer each with its payment details."""
        now = self._database.clock.reference_ms()
        # Who pays for a session already can always pay on.
        new = [position for position, draft in enumerate(drafts) if not draft.request.session_id]
        beyond = new[await self._open.take(len(new)) :] if new else []
        return await self._database.run(partial(self._create, drafts, beyond, now))

    async def _create(
        self, drafts: Sequence[Draft], beyond: Sequence[int], now: int, connection: Transaction
    ) -> list[PaymentDetails | WS402Error]:
        results: list[PaymentDetails | WS402Error] = []
        rows: list[dict[str, Any]] = []
        refused = await self._top_ups(connection, drafts) | {position: too_many() for position in beyond}
        left = [(position, draft) for position, draft in enumerate(drafts) if position not in refused]
        refused |= await self._open.salt(connection, left, now)
        for position, draft in enumerate(drafts):
            if error := refused.get(position):
                results.append(error)
                continue
            row, details = self._invoice(draft, now)
            rows.append(row)
            results.append(details)
        await insert(connection, invoices, rows)
        return results

    def _invoice(self, draft: Draft, now: int) -> tuple[dict[str, Any], PaymentDetails]:
        chain, request = draft.chain, draft.request
        reference = chain.new_reference()
        tag = digest(reference)
        expires_at = now + self._settings.invoice_seconds * 1000
        details = chain.details(
            InvoiceTerms(
                asset=draft.asset,
                amount=draft.amount,
                reference=reference,
                tag=tag,
                expires_at=expires_at,
                label=request.resource_id,
            )
        )
        claim_hash = None
        if chain.reference_is_public:
            token = new_token()
            details = structs.replace(details, claim_token=token)
            claim_hash = digest(token)
        details.binding = [kind for kind in self._settings.bindings if kind in (details.binding or ())]
        if not by_link(chain, details.binding) and isinstance(details, EvmPaymentDetails):
            details.eip681 = None  # what is paid by it would be sent back
        details.unique_amount = draft.unique or None
        details.resource_id = request.resource_id
        details.estimated_duration = request.estimated_duration
        price = draft.price
        if price is not None:
            details.price_per_second = wire_amount(price.per_second)
            details.price = None if price.whole else price_terms(price)
        details.gateway = "ws402"
        details.successions = self.successions.leading(chain.network)
        details.timestamp = now
        row = {
            "id": new_id("inv"),
            "tenant": draft.tenant,
            "tag": tag,
            "claim_hash": claim_hash,
            "network": chain.network,
            "asset": draft.asset,
            "recipient": chain.recipient,
            "amount": draft.amount,
            "resource_id": request.resource_id,
            "price_per_second": None if price is None else price.per_second,
            "price": None if price is None else price_text(price),
            "estimated_duration": request.estimated_duration,
            "session_id": request.session_id,
            "created_at": now,
            "expires_at": expires_at,
            "unique_amount": draft.amount if draft.unique else None,
        }
        return row, details

    async def _top_ups(self, connection: Transaction, drafts: Sequence[Draft]) -> dict[int, WS402Error]:
        """By position: drafts for sessions that cannot be topped up as asked, with the error that says why.

        Those with a resume token get the terms of its session.
        """
        wanted = {draft.request.session_id for draft in drafts if draft.request.session_id}
        if not wanted:
            return {}
        found = {row.id: row for row in await connection.fetch(_SESSIONS, ids=wanted)}
        refused: dict[int, WS402Error] = {}
        for position, draft in enumerate(drafts):
            if not (session_id := draft.request.session_id):
                continue
            row = found.get(session_id)
            token = draft.request.resume_token
            stolen = token is not None and row is not None and row.resume_hash != digest(token)
            if row is None or row.tenant != draft.tenant or stolen:
                refused[position] = NotFoundError(f"There is no session '{session_id}'.")
            elif row.state not in GOING_ON:
                refused[position] = ConflictError("The session has ended.", remedy="Open a new one.")
            elif token is not None:
                if error := self._take_terms(draft, row):
                    refused[position] = error
            elif (row.network, row.asset) != (draft.chain.network, draft.asset):
                refused[position] = ConflictError(
                    f"The session is paid in {row.asset} on {row.network}.", remedy="Top it up in the same asset."
                )
        return refused

    def _take_terms(self, draft: Draft, row: Any) -> WS402Error | None:
        """Ask for what the session of the row costs, not for what the request says."""
        if draft.request.resource_id != row.resource_id:
            return InvalidRequestError("The session is for another resource.", code="resource_mismatch")
        chain = self._chains.get(row.network)
        if chain is None:
            return ConflictError(f"The session is paid on {row.network}, which is not configured any more.")
        if row.price_per_second is None:
            return unpriced()
        draft.chain, draft.asset, draft.price = chain, row.asset, price_of(row)
        draft.amount = draft.price.quote(draft.request.estimated_duration, draft.request.estimated_units)
        return None


def _stated(request: GenerateRequest, asset: Asset) -> Price | None:
    """The price that a server states. Raises PriceError, AmountError."""
    price = stated_price(request.price_per_second, request.price)
    if price is not None:
        check_decimals(price, asset)
    return price
