"""What the mock remembers: invoices, the transfers of a pretended chain, sessions and refunds."""

from __future__ import annotations

import secrets
from hashlib import sha256
from typing import Final

from msgspec import structs

from ws402.errors import ConflictError, InvalidRequestError, NotFoundError
from ws402.money import Asset, parse_amount, to_decimal, wire_amount
from ws402.prices import check_decimals
from ws402.protocol import (
    AssetInfo,
    EndReason,
    EvmPaymentDetails,
    GenerateRequest,
    RejectCode,
    SessionRefund,
    SessionResponse,
    price_terms,
    stated_price,
)
from ws402.provider.mock.records import (
    PAYER,
    RECIPIENT,
    MockInvoice,
    MockRefund,
    MockSession,
    MockTransfer,
    TransferState,
    now_ms,
)

CHAIN_IDS: Final = {"base-sepolia": 84532, "base": 8453}
INVOICE_MS: Final = 900_000

REASONS: Final = {
    RejectCode.MALFORMED_PROOF: "The proof needs a reference, a transaction and a sender.",
    RejectCode.UNKNOWN_INVOICE: "No invoice has this reference.",
    RejectCode.INVOICE_EXPIRED: "The invoice has expired.",
    RejectCode.RESOURCE_MISMATCH: "The invoice is for another resource.",
    RejectCode.TRANSFER_NOT_FOUND: "The transaction is not known yet.",
    RejectCode.TRANSFER_UNCONFIRMED: "The transaction has too few confirmations.",
    RejectCode.TRANSFER_FAILED: "The transaction failed on chain.",
    RejectCode.TRANSFER_TOO_OLD: "The transaction is older than its invoice.",
    RejectCode.TRANSFER_TOO_LATE: "The payment came after the invoice expired; it will be refunded.",
    RejectCode.WRONG_RECIPIENT: "The transaction pays somebody else.",
    RejectCode.WRONG_ASSET: "The transaction pays in another asset.",
    RejectCode.AMOUNT_SHORT: "The payment is less than the invoice asks for.",
    RejectCode.SENDER_MISMATCH: "The transaction was sent by another address.",
    RejectCode.ALREADY_CLAIMED: "This payment was already used.",
    RejectCode.SESSION_ENDED: "The session has ended.",
}


