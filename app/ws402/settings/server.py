"""Settings of a WS402 server, and of the resources that it sells."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal, Self, TypeVar

from pydantic import Field, SecretStr, field_validator, model_validator

from ws402.prices import BYTES, MESSAGES, Price, PriceError, by_second, decimals_of, price_of, read_use, read_written
from ws402.settings.base import StrictSettings
from ws402.settings.checkout import CheckoutSettings
from ws402.settings.observability import ObservedSettings
from ws402.settings.x402 import X402Settings

T = TypeVar("T")

_ADDRESS: Final = re.compile(
    r"(?P<scheme>https?)://(?P<host>([a-z0-9]([a-z0-9_-]*[a-z0-9])?\.)*[a-z0-9]([a-z0-9_-]*[a-z0-9])?|\[[0-9a-f:.]{2,45}\])"
    r"(:(?P<port>[0-9]{1,5}))?(?P<path>(/[a-z0-9._~!$&'()*+,;=:@%-]*)*)",
    re.IGNORECASE,
)


SETTLING_SECONDS: Final = 15.0
"""How long a server may take at most, after its drain, to settle the sessions that stayed."""


def _said(read: Callable[[], T]) -> T:
    """What is wrong with a price, as a setting's error."""
    try:
        return read()
    except PriceError as error:
        raise ValueError(str(error)) from None


