"""Claims: a transfer becomes the payment of an invoice and opens (or tops up) a session, in one transaction.

The UNIQUE constraints on `payments` decide every race; what is checked before only says why a proof is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from sqlalchemy import select

from ws402.chains.base import Chain
from ws402.errors import InvalidRequestError, WS402Error
from ws402.gateway.intake.binding import Binding, Terms, bind
from ws402.gateway.intake.claim_batch import Batch, write
from ws402.gateway.ledger.bulk import insert_new
from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.idempotency import Keyed, Replays, answer_twin, twins
from ws402.gateway.ledger.ids import digest, new_id, new_token
from ws402.gateway.ledger.statements import Statement, one_of
from ws402.gateway.ledger.states import GOING_ON, SessionState, TransferState
from ws402.gateway.ledger.tables import invoices, payments, traces
from ws402.gateway.ledger.transactions import Transaction
from ws402.gateway.usage.settlement import lock_sessions, price_of
from ws402.gateway.watch.transfers import lock_transfers, of_transactions, transaction_keys
from ws402.money import MAX_AMOUNT, wire_amount
from ws402.observability.tracing import Span
from ws402.protocol import RejectCode, VerifyRequest, VerifyResponse, price_terms
from ws402.settings import GatewaySettings

RETRY_AFTER_MS: Final = 1000
"""A stock server's repeated call is answered like the first one from this age on, if the first answer never left."""

RETURNED_AT_ONCE: Final = 3
"""Payments that name one invoice, and open no session, are owed back at once up to this many; the others later."""

_INVOICES: Final = Statement(select(invoices).where(one_of(invoices.c.tag, "tags")))
_PAID_BY: Final = Statement(select(payments).where(of_transactions(payments)))
_PAID_FOR: Final = Statement(select(payments).where(one_of(payments.c.invoice_id, "ids")))


@dataclass(slots=True)
class Claim(Keyed):
    """A proof to check. `signer`: whose signature over it was found good; `agreed`: endpoints agree on its transfer."""

    request: VerifyRequest
    signer: str | None = None
    agreed: bool = False
    block_time: int = 0
    """When its transfer's block was made, ms since the epoch; and how many blocks it needs, its own included."""
    confirmations: int = 1
    span: Span | None = None
    """In a sampled trace: the session's settlement and refund will go on there."""
    collected: str | None = None
    """The tag of an authorization that is collected: its session waits, released, for who showed the authorization."""

    @property
    def tag(self) -> str | None:
        """That of the invoice: everybody can compute a collected one, so nobody may show a reference for it."""
        reference = self.request.proof.reference
        return self.collected or (digest(reference) if reference else None)


@dataclass(slots=True, frozen=True)
class Missing:
    """The claim needs the chain first: to look `tx` up, to wait, to agree, or (`sender` set) to check a signature."""

    network: str
    tx: str
    recipient: str
    amount: int
    pending: bool = False
    """The transfer is known and needs more confirmations."""
    height: int = 0
    """The newest block when this was judged."""
    agree: bool = False
    """The transfer is known and large: a second endpoint must show it too."""
    sender: str | None = None

    @property
    def plain(self) -> bool:
        """The ledger knows no transfer of this transaction."""
        return not (self.pending or self.agree or self.sender)


Outcome = VerifyResponse | Missing


def rejected(code: RejectCode, reason: str) -> VerifyResponse:
    """A refused proof."""
    return VerifyResponse(valid=False, amount=0, reason=reason, code=code)


