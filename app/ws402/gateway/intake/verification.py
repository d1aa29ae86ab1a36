"""Verification: a proof is checked against the ledger; the chain is asked only for what the ledger does not know."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Mapping
from typing import Final

from ws402.chains.base import Chain, ChainUnavailableError, TxState
from ws402.gateway.intake.claims import Claim, Claims, Missing, Outcome, rejected
from ws402.gateway.intake.lookups import LookUps, Sought
from ws402.gateway.ledger.batching import Batcher
from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.ids import digest
from ws402.gateway.watch.watcher import Watcher
from ws402.observability import metrics, tracing
from ws402.protocol import RejectCode, VerifyResponse, payer_message
from ws402.settings import GatewaySettings

log = logging.getLogger(__name__)


class Verifier:
    """Verifies proofs, waiting for their transfers to show and confirm."""

    def __init__(
        self, settings: GatewaySettings, database: Database, chains: Mapping[str, Chain], watcher: Watcher
    ) -> None:
        self._settings = settings
        self._chains = chains
        self._watcher = watcher
        self._lookups = LookUps(database, chains, watcher)
        self._claims: Batcher[Claim, Outcome] = Batcher(
            "claim", Claims(settings, database, chains, watcher.heads, watcher.finals).claim
        )
        self.verified_by: Counter[tuple[str, str]] = Counter()
        """Proofs accepted, by network and asset."""
        self.rejected: Counter[str] = Counter()
        self.volume: Counter[tuple[str, str]] = Counter()

    @property
    def verified(self) -> int:
        """Proofs accepted."""
        return self.verified_by.total()

    def height(self, network: str) -> int:
        """The newest block that the watcher has seen there; -1 before the first."""
        return self._watcher.heads.get(network, -1)

    @property
    def batcher(self) -> Batcher[Claim, Outcome]:
        """The claims that are queued, for metrics."""
        return self._claims

    async def close(self) -> None:
        """Ask the chain no more for what proofs wait for; the claims that are queued are `batcher`'s."""
        await self._lookups.close()

    def submit(self, claim: Claim) -> asyncio.Future[Outcome]:
        """Check a proof against the ledger as it is, without asking the chain."""
        return self._claims.submit(claim)

    async def verify(self, claim: Claim, *, seconds: float | None = None) -> VerifyResponse:
        """Check a proof, waiting up to so many seconds for its transfer; `verify_wait_seconds` by default."""
        arrived = time.time()
        claim.span = tracing.current()
        response = await self.submit(claim)
        if isinstance(response, Missing):
            response = await self._wait(
                claim, response, self._settings.verify_wait_seconds if seconds is None else seconds
            )
        self.count(response)
        if response.valid:
            self._time(claim, response.network or "", arrived)
        return response

    def _time(self, claim: Claim, network: str, arrived: float) -> None:
        """Note how long an acceptance took since it was possible: what the payer waits for the chain is not ours."""
        blocks = (claim.confirmations - 1) * self._watcher.block_ms.get(network, 0.0)
        possible = max(arrived, (claim.block_time + blocks) / 1000)
        metrics.PAYMENT_OPEN_SECONDS.of(network).observe(
            max(0.0, time.time() - possible), claim.span.trace_id if claim.span is not None else None
        )

    def count(self, response: VerifyResponse) -> None:
        """Count an answer."""
        if response.valid:
            key = (response.network or "", response.asset or "")
            self.verified_by[key] += 1
            self.volume[key] += int(response.amount)
        else:
            self.rejected[response.code or ""] += 1

    async def _wait(self, claim: Claim, outcome: Outcome, seconds: float) -> VerifyResponse:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        recorded = False
        while isinstance(outcome, Missing):
            refusal: VerifyResponse | None = None
            if outcome.plain and recorded:
                return rejected(RejectCode.TRANSFER_TOO_OLD, "The transfer is older than this gateway's ledger.")
            if outcome.sender is not None:
                refusal = await self._check_signature(claim, outcome, deadline)
            elif outcome.pending:
                if not await self._watcher.newer(outcome.network, outcome.height, max(deadline - loop.time(), 0)):
                    refusal = _UNCONFIRMED
            else:
                refusal = await self._look_up(claim, outcome, deadline)
                recorded = refusal is None
            if refusal is not None:
                return refusal
            outcome = await self.submit(claim)
        return outcome

    async def _check_signature(self, claim: Claim, need: Missing, deadline: float) -> VerifyResponse | None:
        request = claim.request
        assert need.sender and request.proof.reference and request.payer_signature  # noqa: S101,PT018 - the ledger asked
        message = payer_message(
            reference=request.proof.reference, network=need.network, tx=need.tx, recipient=need.recipient
        )
        self._lookups.spend(_invoice(claim), digest(f"{need.tx} {request.payer_signature}"))
        chain, loop = self._chains[need.network], asyncio.get_running_loop()
        while True:
            try:
                good = await chain.check_signature(need.sender, message, request.payer_signature)
                break
            except ChainUnavailableError as error:
                log.warning("verify cannot ask %s: %s", need.network, error)
                if loop.time() >= deadline:
                    return _UNAVAILABLE
                await asyncio.sleep(min(1.0, deadline - loop.time()))
        if good:
            claim.signer = need.sender
            return None
        return rejected(RejectCode.BINDING_INVALID, "The signature is not the payer's over this proof.")

    async def _look_up(self, claim: Claim, need: Missing, deadline: float) -> VerifyResponse | None:
        """Wait until the transfer is recorded; a refusal when it is not, or is hopeless."""
        if need.plain:
            self._lookups.spend(_invoice(claim), need.tx)
        try:
            found = await self._lookups.wait(Sought(need.network, need.tx, need.amount, need.agree), deadline)
        except TimeoutError:
            return _NOT_FOUND
        except ChainUnavailableError as error:
            log.warning("verify cannot ask %s: %s", need.network, error)
            return _UNAVAILABLE
        if found is None:
            return None
        if found.state is TxState.FAILED:
            return rejected(RejectCode.TRANSFER_FAILED, "The transaction failed on the chain and moved nothing.")
        if found.transfers:
            claim.agreed = claim.agreed or need.agree
            return None
        if "asset" in found.other:
            return rejected(RejectCode.WRONG_ASSET, "The transaction pays in something that is not accepted.")
        return rejected(RejectCode.WRONG_RECIPIENT, f"The transaction pays nothing to {need.recipient}.")


def _invoice(claim: Claim) -> str:
    return claim.tag or ""


_NOT_FOUND: Final = rejected(
    RejectCode.TRANSFER_NOT_FOUND, "The transaction is not on the chain yet; send the proof again."
)
_UNCONFIRMED: Final = rejected(
    RejectCode.TRANSFER_UNCONFIRMED, "The transfer needs more confirmations; send the proof again."
)
_UNAVAILABLE: Final = rejected(RejectCode.CHAIN_UNAVAILABLE, "The chain cannot be asked now; send the proof again.")
