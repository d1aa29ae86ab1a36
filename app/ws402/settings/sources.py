"""Where secrets come from when they stand in no setting: a folder of files, Vault, or AWS Secrets Manager.

The order is: explicit values, environment, the files of `WS402_SECRETS_DIR`, the TOML file; what is set by none of them
is taken from `[vault]` or `[aws]`.
"""

from __future__ import annotations

import os
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import EnvSettingsSource

from ws402.errors import ConfigurationError
from ws402.settings.base import StrictSettings
from ws402.settings.kms import KMS_PATTERN

SIGNER_PATTERN: Final = rf"^(local|vault|aws|vault-transit:[A-Za-z0-9][A-Za-z0-9._-]{{0,127}}|{KMS_PATTERN})$"
"""A network's `signer`."""

MAX_SECRET_FILE: Final = 65_536
"""Larger files are no secrets, in bytes."""


class VaultSettings(StrictSettings):
    """HashiCorp Vault (or OpenBao) as a source of secrets; KV version 2, and transit for ed25519 keys."""

    address: str = Field(pattern=r"^https?://[^/\s]+/?$")
    """Vault's URL. `http://` is refused unless it is this machine's: secrets would pass in the clear."""
    allow_http: bool = False
    """UNSAFE: take `http://` from another machine, for a throw-away Vault. Whoever is between reads the keys."""
    namespace: str | None = None
    """Vault Enterprise's or HCP's namespace."""
    auth: Literal["kubernetes", "approle", "token"] = "kubernetes"
    """How the gateway logs in. `approle` and `token` are for gateways outside of a cluster."""
    role: str = "ws402-gateway"
    """Role of the kubernetes login."""
    auth_mount: str = ""
    """Where that login is mounted; `kubernetes` or `approle` by default."""
    token_file: Path | None = None
    """`kubernetes`: the projected ServiceAccount token, read anew at each login; `token`: the Vault token."""
    role_id_file: Path | None = None
    """`approle`: file of the role id."""
    secret_id_file: Path | None = None
    """`approle`: file of the secret id."""
    ca_file: Path | None = None
    """Certificates that Vault's must come from, and no others; the system's by default."""
    kv_mount: str = "secret"
    """Mount of the KV version 2 engine."""
    path: str = Field(default="ws402", pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_./-]*[A-Za-z0-9_-]$")
    """Below it: `keys/<network>`, `api-keys`, `database`, `rpc`."""
    transit_mount: str = "transit"
    """Mount of the transit engine, for `signer = "vault-transit:<key>"`."""
    poll_seconds: float = Field(default=10.0, ge=0.2, le=3600)
    """How often versions are looked at: a rotated secret counts this much later."""
    max_stale_seconds: float = Field(default=3600.0, ge=1)
    """How long the gateway stays ready on the secrets that it holds while Vault does not answer."""
    timeout_seconds: float = Field(default=3.0, gt=0, le=30)
    """After this long a call to Vault has failed. No request of a payer waits for one, but a transit signature."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        host = self.address.removeprefix("http://").split("/")[0].rpartition(":")[0] or self.address[7:].split("/")[0]
        local = host in {"127.0.0.1", "localhost", "[::1]"}
        if self.address.startswith("http://") and not local and not self.allow_http:
            msg = "address must be https://: secrets would pass in the clear (a trial may set allow_http)"
            raise ValueError(msg)
        needs = {
            "kubernetes": ("token_file",),
            "token": ("token_file",),
            "approle": ("role_id_file", "secret_id_file"),
        }[self.auth]
        if missing := [name for name in needs if getattr(self, name) is None]:
            msg = f"auth = '{self.auth}' needs {' and '.join(missing)}"
            raise ValueError(msg)
        return self


class AwsSettings(StrictSettings):
    """AWS Secrets Manager as a source of secrets; credentials come as AWS's SDK finds them (role, profile, …)."""

    region: str | None = None
    """AWS region; from AWS_REGION by default."""
    prefix: str = Field(default="ws402", pattern=r"^[A-Za-z0-9/_+=.@-]+$")
    """Secrets are named `<prefix>/keys/<network>`, `<prefix>/api-keys`, `<prefix>/database`, `<prefix>/rpc`; JSON."""
    endpoint_url: str | None = None
    """Another endpoint, such as a VPC's; from AWS_ENDPOINT_URL by default."""
    poll_seconds: float = Field(default=60.0, ge=0.2, le=3600)
    """How often secrets are read: a rotated one counts this much later. Each read is billed."""
    max_stale_seconds: float = Field(default=3600.0, ge=1)
    """How long the gateway stays ready on the secrets that it holds while AWS does not answer."""
    timeout_seconds: float = Field(default=3.0, gt=0, le=30)
    """After this long a call has failed."""


class SecretFiles(EnvSettingsSource):
    """The files of WS402_SECRETS_DIR as a settings source: a file's name is a setting's, its content the value."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        folder = os.environ.get("WS402_SECRETS_DIR")
        return read_folder(Path(folder)) if folder else {}

    def __call__(self) -> dict[str, Any]:
        """Read them; a file that names no setting is refused, for a typo must not be silent."""
        if unknown := sorted(name for name in self.env_vars if name not in known_settings()):
            raise ConfigurationError(
                f"WS402_SECRETS_DIR has files that name no setting: {', '.join(unknown)}.",
                remedy="Name each file as its setting in lower case, and mount only these.",
            )
        return super().__call__()


def known_settings() -> set[str]:
    """Names of all settings, of gateways and servers."""
    from ws402.settings import GatewaySettings, ServerSettings  # noqa: PLC0415 - they stand on this module

    return set(GatewaySettings.model_fields) | set(ServerSettings.model_fields)


def mounted(name: str, value: SecretStr | None) -> Path | None:
    """The file of WS402_SECRETS_DIR that a setting's value came from, if it did: it can be followed."""
    folder = os.environ.get("WS402_SECRETS_DIR")
    if not folder or value is None or read_folder(Path(folder)).get(name) != value.get_secret_value():
        return None
    return Path(folder) / name


def read_folder(folder: Path) -> dict[str, str | None]:
    """Every file's content by name, without the white space around it. Raises ConfigurationError.

    Names that begin with a dot are passed over: Kubernetes keeps a mounted Secret's versions behind them.
    """
    found: dict[str, str | None] = {}
    try:
        for path in sorted(folder.iterdir()):
            if path.name.startswith(".") or path.is_dir():
                continue
            content = path.read_bytes()
            if len(content) > MAX_SECRET_FILE:
                raise ConfigurationError(f"WS402_SECRETS_DIR: {path.name} is too large to be a secret.")
            found[path.name] = typing.cast("str | None", content.decode().strip())
    except UnicodeDecodeError:
        # Its cause would quote the content.
        raise ConfigurationError(f"WS402_SECRETS_DIR: {path.name} is not text.") from None
    except OSError as error:
        raise ConfigurationError(
            f"WS402_SECRETS_DIR={folder} cannot be read: {error.strerror}.",
            remedy="Fix the path and its permissions, or unset it.",
        ) from error
    return found