class Claims:
    """Checks proofs against the ledger; `heads` and `finals` give the newest block and the newest final one by network
    (kept by the watcher)."""

    def __init__(
        self,
        settings: GatewaySettings,
        database: Database,
        chains: Mapping[str, Chain],
        heads: Mapping[str, int],
        finals: Mapping[str, int],
    ) -> None:
        self._settings = settings
        self._database = database
        self._chains = chains
        self._heads = heads
        self._finals = finals
        self._agree_above = {
            (each.network, asset): amount for each in settings.networks() for asset, amount in each.agree_above.items()
        }

    async def claim(self, ops: Sequence[Claim]) -> list[Outcome | WS402Error]:
        """Check and book claims in one transaction; a refusal books nothing, but may make its transfer refundable.

        What is already paid is read only when it matters: to explain a refusal, and after a constraint refused.
        """
        return await self._database.run(partial(self._claim, ops, self._database.now_ms()))

    async def _claim(self, ops: Sequence[Claim], now: int, connection: Transaction) -> list[Outcome | WS402Error]:
        batch = Batch(now)
        replays: Replays[VerifyResponse] = Replays(VerifyResponse, batch.now)
        repeats = twins(ops)
        await self._read(connection, ops, batch)
        await replays.load(connection, ops)
        outcomes: dict[int, Outcome | WS402Error] = {
            position: answer for position, op in enumerate(ops) if (answer := replays.get(op)) is not None
        }
        left = [position for position in range(len(ops)) if position not in outcomes and position not in repeats]
        judged = {position: self._judge(position, ops[position], batch) for position in left}
        if any(isinstance(each, VerifyResponse) and not each.valid for each in judged.values()):
            judged = await self._judge_again(connection, ops, left, batch)
        lost = await write(connection, batch)
        if lost:
            judged |= await self._judge_again(connection, ops, lost, batch)
            for position in await write(connection, batch):
                judged[position] = rejected(RejectCode.ALREADY_CLAIMED, "The transfer was claimed by another call.")
        for position, outcome in judged.items():
            if isinstance(outcome, VerifyResponse) and outcome.valid:
                replays.keep(ops[position], outcome)
        await replays.save(connection)
        await _keep_traces(connection, ops, judged, batch.now)
        outcomes |= judged
        for position, first in repeats.items():
            if position not in outcomes:
                outcomes[position] = answer_twin(ops[position], ops[first], outcomes[first])
        return [outcomes[position] for position in range(len(ops))]

    async def _read(self, connection: Transaction, ops: Sequence[Claim], batch: Batch) -> None:
        tags = {op.tag for op in ops if op.tag}
        if not tags:
            return
        batch.invoices = {row.tag: row for row in await connection.fetch(_INVOICES, tags=tags)}
        batch.wanted = self._transactions(ops, batch)
        for row in (await lock_transfers(connection, batch.wanted)).values():
            batch.transfers.setdefault((row.network, row.tx), []).append(row)
        sought = {row.session_id for row in batch.invoices.values() if row.session_id}
        if sought:
            batch.sessions = await lock_sessions(connection, sought)

    async def _judge_again(
        self, connection: Transaction, ops: Sequence[Claim], positions: Sequence[int], batch: Batch
    ) -> dict[int, Outcome]:
        """Judge with the knowledge of what is paid."""
        ids = [row.id for row in batch.invoices.values()]
        for found in (
            await connection.fetch(_PAID_BY, **transaction_keys(batch.wanted)),
            await connection.fetch(_PAID_FOR, ids=ids),
        ):
            for row in found:
                batch.taken.add((row.network, row.tx, row.idx))
                batch.paid[row.invoice_id] = row
        sought = {row.session_id for row in batch.paid.values()} - set(batch.sessions)
        if sought:
            batch.sessions |= await lock_sessions(connection, sought)
        batch.forget_writes()
        return {position: self._judge(position, ops[position], batch) for position in positions}

    def _transactions(self, ops: Sequence[Claim], batch: Batch) -> set[tuple[str, str]]:
        wanted = set()
        for op in ops:
            proof = op.request.proof
            invoice = batch.invoices.get(op.tag or "")
            if invoice is not None and proof.tx:
                try:
                    wanted.add((invoice.network, self._chains[invoice.network].normalize_tx(proof.tx)))
                except InvalidRequestError:
                    continue  # refused when it is judged
        return wanted

    def _judge(self, position: int, op: Claim, batch: Batch) -> Outcome:
        request, proof = op.request, op.request.proof
        if op.tag is None or not proof.tx:
            return rejected(RejectCode.MALFORMED_PROOF, "The proof needs a reference and a transaction id.")
        invoice = batch.invoices.get(op.tag)
        if invoice is None or invoice.tenant != op.tenant or invoice.network not in self._chains:
            return rejected(RejectCode.UNKNOWN_INVOICE, "No invoice has this reference.")
        if request.resource_id is not None and request.resource_id != invoice.resource_id:
            return rejected(RejectCode.RESOURCE_MISMATCH, f"The invoice is for the resource '{invoice.resource_id}'.")
        if request.session_id is not None and request.session_id != invoice.session_id:
            return rejected(RejectCode.RESOURCE_MISMATCH, "The invoice is not a top-up of this session.")
        chain = self._chains[invoice.network]
        try:
            tx = chain.normalize_tx(proof.tx)
            claimed_sender = chain.normalize_address(proof.sender) if proof.sender else None
        except InvalidRequestError as error:
            return rejected(RejectCode.MALFORMED_PROOF, error.message)
        if (paid := batch.paid.get(invoice.id)) is not None:
            return self._repeat(op, paid, tx, invoice, batch)
        if invoice.id in batch.paying:
            return rejected(RejectCode.ALREADY_CLAIMED, "The invoice is paid by another call.")
        return self._bind(position, op, invoice, chain, tx, claimed_sender, batch)

    def _repeat(self, op: Claim, paid: Any, tx: str, invoice: Any, batch: Batch) -> VerifyResponse:
        """A proof for a paid invoice: a replay, unless a stock server repeats a call whose answer it never got."""
        session = batch.sessions.get(paid.session_id)
        if (
            session is not None
            and paid.tx == tx
            and op.request.server_id is None
            and not session.answered
            and session.state == SessionState.LIVE
            and batch.now - session.opened_at >= RETRY_AFTER_MS
            and session.id not in batch.repeated  # once: repeats that race must not open two sockets
        ):
            batch.repeated.add(session.id)
            return _accepted(session.id, paid.amount, paid.payer, invoice)
        return rejected(RejectCode.ALREADY_CLAIMED, "The invoice is paid, and its session was opened.")

    def _bind(
        self, position: int, op: Claim, invoice: Any, chain: Chain, tx: str, sender: str | None, batch: Batch
    ) -> Outcome:
        found = [row for row in batch.transfers.get((invoice.network, tx), ()) if row.state != TransferState.ORPHANED]
        if not found:
            return Missing(invoice.network, tx, invoice.recipient, invoice.amount)
        usable = [row for row in found if row.asset == invoice.asset and row.recipient == invoice.recipient]
        if not usable:
            return rejected(RejectCode.WRONG_ASSET, f"The transaction does not pay in {invoice.asset}.")
        free = [
            row for row in usable if row.state == TransferState.SEEN and batch.is_free((row.network, row.tx, row.idx))
        ]
        if not free:
            return rejected(RejectCode.ALREADY_CLAIMED, "The transfer has paid for something already.")
        claim_token = op.request.claim_token
        terms = Terms(
            kinds=self._settings.bindings if op.collected is None else ("tag",),
            invoice_id=invoice.id,
            tag=invoice.tag,
            public=chain.reference_is_public,
            amount=invoice.amount,
            created_at=invoice.created_at,
            expires_at=invoice.expires_at,
            claimed=claim_token is not None and invoice.claim_hash == digest(claim_token),
            sender=sender,
            signer=op.signer,
        )
        judged = [(row, bind(terms, row)) for row in free]
        row, verdict = next((each for each in judged if isinstance(each[1], Binding)), judged[0])
        unsure = not isinstance(verdict, Binding) or verdict is Binding.LEGACY
        if unsure and op.request.payer_signature and op.signer is None and "signature" in self._settings.bindings:
            return Missing(invoice.network, tx, invoice.recipient, row.amount, sender=row.sender)
        if not isinstance(verdict, Binding):
            self._make_refundable(verdict.bound, row, invoice, batch, wanted=verdict.stray)
            return rejected(verdict.code, verdict.reason)
        op.block_time, op.confirmations = row.block_time, chain.confirmations(row.asset, row.amount) or 1
        if not self._deep(row, chain):
            height = self._heads.get(row.network, 0)
            return Missing(invoice.network, tx, invoice.recipient, row.amount, pending=True, height=height)
        if not op.agreed and row.amount > self._agree_above.get((row.network, row.asset), MAX_AMOUNT):
            return Missing(invoice.network, tx, invoice.recipient, row.amount, agree=True)
        return self._open(position, op, invoice, row, verdict, batch)

    def _deep(self, row: Any, chain: Chain) -> bool:
        """Whether a transfer has the confirmations that its value needs."""
        needed = chain.confirmations(row.asset, row.amount)
        if needed is None:
            return bool(row.block <= self._finals.get(row.network, -1))
        return bool(self._heads.get(row.network, 0) - row.block + 1 >= needed)

    def _make_refundable(self, bound: bool, row: Any, invoice: Any, batch: Batch, *, wanted: bool = True) -> None:
        """Money that opens no session goes back: at once if it names this invoice, else when nobody can claim it.

        Somebody who sends crumbs to one invoice gets them back later: each refund costs us look-ups and a place.
        """
        returned = invoice.returned + batch.returned.get(invoice.id, 0)
        if bound and returned < RETURNED_AT_ONCE:
            batch.refunds.append(row)
            batch.taking.add((row.network, row.tx, row.idx))
            batch.returned[invoice.id] = batch.returned.get(invoice.id, 0) + 1
        elif bound or wanted:
            at = row.block_time + 2 * self._settings.invoice_seconds * 1000
            batch.refund_at.append({"b_network": row.network, "b_tx": row.tx, "b_idx": row.idx, "refund_at": at})

    def _open(self, position: int, op: Claim, invoice: Any, row: Any, binding: Binding, batch: Batch) -> VerifyResponse:
        if invoice.session_id is not None:
            session = batch.sessions.get(invoice.session_id)
            if session is None or session.state not in GOING_ON:
                self._make_refundable(True, row, invoice, batch)
                return rejected(RejectCode.SESSION_ENDED, "The session has ended; the payment is refunded.")
            if session.payer != row.sender:
                self._make_refundable(True, row, invoice, batch)
                return rejected(
                    RejectCode.SENDER_MISMATCH, "Another account pays for this session; the payment is refunded."
                )
            session_id, token = session.id, None
        else:
            session_id, token = new_id("ses"), new_token() if op.request.server_id is not None else None
            batch.opened[session_id] = {
                "id": session_id,
                "tenant": op.tenant,
                "network": row.network,
                "asset": row.asset,
                "payer": row.sender,
                "resource_id": invoice.resource_id,
                "price_per_second": invoice.price_per_second,
                "price": invoice.price,
                "paid": row.amount,
                "consumed": 0,
                "refunded": 0,
                "state": (SessionState.LIVE if op.collected is None else SessionState.RELEASED).value,
                "metered": op.request.server_id is not None or op.collected is not None,
                "server_id": op.request.server_id,
                "epoch": 0,
                "resume_hash": digest(token) if token else None,
                "answered": op.request.server_id is not None or op.collected is not None,
                "source_block": row.block,
                "opened_at": batch.now,
            }
        batch.taking.add((row.network, row.tx, row.idx))
        batch.paying.add(invoice.id)
        payment = {
            "id": new_id("pay"),
            "network": row.network,
            "tx": row.tx,
            "idx": row.idx,
            "invoice_id": invoice.id,
            "session_id": session_id,
            "payer": row.sender,
            "amount": row.amount,
            "binding": binding.value,
            "created_at": batch.now,
        }
        batch.payments.append((position, payment, row))
        return _accepted(session_id, row.amount, row.sender, invoice, token)


async def _keep_traces(
    connection: Transaction, ops: Sequence[Claim], judged: Mapping[int, Outcome | WS402Error], now: int
) -> None:
    """Remember the traces of sessions that were opened in one."""
    rows = [
        {"session_id": answer.session_id, "traceparent": span.traceparent, "created_at": now}
        for position, answer in judged.items()
        if (span := ops[position].span) is not None and isinstance(answer, VerifyResponse) and answer.session_id
    ]
    if rows:
        await insert_new(connection, traces, rows, key="session_id")


def _accepted(session_id: str, amount: int, payer: str, invoice: Any, token: str | None = None) -> VerifyResponse:
    price = None if invoice.price_per_second is None else price_of(invoice)
    return VerifyResponse(
        valid=True,
        amount=wire_amount(amount),
        session_id=session_id,
        payer=payer,
        network=invoice.network,
        asset=invoice.asset,
        resource_id=invoice.resource_id,
        price_per_second=None if price is None else wire_amount(price.per_second),
        price=None if price is None or price.whole else price_terms(price),
        resume_token=token,
        epoch=0 if token else None,
    )
