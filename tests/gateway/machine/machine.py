"""What may happen to money, in any order: the rules of a Hypothesis state machine, and what must hold after each.

Two gateways work on one ledger and one chain. Time passes by making everything that is written down older.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from itertools import cycle
from typing import Any, Final, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import Engine, select, update
from tests.gateway.machine.books import check, read, read_by
from tests.gateway.machine.chain import NETWORK, US, Key, MemoryChain, Tx

from ws402.errors import WS402Error
from ws402.gateway.intake.claims import Claim
from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.tables import metadata, refunds
from ws402.gateway.refunds import Operator, Policy, RefundEngine
from ws402.gateway.service import PaymentService
from ws402.protocol import (
    Checkpoint,
    EndReason,
    GenerateRequest,
    PaymentDetails,
    Proof,
    RefundRequest,
    ReleaseRequest,
    ResumeRequest,
    SettleRequest,
    VerifyRequest,
    VerifyResponse,
)
from ws402.settings import GatewaySettings

TENANT: Final = "shop"
PRICE: Final = 10
PAYERS: Final = ("0x" + "a1" * 20, "0x" + "b2" * 20)
SETTINGS: Final = {"verify_wait_seconds": 0, "refund_lease_seconds": 60, "invoice_seconds": 600}
TIMES: Final = ("_at", "_until", "_time")
"""How columns that hold a time end."""
POLICY: Final = Policy(min_refund={"ETH": 40}, recheck_ms=0, resend_after_ms=0, bump_after_ms=0, group=3)

RECENT: Final = st.integers(0, 4)
"""One of the newest: 0 is the last."""
WHICH: Final = st.integers(0, 1)
"""Which gateway."""
PAY: Final = st.fixed_dictionaries(
    {
        "payer": st.sampled_from(PAYERS),
        "change": st.sampled_from([0, 0, 0, 0, -60, -1, 25]),
        "tagged": st.sampled_from([True, True, False]),
    }
)
CLAIM: Final = st.fixed_dictionaries(
    {"which": st.sampled_from([0, 0, 0, 1, 1, None]), "ours": st.sampled_from([True, True, False])}
)

T = TypeVar("T")


class Gateway:
    """One process's parts, without anything that works by itself."""

    def __init__(self, url: str, chain: MemoryChain, name: str) -> None:
        self.database = Database(url)
        settings = GatewaySettings(**SETTINGS)
        self.service = PaymentService(settings, self.database, {NETWORK: chain}, {NETWORK: {US}})
        self.engine = RefundEngine(
            self.database, {NETWORK: chain}, {NETWORK: Key()}, settings, name, rules={NETWORK: POLICY}
        )
        self.operator = Operator(self.database)

    async def start(self) -> None:
        await self.service.watcher.start()

    async def close(self, *, killed: bool = False) -> None:
        if not killed:
            await self.engine.close()
        await self.service.close()
        await self.database.close()


class Paid:
    """A payment and the invoice that it was meant for."""

    def __init__(self, tx: Tx, details: PaymentDetails) -> None:
        self.tx, self.details = tx, details


class Opened:
    """A session as its server knows it."""

    def __init__(self, session_id: str, token: str | None, paid: Paid) -> None:
        self.id, self.token, self.paid = session_id, token, paid
        self.epoch = 0