class ResourceSettings(StrictSettings):
    """One resource that a WS402 server sells."""

    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")
    """Name in addresses."""
    name: str = ""
    """Name for people."""
    kind: Literal["ticker", "python", "file", "websocket", "http"]
    """`ticker`: built-in; `python`: `module:function`; `file`: a path; `websocket`, `http`: an upstream's URL."""
    target: str = ""
    """What is sold; see `kind`."""
    price: str | None = None
    """What it costs, exactly: `"0.36 USDC per hour"`, `"2 USDC per 1000 messages"`, `"0.05 USDC per MB"`,
    `"0.5 USDC per 1M tokens"`; several joined by ` + `. Its asset is what is paid in."""
    estimated_use: str | None = None
    """How much one uses in `estimated_seconds` of what has a price beside time: `"1000 messages + 20 MB"`. What is paid
    up front follows from it."""
    price_per_second: int | None = Field(default=None, ge=1)
    """Instead of `price`: whole smallest units of `asset` a second."""
    decimals: int | None = Field(default=None, ge=0, le=36)
    """Places after the point of the asset in `price`; known of ETH, SOL, USDC, USDT, EURC and DAI. The gateway makes no
    invoice where its asset has others."""
    network: str | None = None
    """Network to pay on; the gateway's default when unset."""
    asset: str | None = None
    """The gateway's default when unset."""
    estimated_seconds: int = Field(default=300, ge=1)
    """Duration that the price list suggests."""
    max_requests: int = Field(default=32, ge=1, le=1000)
    """`file`, `http`: requests of one session at once; more are answered 429."""
    max_request_bytes: int = Field(default=67_108_864, ge=0)
    """`http`: a request with a larger body is answered 413."""

    @cached_property
    def terms(self) -> Price:
        """The price that is charged."""
        if self.price is None:
            return by_second(self.price_per_second or 0)
        written = read_written(self.price)
        decimals = decimals_of(written[0].symbol) if self.decimals is None else self.decimals
        return price_of(written, decimals, self.price.strip())

    @cached_property
    def use(self) -> dict[str, int]:
        """`estimated_use` by unit."""
        return dict(read_use(each) for each in self.estimated_use.split("+")) if self.estimated_use else {}

    def units(self, seconds: int) -> dict[str, int] | None:
        """What one uses of each unit but time in so many seconds, rounded up; None where only time has a price."""
        if not self.terms.units:
            return None
        return {unit: -(-self.use[unit] * seconds // self.estimated_seconds) for unit in self.terms.units}

    @model_validator(mode="before")
    @classmethod
    def _asset(cls, data: Any) -> Any:
        """What is paid in is what the price says."""
        if not isinstance(data, dict) or not isinstance(data.get("price"), str):
            return data
        symbol = _said(lambda: read_written(data["price"]))[0].symbol
        if data.get("asset") not in (None, symbol):
            msg = f"the price is in {symbol}, but asset = '{data['asset']}'; write it in the asset, or leave asset out"
            raise ValueError(msg)
        return data | {"asset": symbol}

    @model_validator(mode="after")
    def _price(self) -> Self:
        if (self.price is None) == (self.price_per_second is None):
            msg = f"resource '{self.id}' needs one price: price = \"0.36 USDC per hour\", or price_per_second"
            raise ValueError(msg)
        own = set(_said(lambda: self.terms).units) - {MESSAGES, BYTES}
        if own and self.kind not in ("python", "http", "websocket"):
            msg = f"nothing can charge for '{min(own)}' at a resource of kind '{self.kind}'"
            raise ValueError(msg)
        priced, used = set(self.terms.units), set(_said(lambda: self.use))
        if priced != used:
            missing = " + ".join(f"1000 {unit}" for unit in sorted(priced)) or "nothing, for only time has a price"
            msg = f"estimated_use must name what has a price beside time; write how many: {missing}"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _target(self) -> Self:
        if self.kind != "ticker" and not self.target:
            msg = f"resource '{self.id}' of kind '{self.kind}' needs a target"
            raise ValueError(msg)
        return self


class ServerSettings(ObservedSettings):
    """Settings of a WS402 server."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = Field(default=4030, ge=0, le=65535)
    """Port to listen on."""
    provider: Literal["proxy", "direct", "mock"] = "proxy"
    """`proxy`: a gateway over HTTP; `direct`: the gateway inside this process; `mock`: no chain, for tests only."""
    gateway_url: str = "http://127.0.0.1:4029"
    """The gateway's address."""
    gateway_api_key: SecretStr | None = None
    """One of the gateway's keys."""
    gateway_token_file: Path | None = None
    """Instead of a key: a projected ServiceAccount token for the gateway, read anew when it changes."""
    gateway_ca_file: Path | None = None
    """Certificates, in PEM, that the gateway's is checked against, and no others; the system's by default."""
    gateway_client_cert_file: Path | None = None
    """Mutual TLS: this server's certificate, in PEM. Read anew when it changes."""
    gateway_client_key_file: Path | None = None
    """The private key of that certificate, in PEM."""
    timeout: float = Field(default=30, gt=0)
    """Seconds that one call to the gateway may take."""
    retry_attempts: int = Field(default=3, ge=1)
    """How often a call to the gateway is tried."""
    public_url: str | None = None
    """How clients reach this server (`https://…`), for links in answers; from the request by default."""
    resources: list[ResourceSettings] = []
    """What this server sells. Read anew from the file of WS402_CONFIG when that changes."""
    resources_file: Path | None = None
    """Or: a TOML file with nothing but `[[resources]]`, read anew when it changes."""
    x402: X402Settings = X402Settings()
    """What stock x402 clients are offered."""
    checkout: CheckoutSettings = CheckoutSettings()
    """How the checkout page looks and speaks."""
    update_interval: int = Field(default=3000, ge=100)
    """Milliseconds between usage updates."""
    max_session_duration: int = Field(default=3600, ge=1)
    """Seconds that a session may last."""
    checkpoint_seconds: float = Field(default=5.0, gt=0)
    """How often usage is reported to the gateway."""
    handshake_seconds: float = Field(default=30, gt=0)
    """A client that has not sent its proof by then is cut off."""
    ping_seconds: float = Field(default=25, gt=0)
    """How often a silent client is asked for a sign of life."""
    max_unpaid_per_address: int = Field(default=20, ge=1)
    """Sockets from one address that have not paid yet."""
    max_connections_per_address: int = Field(default=500, ge=1)
    """HTTP connections from one address; trusted proxies have no such limit, nor have sockets that were opened."""
    refused_proofs_per_minute: int = Field(default=120, ge=1)
    """Refused proofs and resumes of one address, and top-ups of one session, behind which there is no payment to us: so
    many in a minute, then none is looked at."""
    max_sessions: int = Field(default=20_000, ge=1)
    """Sockets that this server takes at once."""
    max_message_bytes: int = Field(default=1_048_576, ge=1024)
    """A larger message from a client closes its socket."""
    max_write_buffer_bytes: int = Field(default=4_194_304, ge=1024)
    """A client that reads too slowly is cut off, and settled, when this much waits for it."""
    schema_per_minute: int = Field(default=120, ge=1)
    """Invoices that one address may ask for in a minute."""
    dev_rpc_url: str | None = Field(default=None, pattern=r"^http://(127\.0\.0\.1|localhost)(:\d+)?/?$")
    """DEVELOPMENT ONLY: a development node on this machine, from whose test accounts the checkout page may pay."""
    dev_solana_rpc_url: str | None = Field(default=None, pattern=r"^http://(127\.0\.0\.1|localhost)(:\d+)?/?$")
    """DEVELOPMENT ONLY: a development node of Solana on this machine. The checkout page may then make a key of its own,
    have the node's faucet fund it, and pay with it."""
    status_public: bool = False
    """UNSAFE: serve /status without a key; it names users."""
    status_key: SecretStr | None = None
    """The key of /status."""
    trusted_proxies: list[str] = []
    """Addresses whose X-Forwarded-For is believed."""
    drain_seconds: float = Field(default=20, ge=0)
    """How long a server that was told to stop lets its sessions go on."""
    stop_seconds: float | None = Field(default=None, gt=0)
    """How long whoever ends it waits from SIGTERM to SIGKILL; the chart sets it. A server whose drain does not fit does
    not start."""

    @field_validator("public_url")
    @classmethod
    def _public(cls, value: str | None) -> str | None:
        if value is None or not value.strip():
            return None
        match = _ADDRESS.fullmatch(value.strip())
        if match is None or int(match["port"] or 0) > 65535:
            msg = "PUBLIC_URL is no address of a site; write https://host or https://host:port/path, without a query"
            raise ValueError(msg)
        port = f":{match['port']}" if match["port"] else ""
        return f"{match['scheme'].lower()}://{match['host'].lower()}{port}{match['path'].rstrip('/')}"

    @model_validator(mode="after")
    def _link(self) -> Self:
        if self.gateway_api_key is not None and self.gateway_token_file is not None:
            msg = "GATEWAY_API_KEY and GATEWAY_TOKEN_FILE exclude each other; set one"
            raise ValueError(msg)
        if (self.gateway_client_cert_file is None) != (self.gateway_client_key_file is None):
            msg = "GATEWAY_CLIENT_CERT_FILE and GATEWAY_CLIENT_KEY_FILE go together; set both, or none"
            raise ValueError(msg)
        if self.resources and self.resources_file is not None:
            msg = "RESOURCES and RESOURCES_FILE exclude each other; set one"
            raise ValueError(msg)
        files = (self.gateway_ca_file, self.gateway_client_cert_file)
        if any(files) and not self.gateway_url.startswith("https://"):
            msg = "GATEWAY_CA_FILE and GATEWAY_CLIENT_CERT_FILE are for TLS; write GATEWAY_URL with https://"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _stop(self) -> Self:
        """A drain that is cut off charges its sessions to their last checkpoint only, and lets their clients wait."""
        if self.stop_seconds is not None and self.drain_seconds + SETTLING_SECONDS > self.stop_seconds:
            msg = (
                f"DRAIN_SECONDS is {self.drain_seconds:g}, and this process is killed {self.stop_seconds:g} seconds "
                f"after it was told to stop; at most {max(0.0, self.stop_seconds - SETTLING_SECONDS):g} fit. With the "
                "Helm chart write server.settings.drain_seconds, from which it computes the pod's grace period"
            )
            raise ValueError(msg)
        return self
