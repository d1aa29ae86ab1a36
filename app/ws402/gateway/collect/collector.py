"""Collects what payers signed: registers it, has it sent, waits for what the chain shows, and opens its session.

A node's answer decides nothing: neither that a transaction was taken, nor that it reverted, nor that the authorization
was used. A session opens when the chain shows the payer's transfer, whoever brought it there.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from ws402.chains.base import Chain, ChainUnavailableError
from ws402.chains.collecting import AuthorizationRefusedError, Authorizations
from ws402.errors import ConfigurationError, ConflictError
from ws402.gateway.collect.challenges import Challenges
from ws402.gateway.collect.judge import Judge, Signed, check_times
from ws402.gateway.collect.register import UNDECIDED, Register, Registration
from ws402.gateway.collect.sending import CollectWorker, authorization_of
from ws402.gateway.intake.claims import Claim, Missing
from ws402.gateway.intake.verification import Verifier
from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.states import AuthorizationState
from ws402.gateway.refunds.key_context import KeyContext
from ws402.gateway.refunds.lease import Lease
from ws402.gateway.refunds.policy import Policy, policies
from ws402.jobs import Job
from ws402.keys.base import Signer
from ws402.protocol import (
    TRANSIENT_REJECTS,
    CollectRequest,
    CollectResponse,
    Proof,
    RejectCode,
    TermsResponse,
    VerifyRequest,
    VerifyResponse,
)
from ws402.settings import GatewaySettings

log = logging.getLogger(__name__)

ANSWER_SECONDS: Final = 3.5
"""How long a payer waits at most before he is told that it is not known yet: his client may give up after 5 s."""

FOLLOW_SECONDS: Final = 1.0
"""How often transfers that nobody waits for any more are looked after."""

LEFT_MS: Final = 5_000
"""A transfer that is older than this is looked after in the background, too."""

LOOK_SECONDS: Final = 5.0
"""How often the chain is asked for one of these."""

LATE_SECONDS: Final = 60
"""How long after its end by the chain's clock a transfer counts as expired: a reorg may bring earlier blocks."""

GRACE_MS: Final = 3_600_000
"""The invoice of a transfer outlives it by this much."""

OLD_BLOCKS: Final = 900
"""How far back a transfer is looked for that was on the chain before it was shown: half an hour on Base."""

FOLLOWED: Final = 200
"""Transfers that are looked after in one turn."""


