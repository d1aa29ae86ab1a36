"""Payments without a chain, in memory: for tests and for trying a server out (`provider: mock`). No money moves."""

from __future__ import annotations

from ws402.protocol import EndReason, PaymentDetails, Proof
from ws402.provider.direct import DirectPaymentProvider
from ws402.provider.mock.faults import Faults
from ws402.provider.mock.records import PAYER, RECIPIENT, MockRefund, MockSession, TransferState
from ws402.provider.mock.service import MockPaymentService


class MockPaymentProvider(DirectPaymentProvider):
    """A gateway of honest bookkeeping in memory, with every refusal and fault on demand.

    `faults` makes it misbehave, `pay` moves pretended money, `sessions`, `refunds` and `audit` tell what came of it.
    Several providers may share one `service`, as several servers share a gateway. Errors reach the caller at once:
    unlike the real providers, this one repeats nothing.
    """

    name = "mock"

    def __init__(
        self,
        service: MockPaymentService | None = None,
        tenant: str = "default",
        *,
        network: str = "base-sepolia",
        auto_pay: bool = True,
    ) -> None:
        self.service = service or MockPaymentService(network=network, auto_pay=auto_pay)
        super().__init__(self.service, tenant, attempts=1)

    @property
    def faults(self) -> Faults:
        """The knobs."""
        return self.service.faults

    @property
    def sessions(self) -> dict[str, MockSession]:
        """All sessions by id."""
        return self.service.book.sessions

    @property
    def refunds(self) -> list[MockRefund]:
        """All debts to payers, in order."""
        return list(self.service.book.refunds.values())

    def pay(
        self,
        details: PaymentDetails,
        *,
        sender: str = PAYER,
        amount: int | None = None,
        asset: str | None = None,
        recipient: str = RECIPIENT,
        state: TransferState = "included",
        at: int | None = None,
    ) -> Proof:
        """Pay an invoice on the pretended chain and return the proof; every deviation from it can be had.

        `amount` is in smallest units, `at` the block's time in milliseconds since the epoch.
        """
        invoice = self.service.book.invoices[details.reference]
        transfer = self.service.book.pay(
            invoice, sender=sender, amount=amount, asset=asset, recipient=recipient, state=state, at=at
        )
        return Proof(reference=details.reference, tx_hash=transfer.tx, sender_address=sender)

    def confirm(self, proof: Proof) -> None:
        """A pending transfer gets into a block."""
        self.service.book.transfers[(proof.tx or "").lower()].state = "included"

    def expire(self, details: PaymentDetails) -> None:
        """Let an invoice's time run out now."""
        self.service.book.invoices[details.reference].expires_at = 0

    def end_session(self, session_id: str, reason: EndReason = EndReason.REORGED) -> None:
        """End a session at the gateway; its server learns it at the next checkpoint."""
        self.service.end_session(session_id, reason)

    def audit(self) -> int:
        """Units of money that are not accounted for; 0 is right."""
        return self.service.book.audit()