class MockBook:
    """In-memory records and the pretended chain."""

    def __init__(self, network: str) -> None:
        self.network = network
        self.chain_id = CHAIN_IDS.get(network, 31337)
        self.assets = {
            "ETH": Asset(network, "ETH", 18),
            "USDC": Asset(network, "USDC", 6, "0x00000000000000000000000000000000000402cc"),
        }
        self.invoices: dict[str, MockInvoice] = {}
        self.transfers: dict[str, MockTransfer] = {}
        self.claims: dict[str, str] = {}
        """By transaction: the session that it paid."""
        self.sessions: dict[str, MockSession] = {}
        self.tokens: dict[str, str] = {}
        """By resume token: its session."""
        self.refunds: dict[str, MockRefund] = {}

    def session_response(self, tenant: str, session_id: str) -> SessionResponse:
        """How a session of this tenant stands. Raises NotFoundError."""
        session = self.sessions.get(session_id)
        if session is None or session.tenant != tenant:
            raise NotFoundError(f"There is no session '{session_id}'.")
        refund = session.refund
        over = session.state in ("ended", "reversed")
        return SessionResponse(
            session_id=session.id,
            state=session.state,
            network=session.network,
            asset=session.asset,
            paid_amount=wire_amount(session.paid),
            consumed_amount=wire_amount(session.consumed) if over else None,
            refund=SessionRefund(amount=wire_amount(refund.amount), state=refund.state, tx_hash=refund.tx)
            if refund is not None
            else None,
        )

    def _session_terms(self, request: GenerateRequest) -> GenerateRequest:
        """A top-up by resume token has the terms of its session."""
        session = self.sessions.get(str(request.session_id))
        price = session.price if session is not None else None
        if session is None or price is None or session.resume_token != request.resume_token:
            raise NotFoundError(f"There is no session '{request.session_id}'.")
        if session.state == "ended":
            raise ConflictError("The session has ended.", remedy="Open a new one.")
        if session.resource_id != request.resource_id:
            raise InvalidRequestError("The session is for another resource.", code="resource_mismatch")
        return structs.replace(
            request,
            amount=wire_amount(price.quote(request.estimated_duration, request.estimated_units)),
            price_per_second=wire_amount(price.per_second),
            price=None if price.whole else price_terms(price),
            network=session.network,
            asset=session.asset,
        )

    def invoice(self, tenant: str, request: GenerateRequest) -> EvmPaymentDetails:
        """Check a request and make its invoice."""
        if request.session_id and request.resume_token is not None:
            request = self._session_terms(request)
        if (request.network or self.network) != self.network:
            raise InvalidRequestError(
                f"Network '{request.network}' is not configured.", remedy=f"Use '{self.network}'."
            )
        asset = self.assets.get(request.asset or "ETH")
        if asset is None:
            raise InvalidRequestError(
                f"Asset '{request.asset}' is not accepted.", remedy=f"Use one of: {', '.join(self.assets)}."
            )
        if not request.resource_id:
            raise InvalidRequestError("'resourceId' must have 1 to 256 characters.")
        if request.estimated_duration <= 0:
            raise InvalidRequestError("'estimatedDuration' must be at least 1 second.")
        if request.session_id:
            session = self.sessions.get(request.session_id)
            if session is None or session.tenant != tenant:
                raise NotFoundError(f"There is no session '{request.session_id}'.")
        price = stated_price(request.price_per_second, request.price)
        if price is not None:
            check_decimals(price, asset)
        now = now_ms()
        invoice = MockInvoice(
            tenant=tenant,
            reference=secrets.token_urlsafe(24),
            network=self.network,
            asset=asset,
            amount=parse_amount(request.amount),
            resource_id=request.resource_id,
            price=price,
            session_id=request.session_id,
            created_at=now,
            expires_at=now + INVOICE_MS,
        )
        self.invoices[invoice.reference] = invoice
        return self._details(invoice, request)

    def _details(self, invoice: MockInvoice, request: GenerateRequest) -> EvmPaymentDetails:
        asset = invoice.asset
        data = "0x" + sha256(invoice.reference.encode()).hexdigest()
        coins = to_decimal(invoice.amount, asset.decimals)
        link = f"{RECIPIENT}@{self.chain_id}?value={invoice.amount}&data={data}"
        if asset.contract:
            link = f"{asset.contract}@{self.chain_id}/transfer?address={RECIPIENT}&uint256={invoice.amount}"
        return EvmPaymentDetails(
            network=self.network,
            chain_id=self.chain_id,
            recipient=RECIPIENT,
            amount=wire_amount(invoice.amount),
            amount_wei=wire_amount(invoice.amount),
            amount_eth=coins,
            currency="ERC20" if asset.contract else "ETH",
            token_address=asset.contract,
            asset=asset.symbol,
            decimals=asset.decimals,
            reference=invoice.reference,
            data=data,
            eip681=f"ethereum:{link}",
            binding=["tag", "legacy"],
            expires_at=invoice.expires_at,
            instructions={
                "step1": f"Send {coins} {asset.symbol} to {RECIPIENT} (mock: no real money moves).",
                "step2": "Show the transaction hash as payment proof.",
            },
            resource_id=invoice.resource_id,
            estimated_duration=request.estimated_duration,
            price_per_second=request.price_per_second,
            price=request.price,
            gateway="ws402-mock",
            timestamp=invoice.created_at,
            unique_amount=request.unique_amount,
        )

    def pay(
        self,
        invoice: MockInvoice,
        *,
        sender: str = PAYER,
        amount: int | None = None,
        asset: str | None = None,
        recipient: str = RECIPIENT,
        state: TransferState = "included",
        at: int | None = None,
        tx: str | None = None,
    ) -> MockTransfer:
        """Move pretended money; what is not said is as the invoice asks."""
        transfer = MockTransfer(
            tx=(tx or "0x" + secrets.token_hex(32)).lower(),
            sender=sender.lower(),
            recipient=recipient.lower(),
            asset=asset or invoice.asset.symbol,
            amount=invoice.amount if amount is None else amount,
            time=now_ms() if at is None else at,
            state=state,
            reference=invoice.reference,
        )
        self.transfers[transfer.tx] = transfer
        return transfer

    def sold_for(self) -> list[AssetInfo]:
        """What can be paid in."""
        return [
            AssetInfo(network=each.network, asset=each.symbol, decimals=each.decimals, native=each.contract is None)
            for each in self.assets.values()
        ]

    def claim(
        self, invoice: MockInvoice, transfer: MockTransfer, server_id: str | None, session: MockSession | None
    ) -> MockSession:
        """Use a transfer up: for a new session, or to top this one up."""
        if session is None:
            session = MockSession(
                id="ses_" + secrets.token_hex(12),
                tenant=invoice.tenant,
                network=invoice.network,
                asset=invoice.asset.symbol,
                payer=transfer.sender,
                resource_id=invoice.resource_id,
                price=invoice.price,
                server_id=server_id,
                answered=server_id is not None,
            )
            self.sessions[session.id] = session
            self.new_token(session)
        session.paid += transfer.amount
        session.txs.append(transfer.tx)
        self.claims[transfer.tx] = invoice.paid_by = session.id
        return session

    def new_token(self, session: MockSession) -> None:
        """Give the session its next one-time resume token; the one before stays known as used."""
        session.resume_token = secrets.token_urlsafe(32)
        self.tokens[session.resume_token] = session.id

    def end(self, session: MockSession, consumed: int, reason: EndReason) -> None:
        """Make usage final and the rest a debt."""
        session.consumed = min(consumed, session.paid)
        session.refunded = session.paid - session.consumed
        session.state, session.reason = "ended", reason
        if session.refunded:
            session.refund = MockRefund(
                id="ref_" + secrets.token_hex(12),
                tenant=session.tenant,
                session_id=session.id,
                recipient=session.payer,
                amount=session.refunded,
            )
            self.refunds[session.refund.id] = session.refund

    def reverse(self, session: MockSession) -> None:
        """A reorg removed the payment: there was no money, so nothing is consumed or owed."""
        session.state, session.reason = "reversed", EndReason.REORGED
        session.paid = session.consumed = session.refunded = 0

    def audit(self) -> int:
        """Units that are not accounted for; 0 is right."""
        wrong = 0
        for session in self.sessions.values():
            if session.state in ("ended", "reversed"):
                wrong += abs(session.paid - session.consumed - session.refunded)
            debt = session.refund.amount if session.refund else 0
            wrong += abs(session.refunded - debt)
            if session.state != "reversed":
                wrong += abs(session.paid - sum(self.transfers[tx].amount for tx in session.txs))
        return wrong