class MoneyMachine(RuleBasedStateMachine):
    """`ledger` makes an empty ledger: its URL, and, where there is a quicker one, a reader of the test's own."""

    ledger: Callable[[], contextlib.AbstractContextManager[tuple[str, Engine | None]]]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.chain = MemoryChain()
        self.gateways: list[Gateway] = []
        self.invoices: list[PaymentDetails] = []
        self.paid: list[Paid] = []
        self.opened: list[Opened] = []
        self.opened_by: dict[str, str] = {}
        """By transaction: the session that it opened or topped up."""

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
        for name in ("first", "second"):
            self.gateways.append(Gateway(self.url, self.chain, name))
            self.run(self.gateways[-1].start())
        self._buy(self._bill(300, "ETH", price_per_second=PRICE), first, {"which": 0, "ours": True})

    def teardown(self) -> None:
        if self.gateways:
            self.audit(0)
        for each in self.gateways:
            self.run(each.close())
        self.runner.close()
        if self.gateways:
            self._ledger.__exit__(None, None, None)

    def look(self, which: int) -> None:
        self.run(self.gateways[which].service.watcher.step(self.chain))

    # --- paying ------------------------------------------------------------------------------------------------------

    @rule(
        amount=st.sampled_from([300, 100]),
        asset=st.sampled_from(["ETH", "USD"]),
        price=st.sampled_from([PRICE, PRICE, None]),
        pay=PAY,
        claim=CLAIM,
    )
    def buy(self, amount: int, asset: str, price: int | None, pay: dict[str, Any], claim: dict[str, Any]) -> None:
        """An invoice, a payment (perhaps short, too large, or without its tag) and a claim; each may be left out."""
        self._buy(self._bill(amount, asset, price_per_second=price), pay, claim)

    @precondition(lambda self: self.opened)
    @rule(session=RECENT, amount=st.sampled_from([100, 200]), pay=PAY, claim=CLAIM)
    def top_up(self, session: int, amount: int, pay: dict[str, Any], claim: dict[str, Any]) -> None:
        self._top_up(session, amount, pay, claim)

    @precondition(lambda self: self.opened)
    @rule(session=RECENT)
    def top_up_as_asked(self, session: int) -> None:
        self._top_up(session, 100, {"change": 0, "tagged": True}, {"which": 0, "ours": True})

    def _top_up(self, session: int, amount: int, pay: dict[str, Any], claim: dict[str, Any]) -> None:
        old = self._opened(session)
        made = self._bill(amount, old.paid.tx.asset, price_per_second=PRICE, session_id=old.id)
        if made is not None:
            self._buy(made, pay | {"payer": old.paid.tx.sender}, claim)

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

    @precondition(lambda self: self.paid)
    @rule(payment=RECENT, which=WHICH, ours=st.booleans(), keyed=st.booleans())
    def claim(self, payment: int, which: int, ours: bool, keyed: bool) -> None:
        paid = self._paid(payment)
        self._claim(paid, paid.details, which, ours=ours, key=f"key {paid.tx.id}" if keyed else None)

    @precondition(lambda self: self.paid)
    @rule(payment=RECENT, invoice=RECENT, which=WHICH)
    def claim_by_signature(self, payment: int, invoice: int, which: int) -> None:
        """The payer says by its signature which invoice it paid."""
        invoices = self.invoices
        self._claim(self._paid(payment), invoices[-1 - invoice % len(invoices)], which, ours=True, signed=True)

    def _claim(
        self,
        payment: Paid,
        invoice: PaymentDetails,
        which: int,
        *,
        ours: bool,
        key: str | None = None,
        signed: bool = False,
    ) -> None:
        tx, sender = payment.tx.id, payment.tx.sender
        proof = Proof(reference=invoice.reference, tx_hash=tx, sender_address=sender)
        request = VerifyRequest(
            proof=proof, server_id="server" if ours else None, payer_signature=f"signed by {sender}" if signed else None
        )
        answer = self.attempt(self._submit(which, Claim(TENANT, key, request, signer=sender if signed else None)))
        if not isinstance(answer, VerifyResponse) or not answer.valid:
            return
        assert answer.session_id is not None
        before = self.opened_by.setdefault(tx, answer.session_id)
        assert before == answer.session_id, f"I2: {tx} paid for {before} and for {answer.session_id}"
        if all(each.id != answer.session_id for each in self.opened):
            self.opened.append(Opened(answer.session_id, answer.resume_token, payment))

    async def _submit(self, which: int, claim: Claim) -> Any:
        return await self.gateways[which].service.verifier.submit(claim)

    def _paid(self, number: int) -> Paid:
        return self.paid[-1 - number % len(self.paid)]

    def _opened(self, number: int) -> Opened:
        return self.opened[-1 - number % len(self.opened)]

    @precondition(lambda self: self.paid)
    @rule(payment=RECENT, which=WHICH, lags=st.booleans())
    def look_up(self, payment: int, which: int, lags: bool) -> None:
        """As a proof does that waits: before the watcher comes to its block; perhaps at an endpoint that lags."""
        self.chain.lags = lags
        self.run(self._look_up(self._paid(payment).tx.id, which))
        self.chain.lags = False

    async def _look_up(self, tx: str, which: int) -> None:
        found = await self.chain.lookup(tx)
        await self.gateways[which].service.watcher.record(found.transfers)

    # --- using -------------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.opened)
    @rule(
        what=st.sampled_from(["report", "release", "settle", "settle", "resume"]),
        session=RECENT,
        seconds=st.integers(0, 40),
        which=WHICH,
    )
    def use(self, what: str, session: int, seconds: int, which: int) -> None:
        """What our servers say about a session."""
        opened = self._opened(session)
        usage: dict[str, Any] = dict.fromkeys(("bytes_transferred", "message_count"), 0)
        usage |= {"session_id": opened.id, "epoch": opened.epoch, "elapsed_ms": seconds * 1000}
        match what:
            case "report":
                self.ask(which, "checkpoint", Checkpoint(**usage))
            case "release":
                self.ask(which, "release", ReleaseRequest(**usage))
            case "settle":
                self.ask(which, "settle", SettleRequest(**usage, reason=EndReason.CLIENT_CLOSED))
            case _ if opened.token is not None:
                request = ResumeRequest(token=opened.token, server_id="another")
                answer = self.ask(which, "resume", request)
                if answer is not None:
                    opened.token, opened.epoch = answer.resume_token, answer.epoch

    @precondition(lambda self: self.opened)
    @rule(session=RECENT, amount=st.sampled_from([0, 1, 100, 240, 299, 300, 350]), which=WHICH)
    def refund_as_stock_servers_do(self, session: int, amount: int, which: int) -> None:
        opened = self._opened(session)
        proof = Proof(reference=opened.paid.details.reference, tx_hash=opened.paid.tx.id)
        self.ask(which, "refund", RefundRequest(proof=proof, amount=amount))

    # --- time and blocks ---------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([5, 70, 400, 1300]), which=WHICH)
    def time_passes(self, seconds: int, which: int) -> None:
        """Servers vanish, invoices expire, leases run out; one gateway sweeps."""
        self.run(self._age(seconds * 1000))
        self.chain.age(seconds * 1000)
        upkeep = self.gateways[which].service.upkeep
        upkeep.listening.since -= seconds
        self.run(upkeep.sweep())

    async def _age(self, ms: int) -> None:
        async with self.gateways[0].database.begin() as connection:
            for table in metadata.sorted_tables:
                times = [each for each in table.c if each.name.endswith(TIMES)]
                if times and table.name not in ("entries", "audit_log", "payments"):
                    await connection.execute(update(table).values({each: each - ms for each in times}))

    @rule(blocks=st.sampled_from([1, 1, 2, 7]), which=WHICH)
    def mine(self, blocks: int, which: int) -> None:
        self.chain.mine(blocks)
        self.look(which)

    @precondition(lambda self: self.paid)
    @rule(
        depth=st.integers(1, 5),
        fates=st.lists(st.sampled_from(["gone", "later", "same"]), min_size=1, max_size=3),
        longer=st.booleans(),
        which=WHICH,
        seen=st.sampled_from([True, True, False]),
    )
    def reorg(self, depth: int, fates: list[Any], longer: bool, which: int, seen: bool) -> None:
        endless = cycle(fates)
        self.chain.reorg(depth, lambda tx: next(endless), longer=longer)
        if seen:
            self.look(which)

    @precondition(lambda self: self.paid)
    @rule(fate=st.sampled_from(["gone", "later", "same"]), which=WHICH)
    def lose_the_newest_payment(self, fate: Any, which: int) -> None:
        """A reorg of just as many blocks as it takes, and no more."""
        depth = next((n for n in range(1, 6) if any(tx.nonce is None for tx in self.chain.txs_of(n))), 1)
        self.chain.reorg(depth, lambda tx: fate)
        self.look(which)

    @precondition(lambda self: self.chain.can_return)
    @rule(which=WHICH)
    def the_old_branch_wins_again(self, which: int) -> None:
        self.chain.reorg_back()
        self.look(which)

    @precondition(lambda self: self.chain.gone)
    @rule(which=WHICH)
    def lost_payments_come_back(self, which: int) -> None:
        self.chain.come_back()
        self.chain.mine()
        self.look(which)

    # --- refunds -----------------------------------------------------------------------------------------------------

    def work(self, which: int) -> None:
        self.attempt(self.gateways[which].engine.run_once())

    @rule(which=WHICH, deaf=st.sampled_from([False, False, True]), blocks=st.integers(0, 1))
    def deliver(self, which: int, deaf: bool, blocks: int) -> None:
        self.chain.deaf = deaf
        self.work(which)
        self.chain.deaf = False
        self.chain.mine(blocks)

    @rule(which=WHICH)
    def become_final_and_deliver(self, which: int) -> None:
        self.chain.mine(7)
        self.look(which)
        self.work(which)
        self.chain.mine()
        self.work(which)
        self.chain.mine(6)
        self.work(which)

    @rule(payer=st.sampled_from(PAYERS), how=st.sampled_from(["refusing", "contracts"]))
    def change_a_payer(self, payer: str, how: str) -> None:
        """Its account begins, or ceases, to refuse money or to be a contract."""
        getattr(self.chain, how).symmetric_difference_update({payer})

    @rule(order=st.sampled_from(["hold", "release", "resolve", "retry"]), number=st.integers(0, 9), which=WHICH)
    def order(self, order: str, number: int, which: int) -> None:
        """An operator's, about any refund."""
        ids = self.run(self._refunds(which))
        if ids:
            operator = self.gateways[which].operator
            reason = ("why",) if order in ("hold", "resolve") else ()
            self.attempt(getattr(operator, order)(ids[number % len(ids)], *reason))

    async def _refunds(self, which: int) -> list[str]:
        async with self.gateways[which].database.read() as connection:
            query = select(refunds.c.id).order_by(refunds.c.created_at, refunds.c.id)
            return list((await connection.execute(query)).scalars())

    @precondition(lambda self: self.paid)
    @rule(payment=RECENT, which=WHICH)
    def refund_unclaimed(self, payment: int, which: int) -> None:
        self.attempt(self.gateways[which].service.refund_unclaimed(NETWORK, self._paid(payment).tx.id))

    @rule(which=WHICH, killed=st.booleans())
    def restart(self, which: int, killed: bool) -> None:
        self.run(self.gateways[which].close(killed=killed))
        self.gateways[which] = Gateway(self.url, self.chain, "again")
        self.run(self.gateways[which].start())

    # --- what must hold ----------------------------------------------------------------------------------------------

    @precondition(lambda self: self.gateways)
    @invariant()
    def money_is_where_it_should_be(self) -> None:
        check(self.run(read_by(self.gateways[0].database)) if self.reader is None else read(self.reader))

    @rule(which=WHICH)
    def audit(self, which: int) -> None:
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
