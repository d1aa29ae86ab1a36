"""The link between WS402 servers and their gateway: who a server is, and TLS."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from ws402.settings.base import StrictSettings

# RFC 1123 labels for namespaces; ServiceAccounts are DNS subdomains. Before the colon, a tenant as in GATEWAY_API_KEY.
_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_ACCOUNT: Final = re.compile(rf"(?:[A-Za-z0-9][A-Za-z0-9._-]{{0,63}}:)?{_LABEL}/{_LABEL}(?:\.{_LABEL})*")


class KubernetesIdentitySettings(StrictSettings):
    """Servers prove themselves by projected ServiceAccount tokens instead of API keys.

    https://kubernetes.io/docs/tasks/configure-pod-container/configure-service-account/#serviceaccount-token-volume-projection
    """

    allow: list[str] = Field(min_length=1)
    """Who may call, each as `namespace/serviceaccount`, which is then its tenant too; `tenant:namespace/serviceaccount`
    gives it another. Nothing matches by pattern."""
    audience: str = Field(default="ws402-gateway", min_length=1)
    """The audience that a token must be made for."""
    issuer: str | None = None
    """The issuer of the cluster's tokens; unset: the one of the gateway's own token in `token_file`."""
    jwks_url: str = "https://kubernetes.default.svc/openid/v1/jwks"
    """Where the cluster shows its public keys."""
    ca_file: Path | None = None
    """Certificates that the API server's is checked against; the system's by default."""
    token_file: Path | None = None
    """The gateway's own token for the API server, read anew for each call."""
    refresh_seconds: float = Field(default=300, ge=1)
    """How often the cluster's keys are read again; a token with an unknown key asks for it at once."""

    @field_validator("allow")
    @classmethod
    def _exact(cls, value: list[str]) -> list[str]:
        for each in value:
            if not _ACCOUNT.fullmatch(each):
                msg = f"'{each}' is not namespace/serviceaccount; write each account in full, without patterns"
                raise ValueError(msg)
        accounts = [each.rpartition(":")[2] for each in value]
        if len(set(accounts)) < len(accounts):
            msg = "names an account twice"
            raise ValueError(msg)
        return value

    @field_validator("jwks_url")
    @classmethod
    def _over_tls(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme != "https" or not parts.hostname:
            msg = "is not an https:// address; keys that come without TLS may be anybody's"
            raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _known_issuer(self) -> Self:
        if self.issuer is None and self.token_file is None:
            msg = "needs token_file (the gateway's own token, which names the cluster's issuer), or issuer"
            raise ValueError(msg)
        return self
