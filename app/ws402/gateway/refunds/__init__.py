"""Refunds: from a debt in the ledger to money that arrived, exactly once.

A refund's way: `waiting` (its payment is not final yet) → `due` → `in_flight` (signed and stored, then sent) →
`confirmed` (in a block) → `final`. Aside: `credit` (too small to send alone), `held` (an operator must look),
`resolved` (an operator paid otherwise), `void` (its payment vanished). Several refunds to one payer travel in one
delivery; a delivery has one nonce and one or more signed attempts, of which the chain takes at most one.
"""

from ws402.gateway.refunds.engine import RefundEngine
from ws402.gateway.refunds.operator import Operator
from ws402.gateway.refunds.policy import Policy

__all__ = ["Operator", "Policy", "RefundEngine"]
