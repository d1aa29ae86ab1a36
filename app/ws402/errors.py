"""The one family of errors: a message for people, a code for programs, and what to do about it."""

from __future__ import annotations


class WS402Error(Exception):
    """Base of every error that this package raises on purpose.

    `code` is stable and snake_case; `status` is the HTTP status that the gateway's API answers with; `remedy`, where
    there is one, says what the reader can do. A message never holds a secret.
    """

    code = "error"
    status = 500

    def __init__(self, message: str, *, remedy: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        if code is not None:
            self.code = code

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}" if self.remedy else self.message


class ConfigurationError(WS402Error):
    """A setting is missing, malformed or contradicts another; the program refuses to start."""

    code = "configuration"


class InvalidRequestError(WS402Error):
    """The caller sent something that cannot be read or makes no sense. Nothing was done."""

    code = "bad_request"
    status = 400


class UnauthorizedError(WS402Error):
    """No API key, or one that is not valid."""

    code = "unauthorized"
    status = 401


class ForbiddenError(WS402Error):
    """The API key is valid, but its scopes or its tenant do not allow this."""

    code = "forbidden"
    status = 403


CALLER_REFUSED = (UnauthorizedError, ForbiddenError)
"""What a gateway answers to a server that it does not take (its key, token or certificate). It says nothing about a
payer, who may come to another server."""


class NotFoundError(WS402Error):
    """What the request names does not exist for this caller."""

    code = "not_found"
    status = 404


class ConflictError(WS402Error):
    """The request contradicts what is already recorded."""

    code = "conflict"
    status = 409


class RateLimitedError(WS402Error):
    """Too many requests; try again after `retry_after` seconds."""

    code = "rate_limited"
    status = 429

    def __init__(self, message: str, *, retry_after: float, remedy: str | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.retry_after = retry_after


class NoSolanaError(WS402Error):
    """A blockhash was asked for where nothing is paid on Solana."""

    code = "not_implemented"
    status = 501


class UnavailableError(WS402Error):
    """Something that this needs (gateway, chain, database) does not answer now; the same call may work later."""

    code = "unavailable"
    status = 503
