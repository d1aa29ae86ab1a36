"""x402 and MPP over plain HTTP: the offer in a 402, and the answer to whoever pays.

Nothing is served before the chain shows the payment, and nobody is asked to pay again while it is not known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import quote

import msgspec

from ws402.errors import CALLER_REFUSED, ConflictError, UnavailableError, WS402Error
from ws402.limits import PerMinute
from ws402.money import wire_amount
from ws402.observability import metrics
from ws402.protocol import CollectRequest, CollectResponse, price_terms
from ws402.server.addresses import group, query_value
from ws402.server.resources.base import Resource, Scope, Send
from ws402.server.sessions.service import Sessions
from ws402.server.sockets.handshake import error_body
from ws402.server.web.answers import error_headers, send_json
from ws402.server.web.callers import base_url, client_address
from ws402.server.web.mpp_wire import CHALLENGE, RECEIPT, Credential, challenge, credential_of, is_ours
from ws402.server.web.mpp_wire import receipt as mpp_receipt
from ws402.server.web.offers import Offer, offers, required
from ws402.server.web.x402_wire import (
    PAYMENT_REQUIRED,
    PAYMENT_RESPONSE,
    PAYMENT_RESPONSE_V1,
    MalformedPaymentError,
    Payment,
    encode,
    payment_of,
)

SESSIONS: Final = "/ws402/sessions"

PENDING_SECONDS: Final = 2
"""When to show a payment again of which it is not known yet whether it came."""

MAX_DURATION: Final = 31_536_000


class PaymentRequiredError(WS402Error):
    """The resource has a price."""

    code = "payment_required"
    status = 402


class SettlementPendingError(UnavailableError):
    """It is not known yet whether the payment came."""

    code = "settlement_pending"


Shown = Payment | Credential
"""A payment, of x402 or MPP."""


class Bought(NamedTuple):
    """What was paid for, what that opened, and the headers that say so."""

    offer: Offer
    answer: CollectResponse
    receipt: dict[str, str]


class PaidRequests:
    """Offers, and what becomes of payments."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._settings = sessions.settings
        self._refused = PerMinute(sessions.settings.refused_proofs_per_minute)

    def offers(self, resource: Resource, duration: int | None) -> list[Offer]:
        """What can be paid for a resource."""
        return offers(self._sessions.terms.current, self._settings.x402, resource.settings, duration)

    def payment(self, scope: Scope) -> Shown | None:
        """The payment in a request, if it shows one. Raises MalformedPaymentError, RateLimitedError."""
        try:
            payment = payment_of(scope["headers"]) or credential_of(scope["headers"])
        except MalformedPaymentError:
            self._refused.count(self._address(scope))
            raise
        if payment is not None:
            self._refused.check(self._address(scope))
        return payment

    async def ask(
        self,
        resource: Resource,
        found: list[Offer],
        scope: Scope,
        send: Send,
        *,
        reason: str = "Payment required",
        url: str | None = None,
    ) -> None:
        """402 with what can be paid; `url`: what is offered, by default what was asked for."""
        base, id_ = self.base(scope), quote(resource.settings.id)
        schema = f"{base}/api/resource/{id_}/schema"
        error = PaymentRequiredError(
            "This resource is paid for as it is used.",
            remedy=f"Pay as {schema} says, open a session, and come back with its token.",
        )
        body = error_body(error)
        body.schema_url = schema
        headers = {"link": f'<{schema}>; rel="payment"'}
        answer: Any = body
        if found:
            metrics.OFFERS.inc(resource.settings.id)
            url = url or base + str(scope.get("raw_path", b""), "latin-1").partition("?")[0]
            name = (resource.settings.name or resource.settings.id)[:64]
            content = required(
                found,
                url=url,
                description=name,
                price=resource.settings.terms,
                error=reason,
                sessions=base + SESSIONS,
            )
            headers[PAYMENT_REQUIRED] = encode(content)
            if known := self._challenge_secrets():
                realm, id_ = _realm(base), resource.settings.id
                made = (challenge(known[0], realm, each.charge, id_, each.seconds) for each in found)
                headers[CHALLENGE] = ", ".join(made)
            answer = msgspec.to_builtins(body) | {"x402Version": 1, "accepts": [each.v1(url, name) for each in found]}
        await send_json(send, answer, 402, headers)

    async def buy(
        self,
        resource: Resource,
        found: list[Offer],
        payment: Shown | None,
        mode: Literal["request", "session"],
        scope: Scope,
        send: Send,
        *,
        url: str | None = None,
    ) -> Bought | None:
        """What a payment for one of the offers has opened. None when it opened nothing: that is answered then.

        Raises as `collect` does.
        """
        if payment is None:
            await self.ask(resource, found, scope, send, url=url)
            return None
        offer = self._taken(resource, found, payment, scope)
        if offer is None:
            await self.ask(resource, found, scope, send, reason="invalid_payment_requirements", url=url)
            return None
        answer = await self.collect(resource, offer, payment, mode, scope)
        if answer.state != "open":
            await self.tell(resource, offer, payment, answer, scope, send, url=url)
            return None
        return Bought(offer, answer, self.receipt(offer, payment, answer, self.base(scope)))

    async def collect(
        self, resource: Resource, offer: Offer, payment: Shown, mode: Literal["request", "session"], scope: Scope
    ) -> CollectResponse:
        """Have a payment collected.

        Raises SettlementPendingError when nobody can say what became of it, and what the gateway refuses it with.
        """
        self._sessions.admission.check_room()
        price = resource.settings.terms
        request = CollectRequest(
            network=offer.token.network,
            asset=offer.token.asset,
            transfer=payment.transfer,
            resource_id=resource.settings.id,
            price_per_second=wire_amount(price.per_second),
            price=None if price.plain else price_terms(price),
            duration=offer.seconds,
            mode=mode,
            server_id=self._sessions.server_id,
            secret=payment.secret,
            realm=payment.challenge.realm if isinstance(payment, Credential) else None,
        )
        try:
            answer = await self._sessions.provider.collect(request)
        except (UnavailableError, *CALLER_REFUSED) as error:
            raise SettlementPendingError(
                "It is not known yet whether the payment came.", remedy="Show the same payment again; do not pay anew."
            ) from error
        if answer.state in ("refused", "failed"):
            self._refused.count(self._address(scope))
        return answer

    async def tell(
        self,
        resource: Resource,
        offer: Offer,
        payment: Shown,
        answer: CollectResponse,
        scope: Scope,
        send: Send,
        *,
        url: str | None = None,
    ) -> None:
        """Answer a payment that opened nothing here."""
        base = self.base(scope)
        if answer.state == "refused":
            self._sessions.terms.job.wake()  # ours may be of yesterday
            found = self.offers(resource, offer.seconds)
            await self.ask(resource, found, scope, send, reason=answer.reason or "refused", url=url)
            return
        error: WS402Error
        if answer.state == "pending":
            error = SettlementPendingError(
                "The payment is on its way.", remedy="Show the same payment again; do not pay anew."
            )
        elif answer.state == "failed":
            error = PaymentRequiredError("The payment can come to the chain no more.", remedy="Sign a new one.")
        else:
            error = ConflictError("The payment has opened a session.", remedy="Sign a new one.", code="payment_used")
        body = msgspec.to_builtins(error_body(error)) | {"transaction": answer.tx}
        if answer.session_id is not None:
            body |= {"sessionId": answer.session_id, "statusUrl": f"{base}{SESSIONS}/{answer.session_id}"}
        headers = self.receipt(offer, payment, answer, base) | error_headers(error)
        if answer.state == "pending":
            headers["retry-after"] = str(PENDING_SECONDS)
        await send_json(send, body, error.status, headers)

    def receipt(self, offer: Offer, payment: Shown, answer: CollectResponse, base: str) -> dict[str, str]:
        """The headers that tell a client of its payment, in its version."""
        came = answer.state in ("open", "known")
        info = {"sessionId": answer.session_id, "statusUrl": f"{base}{SESSIONS}/{answer.session_id}"}
        if isinstance(payment, Credential):
            told = {RECEIPT: mpp_receipt(answer.tx or "", payment.challenge.id, info)} if came else {}
            return {"cache-control": "private, no-store", **told}
        first = payment.version == 1
        content: dict[str, Any] = {
            "success": came,
            "payer": answer.payer or payment.transfer.payer,
            "transaction": answer.tx or "",
            "network": offer.token.network if first else offer.network,
        }
        if came:
            content["amount"] = str(answer.paid)
            content["extensions"] = {"ws402": {"info": info}}
        else:
            content["errorReason"] = answer.reason or "settlement_pending"
        name = PAYMENT_RESPONSE_V1 if first else PAYMENT_RESPONSE
        return {name: encode(content), "cache-control": "private, no-store"}

    def _taken(self, resource: Resource, found: list[Offer], payment: Shown, scope: Scope) -> Offer | None:
        """The offer that a payment is for."""
        for offer in found:
            if isinstance(payment, Credential):
                known, realm = self._challenge_secrets(), _realm(self.base(scope))
                ours = is_ours(payment.challenge, known, realm, resource.settings.id, offer.seconds)
                if ours and payment.challenge.request == offer.charge:
                    return offer
            # Version 1 names no amount but the signed one.
            elif offer.is_taken_by(payment) and (
                payment.version == 2 or str(offer.amount) == str(payment.transfer.amount)
            ):
                return offer
        return None

    def _challenge_secrets(self) -> tuple[str, ...]:
        terms = self._sessions.terms.current
        return terms.challenge_secrets if terms is not None else ()

    def base(self, scope: Scope) -> str:
        """How clients reach this server."""
        return self._settings.public_url or base_url(self._sessions.proxies, scope)

    def _address(self, scope: Mapping[str, Any]) -> str:
        return group(client_address(self._sessions.proxies, scope))


def _realm(base: str) -> str:
    """A server's name in challenges: its host."""
    return base.partition("://")[2]


def duration_of(scope: Scope) -> int | None:
    """The seconds that the query asks for; None for none, and for what makes no sense."""
    text = query_value(str(scope.get("query_string", b""), "latin-1"), "duration")
    return int(text) if text and text.isascii() and text.isdigit() and 0 < int(text[:9]) <= MAX_DURATION else None
