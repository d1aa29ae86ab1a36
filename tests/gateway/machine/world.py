"""Two gateways, their ledger and their chain, what has happened so far, and what must hold after each step."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from itertools import count
from typing import Any, Final, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition
from sqlalchemy import Engine
from tests.gateway.machine.blocks import Tx
from tests.gateway.machine.books import check, read, read_by
from tests.gateway.machine.chain import NETWORK, MemoryChain
from tests.gateway.machine.gateway import PRICE, TENANT, Gateway

from ws402.errors import WS402Error
from ws402.gateway.intake.claims import Claim
from ws402.protocol import GenerateRequest, PaymentDetails, Proof, VerifyRequest, VerifyResponse

PAYERS: Final = ("0x" + "a1" * 20, "0x" + "b2" * 20)
PAY: Final = st.fixed_dictionaries(
    {
        "payer": st.sampled_from(PAYERS),
        "change": st.sampled_from([0, 0, 0, 0, -60, -1, 25]),
        "tagged": st.sampled_from([True, True, False]),
    }
)
"""Who pays; how much more than the invoice says; whether the payment names the invoice."""

T = TypeVar("T")


class Paid:
    """A payment and the invoice that it was meant for."""

    def __init__(self, tx: Tx, details: PaymentDetails) -> None:
        self.tx, self.details = tx, details


class Opened:
    """A session as its server knows it."""

    def __init__(self, session_id: str, token: str | None, paid: Paid) -> None:
        self.id, self.token, self.paid = session_id, token, paid
        self.epoch = 0


class World(RuleBasedStateMachine):
    """`ledger` makes an empty ledger: its URL, and, where there is a quicker one, a reader of the test's own."""

    ledger: Callable[[], contextlib.AbstractContextManager[tuple[str, Engine | None]]]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.chain = MemoryChain()
        self.gateways: dict[int, Gateway] = {}
        self._holders = count(1)
        self.invoices: list[PaymentDetails] = []
        self.paid: list[Paid] = []
        self.opened: list[Opened] = []
        self.opened_by: dict[str, str] = {}
        """By transaction: the session that it opened or topped up."""
        self.debts: list[Any] = []
        """All refunds as they are now, oldest first."""

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def attempt(self, work: Coroutine[Any, Any, T]) -> T | None:
        """The answer, or None where the gateway refuses by a reason of its own."""
        with contextlib.suppress(WS402Error):
            return self.run(work)
        return None

    def ask(self, which: int, call: str, request: Any) -> Any:
        """One of a server's calls."""

        async def asked() -> Any:
            return await getattr(self.gateways[which].service.of(TENANT), call)(request)

        return self.attempt(asked())

    @initialize(first=PAY)
    def begin(self, first: dict[str, Any]) -> None:
        self._ledger = type(self).ledger()
        self.url, self.reader = self._ledger.__enter__()
        for which in range(2):
            self._start(which)
        self._buy(self._bill(300, "ETH", price_per_second=PRICE), first, {"which": 0, "ours": True})

    def _start(self, which: int) -> None:
        """A process, which holds nothing that an earlier one held."""
        self.gateways[which] = Gateway(self.url, self.chain, f"process {next(self._holders)}")
        self.run(self.gateways[which].start())

    def teardown(self) -> None:
        try:
            if self.gateways:
                self._audit(0)
        finally:  # what stayed open would keep the process from ending
            for each in self.gateways.values():
                self.run(each.close())
            self.runner.close()
            if self.gateways:
                self._ledger.__exit__(None, None, None)

    def refunds_in(self, *states: str) -> list[str]:
        """Ids of the refunds that are so now."""
        return [each.id for each in self.debts if each.state in states]

    def look(self, which: int) -> None:
        self.run(self.gateways[which].service.watcher.step(self.chain))

    def _bill(self, amount: int, asset: str, **more: Any) -> PaymentDetails | None:
        request = GenerateRequest(
            amount=amount, resource_id="film", estimated_duration=30, network=NETWORK, asset=asset, **more
        )
        made = self.ask(0, "generate", request)
        if made is not None:
            self.invoices.append(made)
        return made

    def _buy(self, invoice: PaymentDetails | None, pay: dict[str, Any], claim: dict[str, Any]) -> None:
        assert invoice is not None
        tags = ((getattr(invoice, "data", None) or "")[-64:],) if pay["tagged"] else ()
        tx = self.chain.pay(pay["payer"], invoice.asset or "", int(invoice.amount) + pay["change"], tags)
        self.chain.mine()
        self.paid.append(Paid(tx, invoice))
        if claim["which"] is not None:
            self.look(claim["which"])
            self._claim(self.paid[-1], invoice, claim["which"], ours=claim["ours"])

    def _claim(self, payment: Paid, invoice: PaymentDetails, which: int, **how: Any) -> None:
        self._claim_at_once(payment, [self._claim_of(payment, invoice, **how)], which)

    def _claim_of(
        self, payment: Paid, invoice: PaymentDetails, *, ours: bool, key: str | None = None, signed: bool = False
    ) -> Claim:
        sender = payment.tx.sender
        proof = Proof(reference=invoice.reference, tx_hash=payment.tx.id, sender_address=sender)
        request = VerifyRequest(
            proof=proof, server_id="server" if ours else None, payer_signature=f"signed by {sender}" if signed else None
        )
        return Claim(TENANT, key, request, signer=sender if signed else None)

    def _claim_at_once(self, payment: Paid, claims: list[Claim], which: int) -> None:
        """In one batch. Whatever was asked, one session is opened or topped up by the payment, now and later."""
        for answer in self.run(self._submit(claims, which)):
            if not isinstance(answer, VerifyResponse) or not answer.valid:
                continue
            assert answer.session_id is not None
            before = self.opened_by.setdefault(payment.tx.id, answer.session_id)
            assert before == answer.session_id, f"I2: {payment.tx.id} paid for {before} and for {answer.session_id}"
            if all(each.id != answer.session_id for each in self.opened):
                self.opened.append(Opened(answer.session_id, answer.resume_token, payment))

    async def _submit(self, claims: list[Claim], which: int) -> list[Any]:
        verifier = self.gateways[which].service.verifier
        answers = await asyncio.gather(*(verifier.submit(each) for each in claims), return_exceptions=True)
        for each in answers:
            if isinstance(each, BaseException) and not isinstance(each, WS402Error):
                raise each
        return answers

    def _paid(self, number: int) -> Paid:
        return self.paid[-1 - number % len(self.paid)]

    def _opened(self, number: int) -> Opened:
        return self.opened[-1 - number % len(self.opened)]

    @precondition(lambda self: self.gateways)
    @invariant()
    def money_is_where_it_should_be(self) -> None:
        rows = self.run(read_by(self.gateways[0].database)) if self.reader is None else read(self.reader)
        check(rows)
        self.debts = rows[1]

    def _audit(self, which: int) -> None:
        self.look(which)
        for line in self.run(self.gateways[which].service.audit()):
            assert line.clean, f"I9: {line}"

    @invariant()
    def nobody_got_more_than_he_paid(self) -> None:
        for payer in PAYERS:
            for asset in self.chain.assets:
                paid = sum(tx.amount for tx in self.chain.moved(ours=False) if (tx.sender, tx.asset) == (payer, asset))
                got = sum(tx.amount for tx in self.chain.moved(ours=True) if (tx.recipient, tx.asset) == (payer, asset))
                assert got <= paid, f"I1: {payer} paid {paid} {asset} and got {got}"
