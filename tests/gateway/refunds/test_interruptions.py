"""What nodes, operators and other processes do in the middle of a pass: refunds wait for it, and arrive once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Literal

import pytest
from sqlalchemy import select, update
from tests.gateway.machine.blocks import NETWORK, US
from tests.gateway.machine.chain import MemoryChain
from tests.gateway.machine.shop import Shop, open_shop

from ws402.chains.base import BroadcastRefusedError, ChainUnavailableError, SignedTransaction, TransferLookup, TxStatus
from ws402.errors import InvalidRequestError, NotFoundError
from ws402.gateway.ledger.tables import attempts, deliveries, refunds, signers
from ws402.gateway.refunds.engine import Worker
from ws402.gateway.refunds.lease import LeaseLostError, StaleError
from ws402.keys.base import Signer

AWAY = ChainUnavailableError("no endpoint answers")
SECOND = "0x" + "22" * 20


class AnotherKey:
    """A key beside the one that the chain knows. It holds nothing."""

    algorithm: Literal["secp256k1"] = "secp256k1"
    key_id = SECOND
    public_key = b"\2" * 64

    async def sign(self, payload: bytes) -> bytes:
        raise NotImplementedError


class TroubledChain(MemoryChain):
    """`fails`: by call, what it raises instead of answering. `before_signing`: what happens meanwhile, once."""

    def __init__(self) -> None:
        super().__init__()
        self.fails: dict[str, Exception] = {}
        self.before_signing: Callable[[], Awaitable[Any]] | None = None

    def _may(self, call: str) -> None:
        if call in self.fails:
            raise self.fails[call]

    async def sign(self, *args: Any, **more: Any) -> SignedTransaction:
        if self.before_signing is not None:
            happens, self.before_signing = self.before_signing, None
            await happens()
        self._may("sign" if more.get("replaces") is None else "replace")
        return await super().sign(*args, **more)

    async def sign_cancel(self, *args: Any, **more: Any) -> SignedTransaction:
        if self.before_signing is not None:
            happens, self.before_signing = self.before_signing, None
            await happens()
        return await super().sign_cancel(*args, **more)

    async def broadcast(self, transaction: SignedTransaction) -> None:
        self._may("broadcast")
        await super().broadcast(transaction)

    async def estimate_fee(self, *args: Any) -> int:
        self._may("estimate_fee")
        return await super().estimate_fee(*args)

    async def is_contract(self, address: str) -> bool:
        self._may("is_contract")
        return await super().is_contract(address)

    async def lookup(self, tx: str, *, amount: int = 0) -> TransferLookup:
        self._may("lookup")
        return await super().lookup(tx, amount=amount)

    async def status(self, tx: str) -> TxStatus:
        self._may("status")
        return await super().status(tx)

    def address_of(self, signer: Signer) -> str:
        return SECOND if signer.key_id == SECOND else US

    async def next_nonce(self, address: str) -> int | None:
        return await super().next_nonce(address) if address == US else 0


class Troubled(Shop):
    chain: TroubledChain

    @property
    def worker(self) -> Worker:
        return self.engine.workers[NETWORK]

    async def work(self) -> None:
        await self.engine.run_once()

    async def states(self) -> list[str]:
        async with self.database.read() as connection:
            return list((await connection.execute(select(refunds.c.state).order_by(refunds.c.created_at))).scalars())

    async def finish(self) -> None:
        """Nothing is in the way any more: everything arrives, once."""
        self.chain.fails.clear()
        await self.operator.resume(NETWORK)
        for _ in range(4):
            await self.work()
            self.chain.mine(7)
            await self.look()
        await self.work()
        assert set(await self.states()) == {"final"}
        await self.rows(refunds.c.id)


@pytest.fixture
async def shop(database_url: str) -> AsyncIterator[Troubled]:
    chain = TroubledChain()
    async with open_shop(database_url, chain) as made:
        made.__class__ = Troubled
        assert isinstance(made, Troubled)
        yield made


# --- nodes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "state"), [("is_contract", "waiting"), ("lookup", "waiting"), ("estimate_fee", "due"), ("sign", "due")]
)
async def test_a48_what_a_node_does_not_answer_is_asked_in_a_later_pass(shop: Troubled, call: str, state: str) -> None:
    await shop.owe()
    shop.chain.fails[call] = AWAY
    if state == "due":
        with pytest.raises(ChainUnavailableError):
            await shop.work()
    else:
        await shop.work()
    assert await shop.states() == [state]
    await shop.finish()
    assert shop.arrived() == 300


@pytest.mark.parametrize("call", ["is_contract", "lookup", "estimate_fee", "sign", "status", "replace"])
async def test_a_fault_of_our_own_is_no_answer_and_not_passed_over(shop: Troubled, call: str) -> None:
    await shop.owe()
    if call in ("status", "replace"):
        await shop.work()
        assert await shop.states() == ["in_flight"]
    if call == "status":
        shop.chain.mine()
    shop.chain.fails[call] = ValueError("odd")
    with pytest.raises(ValueError, match="odd"):
        await shop.work()
    await shop.finish()
    assert shop.arrived() == 300


async def test_what_the_account_does_not_cover_at_a_node_is_counted_as_missing(shop: Troubled) -> None:
    await shop.owe()
    shop.chain.fails["broadcast"] = BroadcastRefusedError("Not covered.", "insufficient_funds")
    await shop.work()
    await shop.work()
    fees = sorted(fee for (fee,) in await shop.rows(attempts.c.max_fee))
    assert len(fees) == 2
    assert shop.worker.context.condition.short == {"ETH": fees[-1]}, "one of them is taken, at most the dearest"
    await shop.finish()
    assert shop.worker.context.condition.short == {}
    assert shop.arrived() == 300


@pytest.mark.parametrize("reason", ["rejected", "expired", "nonce_used", "underpriced"])
async def test_a18_a_refusal_whose_reason_says_little_is_tried_again_with_what_is_stored(
    shop: Troubled, reason: Any
) -> None:
    await shop.owe()
    shop.chain.fails["broadcast"] = BroadcastRefusedError("No.", reason)
    await shop.work()
    assert await shop.states() == ["in_flight"]
    await shop.finish()
    assert shop.arrived() == 300
    assert len(await shop.rows(deliveries.c.id)) == 1


async def test_a_fee_that_cannot_be_raised_leaves_the_refund_as_it_was(shop: Troubled) -> None:
    await shop.owe()
    await shop.work()
    shop.chain.pool.clear()
    shop.chain.fails["replace"] = BroadcastRefusedError("Not covered.", "insufficient_funds")
    await shop.work()
    assert await shop.rows(attempts.c.number) == [(1,)]
    await shop.finish()
    assert shop.arrived() == 300


# --- operators -------------------------------------------------------------------------------------------------------


async def test_a46_a_key_that_is_paused_while_it_signs_sends_nothing(shop: Troubled) -> None:
    await shop.owe()
    shop.chain.before_signing = lambda: shop.operator.pause(NETWORK, "just now")
    with pytest.raises(StaleError, match="paused"):
        await shop.work()
    assert await shop.states() == ["due"]
    assert await shop.rows(deliveries.c.id) == []
    await shop.work()
    assert await shop.states() == ["due"]
    await shop.finish()
    assert shop.arrived() == 300


async def test_a_refund_that_is_held_while_it_is_signed_is_not_sent(shop: Troubled) -> None:
    await shop.owe()
    (refund,) = await shop.rows(refunds.c.id)
    shop.chain.before_signing = lambda: shop.operator.hold(refund[0], "just now")
    with pytest.raises(StaleError, match="changed while"):
        await shop.work()
    assert await shop.states() == ["held"]
    assert not shop.chain.pool
    assert await shop.operator.retry(refund[0]) == "held"
    await shop.finish()
    assert shop.arrived() == 300


async def test_a46_a_key_that_is_paused_while_a_fee_is_raised_keeps_the_old_one(shop: Troubled) -> None:
    await shop.owe()
    await shop.work()
    shop.chain.before_signing = lambda: shop.operator.pause(NETWORK, "just now")
    with pytest.raises(StaleError, match="paused"):
        await shop.work()
    assert await shop.rows(attempts.c.number) == [(1,)]
    await shop.finish()
    assert shop.arrived() == 300


async def test_operators_see_the_keys_and_name_one_of_them(shop: Troubled) -> None:
    await shop.owe()
    await shop.work()
    (key,) = await shop.operator.keys()
    assert (key["network"], key["address"], key["next_nonce"], key["paused"]) == (NETWORK, US, 1, False)
    assert await shop.operator.pause(NETWORK, "this one", address=US) == [US]
    with pytest.raises(NotFoundError):
        await shop.operator.pause(NETWORK, "that one", address=SECOND)
    with pytest.raises(InvalidRequestError, match="above zero"):
        await shop.operator.deposit(NETWORK, "ETH", 0, "0x1")
    await shop.finish()


# --- other processes, other keys -------------------------------------------------------------------------------------


async def test_a23_a_turn_whose_lease_is_lost_or_whose_ground_moved_ends_and_another_one_comes(shop: Troubled) -> None:
    await shop.owe()
    shop.chain.before_signing = lambda: shop.operator.pause(NETWORK, "just now")
    await shop.worker.turn()
    await shop.operator.resume(NETWORK)

    async def lose() -> None:
        shop.worker.context.lease.drop()

    shop.chain.before_signing = lose
    await shop.worker.turn()
    assert await shop.states() == ["due"]
    with pytest.raises(LeaseLostError):
        shop.worker.context.lease.require()
    async with shop.database.begin() as connection:
        await connection.execute(update(signers).values(lease_until=0))
    await shop.finish()
    assert shop.arrived() == 300


async def test_what_is_wrong_with_a_network_is_told_until_it_works_again(shop: Troubled) -> None:
    await shop.owe()
    shop.chain.fails["sign"] = AWAY
    with pytest.raises(ChainUnavailableError):
        await shop.worker.turn()
    assert "no endpoint answers" in str(shop.engine.stats()[NETWORK]["error"])
    shop.chain.fails.clear()
    await shop.worker.turn()
    assert shop.engine.stats()[NETWORK]["error"] is None
    await shop.finish()


async def test_a46_a_rotated_key_sees_through_what_it_signed_and_is_let_go(shop: Troubled) -> None:
    retired: list[str] = []
    shop.engine.on_retired = lambda network, signer: retired.append(signer.key_id)
    await shop.owe()
    await shop.work()
    before = shop.worker
    shop.engine.rotate(NETWORK, AnotherKey())
    assert (shop.worker.context.address, before.retiring) == (SECOND, True)
    assert shop.engine.stats()[NETWORK]["retiring"] == [US]
    await before.turn()
    assert retired == [], "its refund is in no block yet"
    shop.chain.mine(7)
    await shop.look()
    await before.turn()
    assert retired == ["memory"]
    before.finished(before)  # what comes too late changes nothing
    assert (retired, shop.engine.stats()[NETWORK]["retiring"]) == (["memory"], [])
    assert await shop.states() == ["final"]
    assert shop.arrived() == 300


async def test_a_key_is_rotated_back_while_it_lingers(shop: Troubled) -> None:
    first = shop.worker
    shop.engine.rotate(NETWORK, first.context.signer)  # the same: nothing changes
    assert shop.engine.retiring == []
    shop.engine.rotate(NETWORK, AnotherKey(), linger=600)
    await first.turn()
    second = shop.worker
    assert shop.engine.retiring == [first], "another process may sign with it still"
    shop.engine.rotate(NETWORK, first.context.signer)
    assert (shop.worker, shop.engine.retiring) == (first, [second])
    shop.engine.retire(NETWORK, AnotherKey())  # known already
    assert shop.engine.retiring == [second]
    await shop.owe()
    await shop.finish()
    assert shop.arrived() == 300


async def test_a46_a_key_from_before_the_start_is_let_go_when_nothing_of_it_is_open(shop: Troubled) -> None:
    retired: list[str] = []
    shop.engine.on_retired = lambda network, signer: retired.append(signer.key_id)
    shop.engine.retire(NETWORK, AnotherKey())
    (worker,) = shop.engine.retiring
    await worker.turn()
    assert (retired, shop.engine.retiring) == ([SECOND], [])
