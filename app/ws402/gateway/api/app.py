"""The gateway's web application."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec
from litestar import Litestar, Request, Response
from litestar.exceptions import HTTPException
from litestar.types import ControllerRouterHandler

from ws402.errors import ForbiddenError, WS402Error
from ws402.gateway.api.errors import InternalError, describe
from ws402.gateway.api.requests import REQUEST_SECONDS, Handle, Requests, refuse
from ws402.gateway.api.routes import Routes
from ws402.gateway.auth.keys import Authenticator
from ws402.protocol import ErrorResponse
from ws402.protocol.phrases import phrase
from ws402.protocol.service import Service
from ws402.settings import GatewaySettings


class RouteGroup(Protocol):
    """Some calls of the API."""

    def handlers(self, requests: Requests, /) -> Sequence[ControllerRouterHandler]:
        """All of them."""


OPEN_PATHS: Final = frozenset({"/api/health", "/health/live", "/health/startup", "/health/ready"})
"""What may be asked without a client certificate: it says no more than whether the gateway works."""


class CertificateError(ForbiddenError):
    """Mutual TLS is on, and the caller showed no certificate."""

    code = "client_certificate_required"

    def __init__(self) -> None:
        super().__init__(
            "A client certificate is needed.",
            remedy="Set GATEWAY_CLIENT_CERT_FILE and GATEWAY_CLIENT_KEY_FILE of the server.",
        )


class _App(Litestar):
    """Litestar, but the calls that servers make all the time skip its routing: a fifth of their cost without it."""

    __slots__ = ("direct",)

    direct: dict[str, Handle]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """See `Litestar.__call__`."""
        handle = self.direct.get(scope["path"]) if scope["type"] == "http" else None
        if handle is not None:
            await handle(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


class GatewayApp:
    """The application with its switches: `app` is what an ASGI server runs."""

    def __init__(
        self,
        service: Service,
        authenticator: Authenticator,
        settings: GatewaySettings,
        *,
        provider: str = "base",
        request_seconds: float = REQUEST_SECONDS,
        operators: Sequence[RouteGroup] = (),
        away: Callable[[], Iterable[str]] = tuple,
        restored: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        """`away`: the networks that cannot be reached now. `restored`: those that wait to be reconciled."""
        self._requests = Requests(
            authenticator, max_body_bytes=settings.max_body_bytes, request_seconds=request_seconds
        )
        self._routes = Routes(service, self._requests, provider=provider, away=away, restored=restored)
        handlers: list[ControllerRouterHandler] = [
            *self._routes.handlers(),
            *(each for group in operators for each in group.handlers(self._requests)),
        ]
        self.app = _App(
            handlers,
            openapi_config=None,  # ours is made from the wire's types, and wants a key
            logging_config=None,
            on_shutdown=[self._routes.close],
            exception_handlers={HTTPException: _http_error, Exception: _internal_error},
        )
        self.app.direct = self._requests.handles

    def document(self) -> dict[str, Any]:
        """Every call with its types, as GET /openapi.json has it."""
        return self._routes.document()

    async def strangers(self, scope: Any, receive: Any, send: Any) -> None:
        """The application for clients that showed no certificate where one is asked for: probes, and nothing else."""
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS:
            await refuse(send, CertificateError())
        else:
            await self.app(scope, receive, send)

    def starting(self) -> None:
        """Answer 503 until `started`."""
        self._requests.serving = False

    def started(self) -> None:
        """Serve calls."""
        self._requests.serving = True

    def draining(self) -> None:
        """Tell that no new work should come; go on serving."""
        self._routes.draining = True


def create_app(service: Service, authenticator: Authenticator, settings: GatewaySettings) -> Litestar:
    """The gateway's API over a payment service that runs already."""
    return GatewayApp(service, authenticator, settings).app


def _http_error(_: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """What Litestar refuses by itself: unknown paths, bad Host headers."""
    name = phrase(error.status_code)
    message = "There is nothing at this path." if error.status_code == 404 else f"{name}."
    body = ErrorResponse(error=name, message=message, code="not_found" if error.status_code == 404 else "http")
    return _response(error.status_code, body, error.headers)


def _internal_error(_: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    known = error if isinstance(error, WS402Error) else InternalError()
    return _response(known.status, describe(known)[0], None)


def _response(status: int, body: ErrorResponse, headers: Mapping[str, str] | None) -> Response[bytes]:
    return Response(
        msgspec.json.encode(body),
        status_code=status,
        media_type="application/json",
        headers={"cache-control": "no-store", **(headers or {})},
    )
