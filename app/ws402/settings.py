"""Every setting, typed, once. Read from the environment, then from the TOML file that `WS402_CONFIG` names.

An environment variable is a field's name in capitals; lists and tables are written as JSON. Names that WS402 users know
(`MERCHANT_PRIVATE_KEY`, `BASE_RPC`, `GATEWAY_API_KEY`, `PORT`, …) keep their meaning.
"""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from ws402.errors import ConfigurationError

MIN_API_KEY_LENGTH: Final = 32
"""Shorter API keys can be guessed and are refused."""

EVM_CHAIN_IDS: Final = {"base": 8453, "base-sepolia": 84532}
"""Chain ids of the networks that stock peers know by name."""

Binding = Literal["tag", "signature", "claim_token", "legacy"]
"""What ties a payment to its invoice, safest first."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TokenSettings(_Strict):
    """A token that invoices may ask for; nothing else is accepted."""

    symbol: str
    """Name on the wire, such as USDC."""
    contract: str
    """Address of the token's contract; transfers of any other are ignored."""
    decimals: int = Field(ge=0, le=36)
    """Places after the point of one whole token."""
    eip712_name: str | None = None
    """Name in the token's signing domain."""
    eip712_version: str | None = None
    """Version in the token's signing domain."""


class EvmNetworkSettings(_Strict):
    """One EVM network: endpoints, our addresses, what we accept and how sure we want to be."""

    network: str
    """Name on the wire; 'base' and 'base-sepolia' are what stock clients know."""
    chain_id: int
    """Every endpoint must serve this chain, or the gateway does not start."""
    rpc: list[SecretStr] = Field(min_length=1)
    """JSON-RPC endpoints, best first; they often hold an access key, so they are never logged whole."""
    merchant_wallet: str | None = None
    """Where invoices are paid; the refund key's address by default, a cold wallet if you like."""
    merchant_private_key: SecretStr | None = None
    """The refund float's key, 32 bytes in hex."""
    tokens: list[TokenSettings] = []
    """Tokens that invoices may ask for, besides the network's own coin."""
    confirmations: int = Field(default=1, ge=1)
    """Blocks, its own included, before a payment opens a session."""
    large_above: dict[str, int] = {}
    """By asset: payments above this many smallest units wait for `large_confirmations`."""
    large_confirmations: int = Field(default=12, ge=1)
    """Blocks before a large payment opens a session."""
    final_after: int | None = Field(default=None, ge=1)
    """Blocks after which a payment is final, for chains without the `finalized` tag; unset: ask the chain."""
    agree_above: dict[str, int] = {}
    """By asset: above this, two endpoints must agree on the transfer."""
    max_fee_gwei: int = Field(default=100, ge=1)
    """Never pay more than this per gas for a refund."""
    min_refund: dict[str, int] = {}
    """By asset: smaller debts are kept as credit. Unset: what delivering costs now, for the native coin; else 0."""
    hourly_limit: dict[str, int] = {}
    """By asset: the key sends at most this much an hour; the rest waits."""
    poll_seconds: float = Field(default=1.0, gt=0)
    """How often to ask for new blocks."""
    rpc_timeout_seconds: float = Field(default=5.0, gt=0)
    """After this long an endpoint counts as away and the next one is asked."""


class _Settings(BaseSettings):
    model_config = SettingsConfigDict(extra="ignore", frozen=True, env_ignore_empty=True)

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least that is logged."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Explicit values, environment, file."""
        return init_settings, env_settings, _TomlFile(settings_cls)


class _TomlFile(EnvSettingsSource):
    """The file that WS402_CONFIG names, as a settings source."""

    def __call__(self) -> dict[str, Any]:
        """Read the file; unknown keys are refused, for a typo must not be silent."""
        path = os.environ.get("WS402_CONFIG")
        if not path:
            return {}
        try:
            data = tomllib.loads(Path(path).read_text())
        except OSError as error:
            raise ConfigurationError(
                f"WS402_CONFIG={path} cannot be read: {error.strerror}.", remedy="Fix the path, or unset it."
            ) from error
        except tomllib.TOMLDecodeError as error:
            raise ConfigurationError(f"{path} is not TOML: {error}.") from error
        known = set(GatewaySettings.model_fields) | set(ServerSettings.model_fields)
        if unknown := sorted(set(data) - known):
            raise ConfigurationError(
                f"{path} has unknown settings: {', '.join(unknown)}.", remedy="Check the spelling."
            )
        return {name: value for name, value in data.items() if name in self.settings_cls.model_fields}


