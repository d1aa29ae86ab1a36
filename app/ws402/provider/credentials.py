"""How a server proves itself to its gateway: an API key, or a token file that is renewed while the server runs."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from pydantic import SecretStr

from ws402.errors import ConfigurationError
from ws402.files import Watched, read_token


class LinkFiles(NamedTuple):
    """PEM files for TLS to the gateway: whom to trust (the system's authorities if unset), and our own certificate."""

    ca: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None


NO_FILES: Final = LinkFiles()


class Credential:
    """Gives the Authorization header. Raises ConfigurationError when there is nothing to show."""

    def __init__(self, api_key: str | SecretStr | None, token_file: Path | None) -> None:
        key = api_key.get_secret_value() if isinstance(api_key, SecretStr) else api_key
        if key and token_file is not None:
            raise ConfigurationError(
                "GATEWAY_API_KEY and GATEWAY_TOKEN_FILE exclude each other.", remedy="Set one of them."
            )
        if not key and token_file is None:
            raise ConfigurationError(
                "The gateway's API key is missing.",
                remedy="Set GATEWAY_API_KEY to one of the gateway's keys, or GATEWAY_TOKEN_FILE to a projected token.",
            )
        if key and not (key.isascii() and key.isprintable()):
            raise ConfigurationError("GATEWAY_API_KEY has characters that a header cannot carry.")
        self._key = f"Bearer {key}"
        self._token: Watched[str] | None = None
        if token_file is not None:
            path = token_file
            self._token = Watched("GATEWAY_TOKEN_FILE", [path], lambda: f"Bearer {read_token(path)}")

    def __repr__(self) -> str:
        return f"Credential({'API key' if self._token is None else 'token file'})"

    def header(self) -> str:
        """The value of the Authorization header as it is now."""
        return self._key if self._token is None else self._token.value

    def changed(self) -> bool:
        """Look at the file now; whether there is something else to show than before."""
        return self._token is not None and self._token.refresh()