class Collector:
    """The collecting of one gateway. `signers`: the collector's key of each network that has one."""

    def __init__(
        self,
        settings: GatewaySettings,
        database: Database,
        chains: Mapping[str, Chain],
        signers: Mapping[str, Signer],
        verifier: Verifier,
        holder: str,
    ) -> None:
        """`holder` names this process in the ledger."""
        self._settings = settings
        self._database = database
        self._chains = chains
        self._signers = signers
        self._verifier = verifier
        self._judge = Judge(settings, chains, signers)
        self._register = Register(database)
        self._challenges = Challenges(database)
        self._news = asyncio.Event()
        self._looked: dict[str, float] = {}
        self._follow = Job("collect follow", self.follow, FOLLOW_SECONDS)
        rules = policies(settings, chains)
        self.workers: dict[str, CollectWorker] = {}
        self.answers: Counter[tuple[str, str]] = Counter()
        """How often who showed a transfer was told what, by network and state."""
        for network, signer in signers.items():
            collecting = self._judge.rules(network)
            if collecting is not None and collecting.domains:
                context = self._context(network, signer, rules.get(network, Policy()), holder)
                seconds = settings.refund_interval_seconds
                self.workers[network] = CollectWorker(context, collecting, seconds, self._signed)

    def _context(self, network: str, signer: Signer, policy: Policy, holder: str) -> KeyContext:
        chain = self._chains[network]
        address = chain.address_of(signer)
        lease = Lease(self._database, network, address, holder, self._settings.refund_lease_seconds)
        return KeyContext(
            database=self._database, chain=chain, signer=signer, address=address, lease=lease, policy=policy
        )

    # --- Life --------------------------------------------------------------------------------------------------------

    async def join(self, network: str) -> None:
        """Collect on a network that is there. Raises ConfigurationError when a token signs in another domain."""
        worker = self.workers.get(network)
        if worker is not None:
            await self._rules(network).check_domains()
            worker.job.start()

    def start(self) -> None:
        """Look after what was left, also by others."""
        if self.workers:
            self._follow.start()

    async def close(self) -> None:
        """Stop; what is under way goes on at the next start, here or in another process."""
        await self._follow.close()
        for worker in self.workers.values():
            await worker.close()

    def check(self) -> None:
        """Readiness: raise JobDeadError when transfers are not worked on any more."""
        self._follow.check()
        for worker in self.workers.values():
            worker.job.check()

    def _rules(self, network: str) -> Authorizations:
        rules = self._judge.rules(network)
        if rules is None:
            raise ConfigurationError(f"Nothing is collected on {network}.")
        return rules

    def _signed(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    # --- Asking ------------------------------------------------------------------------------------------------------

    async def terms(self, tenant: str) -> TermsResponse:
        """What can be collected for a tenant."""
        tokens = [each for each in self._judge.terms() if each.network in self.workers]
        default = self._settings.default_network or next(iter(self._chains))
        return TermsResponse(
            tokens=tokens,
            default_network=default,
            default_asset=self._settings.default_asset,
            attach_seconds=self._settings.resume_seconds,
            challenge_secrets=await self._challenges.secrets(tenant) if tokens else (),
        )

    async def collect(self, tenant: str, request: CollectRequest) -> CollectResponse:
        """Collect a transfer and open its session; see `PaymentCalls.collect`."""
        answer = await self._collect(tenant, request)
        if request.network in self.workers:
            self.answers[request.network, answer.state] += 1
        return answer

    async def _collect(self, tenant: str, request: CollectRequest) -> CollectResponse:
        deadline = asyncio.get_running_loop().time() + ANSWER_SECONDS
        try:
            signed = self._judge.read(request)
            row, mine = await self._registered(tenant, signed)
        except AuthorizationRefusedError as error:
            return CollectResponse(state="refused", reason=error.reason, message=error.message)
        return await self._wait(tenant, signed, row, deadline, may_take=mine or request.secret is not None)

    async def _registered(self, tenant: str, signed: Signed) -> tuple[Any, bool]:
        """The transfer's row, and whether this call made it.

        Raises AuthorizationRefusedError, ConflictError when it was shown for something else.
        """
        authorization, network = signed.authorization, signed.chain.network
        digest = f"{tenant} {signed.payload_hash}"
        row = await self._register.find(network, authorization)
        if row is None:
            try:
                since = await self._check_chain(signed)
            except AuthorizationRefusedError:
                # Another call may have had it collected since we looked.
                row = await self._register.find(network, authorization)
                if row is None:
                    raise
            else:
                row, made = await self._add(tenant, signed, digest, since)
                if made:
                    self.workers[network].job.wake()
                    return row, True
        if row.payload_hash != digest:
            raise ConflictError(
                "This payment was shown for something else, or by somebody else.",
                remedy="Sign a new one.",
                code="payment_used",
            )
        return row, False

    async def _add(self, tenant: str, signed: Signed, digest: str, since: int) -> tuple[Any, bool]:
        new = Registration(
            tenant=tenant,
            network=signed.chain.network,
            authorization=signed.authorization,
            tag=signed.tag,
            payload_hash=digest,
            price=signed.price,
            request=signed.request,
            since_block=since,
            expires_at=signed.authorization.valid_before * 1000 + GRACE_MS,
        )
        return await self._register.add(new)

    async def _check_chain(self, signed: Signed) -> int:
        """Whether the chain takes the transfer, or has it. The block from which on to look for it."""
        rules, chain, authorization = self._rules(signed.chain.network), signed.chain, signed.authorization
        if await self._register.is_invoice(authorization.nonce):
            raise AuthorizationRefusedError(
                "The nonce names an invoice: show the transaction as the proof of that.",
                reason="invalid_transaction_state",
            )
        head = await chain.head()
        try:
            check_times(authorization, head)
            await rules.simulate(authorization)
        except AuthorizationRefusedError:
            since = max(0, head.block - OLD_BLOCKS)
            if await rules.used(authorization) and await rules.find(authorization, since) is not None:
                return since
            raise
        return head.block

    # --- Waiting -----------------------------------------------------------------------------------------------------

    async def _wait(self, tenant: str, signed: Signed, row: Any, deadline: float, *, may_take: bool) -> CollectResponse:
        loop = asyncio.get_running_loop()
        tx: str | None = None
        while True:
            news, left = self._news, deadline - loop.time()
            # In this order: what is marked as landed has paid for a session by then.
            row = await self._register.find(signed.chain.network, signed.authorization)
            answer = await self._register.attach(row, signed.request, may_take=may_take)
            if answer is not None:
                await self._register.finish(row.id, AuthorizationState.LANDED, answer.tx)
                return answer
            if row.state not in UNDECIDED:  # it expired, or paid for something else
                tx = row.tx or tx
                return CollectResponse(state="failed", reason="invalid_transaction_state", tx=tx, payer=row.payer)
            txs = (await self._register.attempts([row.id]))[row.id]
            tx = txs[0] if txs else tx
            if left <= 0:
                return CollectResponse(state="pending", reason="settlement_pending", tx=tx, payer=row.payer)
            if tx is None and row.since_block < self._verifier.height(row.network):
                tx = await self._elsewhere(row)
            if tx is None:
                await _either(news, min(left, 0.25))
                continue
            judged = await self._claim(tenant, signed.tag, row, tx, seconds=left)
            if not judged.valid and judged.code != RejectCode.ALREADY_CLAIMED:
                # It reverted, or was replaced: somebody else may have brought it.
                other = await self._elsewhere(row)
                if other is not None and other != tx:
                    judged = await self._claim(tenant, signed.tag, row, other, seconds=max(0.0, deadline - loop.time()))
            if not judged.valid:
                await _either(news, min(0.1, max(0.0, deadline - loop.time())))

    async def _claim(self, tenant: str, tag: str, row: Any, tx: str, *, seconds: float) -> VerifyResponse:
        claim = Claim(tenant, None, VerifyRequest(proof=Proof(tx_hash=tx, sender_address=row.payer)), collected=tag)
        return await self._verifier.verify(claim, seconds=seconds)

    async def _elsewhere(self, row: Any) -> str | None:
        """The transaction that used it, whoever sent it, as far as the chain can be asked."""
        rules, authorization = self._rules(row.network), authorization_of(row)
        try:
            return await rules.find(authorization, row.since_block) if await rules.used(authorization) else None
        except ChainUnavailableError as error:
            log.warning("%s: %s", row.network, error)
            return None

    # --- What nobody waits for ---------------------------------------------------------------------------------------

    async def follow(self) -> None:
        """Open the sessions of transfers that have landed since, and give up what can land no more."""
        before = self._database.now_ms() - LEFT_MS
        rows = await self._register.undecided(list(self.workers), before, FOLLOWED)
        txs = await self._register.attempts([row.id for row in rows]) if rows else {}
        self._looked = {row.id: self._looked[row.id] for row in rows if row.id in self._looked}
        for row in rows:
            try:
                if not any([await self._landed(row, tx) for tx in txs[row.id]]):
                    await self._look(row)
            except ChainUnavailableError as error:
                # What cannot be told of one says nothing about the others: another network's, or younger ones.
                log.warning("%s: of the transfer %s nothing can be told now: %s", row.network, row.nonce, error)

    async def _landed(self, row: Any, tx: str) -> bool:
        """Whether the ledger has its transfer; then its session is open."""
        proof = Proof(tx_hash=tx, sender_address=row.payer)
        claim = Claim(row.tenant, None, VerifyRequest(proof=proof), collected=row.tag)
        outcome = await self._verifier.submit(claim)
        if isinstance(outcome, Missing) or (not outcome.valid and outcome.code in TRANSIENT_REJECTS):
            return False
        if not outcome.valid and outcome.code != RejectCode.ALREADY_CLAIMED:
            log.warning("%s paid for no session: %s", tx, outcome.reason)
        await self._register.finish(row.id, AuthorizationState.LANDED, tx)
        return True

    async def _look(self, row: Any) -> None:
        """Ask the chain, now and then, whether somebody else brought it, or it has expired."""
        now = time.monotonic()
        if now - self._looked.get(row.id, 0.0) < LOOK_SECONDS:
            return
        self._looked[row.id] = now
        chain, rules = self._chains[row.network], self._rules(row.network)
        authorization, head = authorization_of(row), await chain.head()
        # One question for a transfer that nobody used: its events may be a day old by now, and long to look through.
        tx = await rules.find(authorization, row.since_block) if await rules.used(authorization) else None
        if tx is not None:
            await self._claim(row.tenant, row.tag, row, tx, seconds=0)
            await self._landed(row, tx)
        elif head.block_time // 1000 > row.valid_before + LATE_SECONDS:
            await self._register.finish(row.id, AuthorizationState.EXPIRED)
            log.info("%s: the transfer %s of %s has expired unused", row.network, row.nonce, row.payer)


async def _either(news: asyncio.Event, seconds: float) -> None:
    """Until something was signed, or so long."""
    try:
        async with asyncio.timeout(seconds):
            await news.wait()
    except TimeoutError:
        return