class GatewaySettings(_Settings):
    """Settings of the payment gateway."""

    gateway_host: str = "127.0.0.1"
    """Address to listen on; the gateway is not meant for the public."""
    gateway_port: int = Field(default=4029, ge=0, le=65535)
    """Port to listen on."""
    database_url: SecretStr = SecretStr("sqlite:///data/ws402.db")
    """`sqlite:///path` or `postgresql://user:password@host/name`."""
    gateway_api_key: Annotated[list[SecretStr], NoDecode] = []
    """Keys of servers, separated by commas, at least 32 characters each; several are valid at once for rotation."""
    gateway_admin_key: Annotated[list[SecretStr], NoDecode] = []
    """Keys of operators: /api/admin and `ws402 ops`."""

    merchant_private_key: SecretStr | None = None
    """Short form for Base: the refund float's key, 32 bytes in hex."""
    merchant_wallet: str | None = None
    """Short form for Base: where invoices are paid; the refund key's address by default."""
    base_rpc: Annotated[list[SecretStr], NoDecode] = []
    """JSON-RPC endpoints of Base, separated by commas."""
    base_network: Literal["base", "base-sepolia"] = "base-sepolia"
    """Which of the two BASE_RPC serves."""
    evm_networks: list[EvmNetworkSettings] = []
    """EVM networks in full; BASE_RPC with MERCHANT_PRIVATE_KEY is the short form for one."""
    default_network: str | None = None
    """What an invoice is for when the server names none (stock servers); the first configured one by default."""
    default_asset: str | None = None
    """What an invoice asks for when the server names none (stock servers); the network's own coin by default."""

    bindings: list[Binding] = ["tag", "signature", "claim_token", "legacy"]
    """What may tie a payment to its invoice. Without 'legacy', stock clients must send the calldata of the details."""
    amount_salt: int = Field(default=0, ge=0)
    """Above 0, an invoice's amount gets a random extra of at most this many smallest units, unique among open invoices:
    it makes the `legacy` binding safe against somebody else's claim."""
    invoice_seconds: int = Field(default=900, ge=30, le=86400)
    """How long an invoice can be paid."""
    verify_wait_seconds: float = Field(default=20, ge=0, le=25)
    """How long a verify call waits for its payment to show and confirm; stock servers give up after 30 s."""
    vanish_seconds: int = Field(default=60, ge=5)
    """A session without a checkpoint for this long is settled at the last one."""
    resume_seconds: int = Field(default=300, ge=5)
    """How long a released session can be resumed before it is settled."""
    refund_interval_seconds: float = Field(default=1.0, gt=0)
    """How often the refund engine looks for work."""
    refund_lease_seconds: float = Field(default=15.0, ge=2)
    """A gateway that holds a signing key and does not renew for this long loses it to another."""
    max_body_bytes: int = Field(default=1_048_576, ge=1024)
    """Larger requests are refused."""
    rate_limit_per_second: int = Field(default=2000, ge=1)
    """Requests a second for each API key, with a burst of twice that."""

    @field_validator("gateway_api_key", "gateway_admin_key", "base_rpc", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("gateway_api_key", "gateway_admin_key")
    @classmethod
    def _long_keys(cls, value: list[SecretStr]) -> list[SecretStr]:
        if any(len(key.get_secret_value()) < MIN_API_KEY_LENGTH for key in value):
            msg = f"is shorter than {MIN_API_KEY_LENGTH} characters; make one with: openssl rand -hex 32"
            raise ValueError(msg)
        return value

    def networks(self) -> list[EvmNetworkSettings]:
        """All EVM networks, the short form included."""
        networks = list(self.evm_networks)
        if self.base_rpc and all(each.network != self.base_network for each in networks):
            networks.insert(
                0,
                EvmNetworkSettings(
                    network=self.base_network,
                    chain_id=EVM_CHAIN_IDS[self.base_network],
                    rpc=self.base_rpc,
                    merchant_wallet=self.merchant_wallet,
                    merchant_private_key=self.merchant_private_key,
                ),
            )
        return networks


class ResourceSettings(_Strict):
    """One resource that a WS402 server sells."""

    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")
    """Name in addresses."""
    name: str = ""
    """Name for people."""
    kind: Literal["ticker", "python", "file", "websocket", "http"]
    """`ticker`: built-in; `python`: `module:function`; `file`: a path; `websocket`, `http`: an upstream's URL."""
    target: str = ""
    """What is sold; see `kind`."""
    price_per_second: int = Field(ge=1)
    """Smallest units of `asset` a second."""
    network: str | None = None
    """Network to pay on; the gateway's default when unset."""
    asset: str | None = None
    """The gateway's default when unset."""
    estimated_seconds: int = Field(default=300, ge=1)
    """Duration that the price list suggests."""

    @model_validator(mode="after")
    def _target(self) -> Self:
        if self.kind != "ticker" and not self.target:
            msg = f"resource '{self.id}' of kind '{self.kind}' needs a target"
            raise ValueError(msg)
        return self


class ServerSettings(_Settings):
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
    timeout: float = Field(default=30, gt=0)
    """Seconds that one call to the gateway may take."""
    retry_attempts: int = Field(default=3, ge=1)
    """How often a call to the gateway is tried."""
    public_url: str | None = None
    """How clients reach this server (`https://…`), for links in answers; from the request by default."""
    resources: list[ResourceSettings] = []
    """What this server sells."""
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
    status_public: bool = False
    """UNSAFE: serve /status without a key; it names users."""
    status_key: SecretStr | None = None
    """The key of /status."""
    trusted_proxies: list[str] = []
    """Addresses whose X-Forwarded-For is believed."""
    drain_seconds: float = Field(default=20, ge=0)
    """How long a server that was told to stop lets its sessions go on."""


T = TypeVar("T", bound=_Settings)


def load(kind: type[T], **values: Any) -> T:
    """Read settings; raises ConfigurationError with one line for each setting that is wrong, never its secret value."""
    try:
        return kind(**values)
    except ValidationError as error:
        lines = []
        for each in error.errors(include_input=False, include_url=False):
            name = ".".join(str(part) for part in each["loc"]).upper() or kind.__name__
            lines.append(f"{name}: {each['msg'].removeprefix('Value error, ')}")
        raise ConfigurationError("; ".join(lines)) from None
    except SettingsError as error:
        # Its cause would quote the value; its text names the field.
        named = re.search(r'field "([^"]+)"', str(error))
        raise ConfigurationError(
            f"{named.group(1).upper() if named else 'A setting'} is not JSON.",
            remedy="Write lists and tables of settings as JSON in the environment, or use the file of WS402_CONFIG.",
        ) from None
