"""What every process lets operators see. Traces are set by the standard OTEL_* variables, not here."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr

from ws402.settings.base import ProcessSettings


class ObservedSettings(ProcessSettings):
    """Logs, metrics and errors of a process."""

    log_format: Literal["auto", "json", "console"] = "auto"
    """`json`: one line of JSON each; `console`: for people; `auto`: console on a terminal, else json."""
    metrics_port: int | None = Field(default=None, ge=0, le=65535)
    """Port of GET /metrics, apart from the API; unset: none. 9464 is usual."""
    metrics_host: str = "127.0.0.1"
    """Address of the metrics port. Metrics hold sums of money, but no names; who can reach the port can read them."""
    sentry_dsn: SecretStr | None = None
    """Where errors are reported to, scrubbed of secrets; unset: nowhere. Needs the extra `sentry`."""
