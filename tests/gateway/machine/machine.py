"""What may happen to money, in any order: the rules of a Hypothesis state machine.

Two gateways work on one ledger and one chain. Time passes by making everything that is written down older.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import cycle
from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from sqlalchemy import update
from tests.gateway.machine.blocks import NETWORK
from tests.gateway.machine.gateway import METERS, PRICE
from tests.gateway.machine.world import PAY, PAYERS, Opened, World

from ws402.gateway.ledger.states import UNFINISHED, RefundState
from ws402.gateway.ledger.tables import metadata
from ws402.protocol import (
    Checkpoint,
    EndReason,
    PriceTerms,
    Proof,
    RefundRequest,
    ReleaseRequest,
    ResumeRequest,
    SettleRequest,
)

TIMES: Final = ("_at", "_until", "_time")
"""How columns that hold a time end."""
RECENT: Final = st.integers(0, 4)
"""One of the newest: 0 is the last."""
WHICH: Final = st.integers(0, 1)
"""Which gateway."""
HOLDER: Final = st.sampled_from([0, 0, 0, 1])
"""Which gateway works on refunds: mostly the one that has the key already."""
OFTEN: Final = st.sampled_from([True, True, True, False])
SECONDS: Final = st.sampled_from([0, 1, 7, 9, 10, 27, 28, 40])
"""How long a session was used: in part, but for too little to be sent by itself, or for longer than was paid."""
ORDERS: Final[dict[str, tuple[RefundState, ...]]] = {
    "hold": (RefundState.WAITING, RefundState.DUE, RefundState.CREDIT),
    "release": (RefundState.HELD, RefundState.CREDIT),
    "retry": (RefundState.HELD,),
    "resolve": (RefundState.HELD,),
}
"""What an operator orders of one refund, and of which."""
FATE: Final = st.sampled_from(["gone", "gone", "later", "same"])
"""Of a payment in a reorg."""
ASSET: Final = st.sampled_from(["ETH", "USD"])
CLAIM: Final = st.fixed_dictionaries(
    {"which": st.sampled_from([0, 0, 0, 1, 1, None]), "ours": st.sampled_from([True, True, False])}
)


class MoneyMachine(World):
    """The rules. A number picks among what there is at that moment."""

    # --- paying ------------------------------------------------------------------------------------------------------

    @rule(
        amount=st.sampled_from([300, 100]),
        asset=ASSET,
        price=st.sampled_from([PRICE, PRICE, None, METERS]),
        pay=PAY,
        claim=CLAIM,
    )
    def buy(
        self, amount: int, asset: str, price: int | PriceTerms | None, pay: dict[str, Any], claim: dict[str, Any]
    ) -> None:
        """An invoice, a payment (perhaps short, too large, or without its tag) and a claim; each may be left out."""
        stated = (
            {"price_per_second": 4, "price": price} if isinstance(price, PriceTerms) else {"price_per_second": price}
        )
        self._buy(self._bill(amount, asset, **stated), pay, claim)

    @precondition(lambda self: self.opened)
    @rule(session=RECENT, amount=st.sampled_from([100, 200]), pay=PAY, claim=CLAIM)
    def top_up(self, session: int, amount: int, pay: dict[str, Any], claim: dict[str, Any]) -> None:
        self._top_up(session, amount, pay, claim)

    @precondition(lambda self: self.opened)
    @rule(session=RECENT, fates=st.lists(FATE, max_size=3))
    def top_up_as_asked(self, session: int, fates: list[Any]) -> None:
        """And lose what was paid, one by one."""
        self._top_up(session, 100, {"change": 0, "tagged": True}, {"which": 0, "ours": True})
        self._lose(fates, 0)

    def _top_up(self, session: int, amount: int, pay: dict[str, Any], claim: dict[str, Any]) -> None:
        old = self._opened(session)
        made = self._bill(amount, old.paid.tx.asset, price_per_second=PRICE, session_id=old.id)
        if made is not None:
            self._buy(made, pay | {"payer": old.paid.tx.sender}, claim)

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

    @precondition(lambda self: self.paid)
    @rule(payment=RECENT, invoices=st.tuples(RECENT, RECENT), which=WHICH, keyed=st.booleans())
    def claim_at_once(self, payment: int, invoices: tuple[int, int], which: int, keyed: bool) -> None:
        """Two claims of one payment in one batch, for one invoice or for two, by one key or by none."""
        paid = self._paid(payment)
        key = f"one key {paid.tx.id}" if keyed else None
        named = [self.invoices[-1 - each % len(self.invoices)] for each in invoices]
        claims = [self._claim_of(paid, each, ours=True, key=key, signed=True) for each in named]
        self._claim_at_once(paid, claims, which)

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
        what=st.sampled_from(["report", "release", "settle"]),
        session=RECENT,
        seconds=SECONDS,
        which=WHICH,
        resumed=st.booleans(),
    )
    def use(self, what: str, session: int, seconds: int, which: int, resumed: bool) -> None:
        """What our servers say about a session; another may go on with it."""
        opened = self._opened(session)
        self._use(what, opened, seconds, which)
        if resumed:
            self._resume(opened, which)

    @precondition(lambda self: self.opened)
    @rule(session=RECENT, which=WHICH)
    def resume(self, session: int, which: int) -> None:
        self._resume(self._opened(session), which)

    def _use(self, what: str, opened: Opened, seconds: int, which: int) -> None:
        usage: dict[str, Any] = dict.fromkeys(("bytes_transferred", "message_count"), 0)
        usage |= {"session_id": opened.id, "epoch": opened.epoch, "elapsed_ms": seconds * 1000}
        usage["units"] = {"messages": seconds, "tokens": 7 * seconds * seconds, "free": 2**53}
        match what:
            case "report":
                self.ask(which, "checkpoint", Checkpoint(**usage))
            case "release":
                self.ask(which, "release", ReleaseRequest(**usage))
            case _:
                self.ask(which, "settle", SettleRequest(**usage, reason=EndReason.CLIENT_CLOSED))

    def _resume(self, opened: Opened, which: int) -> None:
        if opened.token is not None:
            answer = self.ask(which, "resume", ResumeRequest(token=opened.token, server_id="another"))
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
    @rule(fates=st.lists(FATE, min_size=1, max_size=3), which=WHICH)
    def lose_the_newest_payments(self, fates: list[Any], which: int) -> None:
        self._lose(fates, which)

    def _lose(self, fates: list[Any], which: int) -> None:
        """Reorgs, one after the other, of just as many blocks as it takes to reach the newest payment, and no more."""
        for fate in fates:
            depth = next((n for n in range(1, 6) if any(tx.nonce is None for tx in self.chain.txs_of(n))), 1)
            self.chain.reorg(depth, lambda tx, fate=fate: fate)
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

    @precondition(lambda self: self.refunds_in(*UNFINISHED))
    @rule(
        which=HOLDER,
        final=st.booleans(),
        passes=st.integers(1, 4),
        deaf=st.sampled_from([False, False, False, True]),
        refusing=st.sampled_from([False, False, False, True]),
        reorg=st.sampled_from([None, None, None, (0, "later"), (0, "gone"), (1, "later"), (1, "gone"), (1, "same")]),
    )
    def deliver(self, which: int, final: bool, passes: int, deaf: bool, refusing: bool, reorg: Any) -> None:
        """Passes with a block after each. Nodes may forget what the first one sends; payers may refuse it after it was
        signed; a reorg may come after one.
        """
        if final:
            self.become_final(which)
        self.chain.deaf = deaf
        for number in range(passes):
            self.work(which)
            with self.refusing() if refusing and not number else nullcontext():
                self.chain.mine()
            self.chain.deaf = False
            if reorg is not None and reorg[0] == number:
                self.chain.reorg(number + 1, lambda tx: reorg[1])

    def work(self, which: int) -> None:
        self.attempt(self.gateways[which].engine.run_once())

    def become_final(self, which: int) -> None:
        self.chain.mine(7)
        self.look(which)

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Nobody takes anything meanwhile."""
        before = set(self.chain.refusing)
        self.chain.refusing |= set(PAYERS)
        yield
        self.chain.refusing.intersection_update(before)

    @precondition(lambda self: self.refunds_in(RefundState.WAITING))
    @rule(which=HOLDER)
    def promote(self, which: int) -> None:
        self.become_final(which)
        self.attempt(self.gateways[which].promote())

    @precondition(lambda self: self.opened)
    @rule(session=RECENT, seconds=SECONDS, which=HOLDER, passes=st.integers(0, 3))
    def leave(self, session: int, seconds: int, which: int, passes: int) -> None:
        """The usual way: settled, final, and some way towards its payer."""
        self._use("settle", self._opened(session), seconds, which)
        self.become_final(which)
        for number in range(passes):
            self.work(which)
            self.chain.mine(6 if number else 1)

    @rule(payer=st.sampled_from(PAYERS), how=st.sampled_from(["refusing", "contracts"]))
    def change_a_payer(self, payer: str, how: str) -> None:
        """Its account begins, or ceases, to refuse money or to be a contract."""
        getattr(self.chain, how).symmetric_difference_update({payer})

    @precondition(lambda self: self.debts)
    @rule(
        order=st.sampled_from(list(ORDERS)), apt=st.sampled_from([True, True, True, False]), number=RECENT, which=WHICH
    )
    def order(self, order: str, apt: bool, number: int, which: int) -> None:
        """An operator's, about one that it is meant for, or about any refund."""
        ids = (self.refunds_in(*ORDERS[order]) if apt else []) or [each.id for each in self.debts]
        reason = ("why",) if order in ("hold", "resolve") else ()
        self.attempt(getattr(self.gateways[which].operator, order)(ids[-1 - number % len(ids)], *reason))

    @rule(what=st.sampled_from(["pause", "resume", "resume", "held", "credit"]), which=WHICH, asset=ASSET)
    def order_about_all(self, what: str, which: int, asset: str) -> None:
        """An operator's, about the key or about all refunds that are held, or too small."""
        operator = self.gateways[which].operator
        match what:
            case "pause":
                self.attempt(operator.pause(NETWORK, "why"))
            case "resume":
                self.attempt(operator.resume(NETWORK))
            case _:
                self.attempt(operator.release_all(NETWORK, asset, state=what))

    @precondition(lambda self: self.refunds_in(RefundState.DUE, RefundState.IN_FLIGHT))
    @rule(which=HOLDER, told=st.booleans())
    def use_the_key_elsewhere(self, which: int, told: bool) -> None:
        """The operator takes money out by hand, with a nonce that a refund may have, and books it when it is final. The
        key is paused by the next pass, until he says that it was he (`told`: at once).
        """
        tx = self.chain.spend(7)
        self.look(which)
        self.run(self.gateways[which].operator.withdraw(NETWORK, "ETH", tx.amount + tx.fee, tx.id))
        if told:
            self.work(which)
            self.attempt(self.gateways[which].operator.resume(NETWORK))

    @precondition(lambda self: self.paid)
    @rule(payment=RECENT, which=WHICH)
    def refund_unclaimed(self, payment: int, which: int) -> None:
        self.attempt(self.gateways[which].service.refund_unclaimed(NETWORK, self._paid(payment).tx.id))

    @rule(which=WHICH, killed=st.booleans())
    def restart(self, which: int, killed: bool) -> None:
        self.run(self.gateways[which].close(killed=killed))
        self._start(which)

    @rule(which=WHICH)
    def audit(self, which: int) -> None:
        self._audit(which)
