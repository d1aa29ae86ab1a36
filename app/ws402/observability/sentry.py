"""Errors to Sentry (or whatever speaks its protocol), when SENTRY_DSN is set; scrubbed of secrets before they leave."""

from __future__ import annotations

from typing import Any

from ws402 import __version__
from ws402.errors import ConfigurationError
from ws402.observability import redact
from ws402.settings.observability import ObservedSettings


def configure(settings: ObservedSettings, component: str) -> None:
    """Report what is logged as an error, and what nobody caught. Raises ConfigurationError."""
    if settings.sentry_dsn is None:
        return
    try:
        import sentry_sdk  # noqa: PLC0415 - an extra
        from sentry_sdk.utils import BadDsn  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "SENTRY_DSN is set, but sentry-sdk is not installed.", remedy="Install it with: pip install 'ws402[sentry]'"
        ) from error
    try:
        sentry_sdk.init(
            dsn=settings.sentry_dsn.get_secret_value(),
            release=f"ws402@{__version__}",
            before_send=_scrub,
            before_breadcrumb=_scrub,
            include_local_variables=False,  # they hold keys, proofs and tokens
            max_request_body_size="never",
            auto_enabling_integrations=False,
            traces_sample_rate=0.0,
            http_proxy="",  # see ws402.outgoing: empty is none, whatever the environment says
            https_proxy="",
        )
    except BadDsn:
        raise ConfigurationError("SENTRY_DSN is not a DSN.", remedy="Copy it from the project's settings.") from None
    sentry_sdk.set_tag("component", component)


def _scrub(event: Any, hint: Any) -> Any:  # noqa: ARG001 - Sentry's signature
    logged = event.get("logentry")
    if logged is not None:
        # A parameter alone does not say what it is; in its sentence it does.
        event["logentry"] = {"message": logged.get("formatted") or logged.get("message")}
    return redact.redact_all(event)
