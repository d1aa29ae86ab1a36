"""The OpenAPI 3.1 document of the gateway's API, from the wire's own types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from ws402.gateway.api.admin_messages import (
    AuditResponse,
    CapitalCommand,
    Done,
    EndpointCommand,
    KeyCommand,
    NewKey,
    NewKeyCommand,
    ReconcileCommand,
    ReconcileResponse,
    RefundCommand,
    ReleaseCommand,
    ReplayCommand,
    RevokeCommand,
    UnclaimedCommand,
)
from ws402.protocol import (
    BatchRequest,
    BlockhashResponse,
    GenerateRequest,
    HealthResponse,
    Message,
    OpError,
    PaymentDetails,
    RefundRequest,
    RefundResponse,
    StatsResponse,
    VerifyRequest,
    VerifyResponse,
    openapi,
)
from ws402.protocol.openapi import Operation


class OpResult(Message, kw_only=True):
    """The answer to one operation: its response (`ok`), or an error."""

    ok: Any = None  # on the wire it is raw JSON, which has no schema
    error: OpError | None = None


class BatchResponse(Message, kw_only=True):
    """Answers in the order of the operations."""

    results: list[OpResult]


_POST: Final = (400, 401, 403, 413, 415, 429, 500, 503)
_GET: Final = (401, 403, 429, 500, 503)

_ONE: Final = ("refund", "authorization", "event", "find")
"""What asks for one thing, which may not be there."""

_SEARCH: Final = "network, payer, tx, resource, since, until, before, limit"

OPERATIONS: Final = (
    Operation("/api/payment/generate", "Make an invoice", GenerateRequest, PaymentDetails, refusals=_POST),
    Operation(
        "/api/payment/verify", "Open a session by a payment proof", VerifyRequest, VerifyResponse, refusals=_POST
    ),
    Operation(
        "/api/payment/refund",
        "End a session and refund what was not used",
        RefundRequest,
        RefundResponse,
        refusals=(*_POST, 404, 409),
    ),
    Operation("/api/ops", "Several operations, each answered on its own", BatchRequest, BatchResponse, refusals=_POST),
    Operation("/api/stats", "Figures since the start", answer=StatsResponse, refusals=_GET),
    Operation(
        "/api/blockhash", "A recent blockhash of Solana (network)", answer=BlockhashResponse, refusals=(*_GET, 501)
    ),
    *(
        Operation(
            f"/api/admin/{name}",
            summary,
            answer=answer,
            scope="admin",
            refusals=(*_GET, 404) if name in _ONE else _GET,
        )
        for name, summary, answer in (
            ("pending", "Open invoices and unfinished refunds", None),
            ("audit", "Books against chains", AuditResponse),
            ("audit-log", "A part of the audit log, verified (after, expect)", None),
            ("audit-log/records", "Records of the audit log (kind, before, limit)", None),
            ("status", "Networks, keys, and counts of sessions and refunds", None),
            ("money", "What today brought and what the accounts hold, by asset", None),
            ("sessions", f"Sessions (state, {_SEARCH})", None),
            ("payments", f"Payments ({_SEARCH})", None),
            ("invoices", f"Invoices that can still be paid ({_SEARCH})", None),
            ("refunds", f"Refunds (state, {_SEARCH})", None),
            ("refund", "One refund with its delivery and ledger entries (id)", None),
            ("authorizations", "Signed transfers that are collected (state, limit)", None),
            ("authorization", "One signed transfer with its session and transactions (id)", None),
            ("find", "The cases of a payer, transaction, session or invoice", None),
            ("balances", "What the ledger's accounts held at a time", None),
            ("entries", "The ledger's entries", None),
            ("credits", "Debts too small to send yet, by asset", None),
            ("signers", "Signing keys: nonces, leases, pauses", None),
            ("keys", "API keys in the ledger, without their hashes", None),
            ("unclaimed", f"Money that pays for no session ({_SEARCH})", None),
            ("events", "Events, and how far each is at its endpoints (type, state, endpoint, subject, limit)", None),
            ("event", "One event, with its body (id)", None),
            ("events/endpoints", "Webhooks, and how they stand", None),
        )
    ),
    *(
        Operation(
            f"/api/admin/{name}", summary, request, answer, scope="admin", refusals=tuple(sorted((*_POST, 404, 409)))
        )
        for name, summary, request, answer in (
            ("unclaimed/refund", "Send a stray transaction's money back", UnclaimedCommand, Done),
            ("refunds/change", "Hold, release, resolve or retry a refund", RefundCommand, Done),
            ("refunds/release", "Release all held refunds, or all credit, of an asset", ReleaseCommand, Done),
            ("signers/switch", "Pause or resume signing keys", KeyCommand, Done),
            (
                "reconcile",
                "Bring a restored ledger up to what its keys have sent since",
                ReconcileCommand,
                ReconcileResponse,
            ),
            ("capital", "Book money that the operator put in or took out", CapitalCommand, Done),
            ("keys/add", "Make an API key", NewKeyCommand, NewKey),
            ("keys/revoke", "End an API key", RevokeCommand, Done),
            ("events/replay", "Send events again", ReplayCommand, Done),
            ("events/enable", "Send to a disabled webhook again", EndpointCommand, Done),
        )
    ),
    Operation("/api/health", "Whether the gateway answers", answer=HealthResponse, scope=None),
    Operation("/health/live", "Liveness: the process answers", answer=HealthResponse, scope=None),
    Operation(
        "/health/startup", "Startup: the gateway has caught up", answer=HealthResponse, scope=None, refusals=(503,)
    ),
    Operation(
        "/health/ready",
        "Readiness: database and chains answer",
        answer=HealthResponse,
        scope=None,
        refusals=(503,),
    ),
)


def document(queries: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
    """Build it. `queries`: by path, the Struct of a query string's fields."""
    operations = [replace(each, query=queries.get(each.path)) for each in OPERATIONS]
    return openapi.document("WS402 gateway", openapi.AMOUNTS, operations, key="A gateway API key.")
