"""The networks that a gateway serves: endpoints, addresses, tokens, and how sure it wants to be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Self

from pydantic import Field, SecretStr, model_validator

from ws402.errors import WS402Error
from ws402.money import read_coins
from ws402.settings.base import StrictSettings
from ws402.settings.kms import KMS_PATTERN
from ws402.settings.sources import SIGNER_PATTERN

EVM_CHAIN_IDS: Final = {"base": 8453, "base-sepolia": 84532}
"""Chain ids of the networks that stock peers know by name."""


SOLANA_GENESIS: Final = {
    "solana": "5eykt4UsFv8P8NJdTREpY1vzqKqZKvdpKuc147dw2N9d",
    "solana-devnet": "EtWTRABZaYq6iMfeYKouRu166VU2xqa1wcaWoxPkrZBG",
    "solana-testnet": "4uhcVJyU9pJkvQyS88uRDiswHXSCkY3zQawwpjk2NsNY",
}
"""Genesis hashes of the public Solana clusters; CAIP-2 names a cluster by the first 32 characters."""

SOLANA_NETWORKS: Final = (*SOLANA_GENESIS, "solana-localnet")
"""All names that a network of Solana can have; the last is one of your own."""


_BY_ASSET: Final = ("large_above", "agree_above", "min_refund", "hourly_limit")


def _in_smallest_units(data: Any, native: str, decimals: int) -> Any:
    """A network's settings, with amounts that are written in coins (`{USDC = "500 USDC"}`) read by its own tokens."""
    if not isinstance(data, dict):
        return data
    known = {native: decimals}
    for each in data.get("tokens") or ():
        token = each if isinstance(each, dict) else each.model_dump()
        if isinstance(token.get("symbol"), str) and isinstance(token.get("decimals"), int):
            known[token["symbol"]] = token["decimals"]
    limits = {name: data[name] for name in _BY_ASSET if isinstance(data.get(name), dict)}
    return data | {name: _amounts(name, limit, known) for name, limit in limits.items()}


def _amounts(name: str, limit: Mapping[str, Any], known: Mapping[str, int]) -> dict[str, Any]:
    read = dict(limit)
    for asset, amount in limit.items():
        if isinstance(amount, str) and " " in amount.strip():
            try:
                read[asset], symbol = read_coins(amount, known, field=name, zero=True)
            except WS402Error as error:
                raise ValueError(str(error)) from None
            if symbol != asset:
                msg = f"{name} of {asset} is written in {symbol}; write it in {asset}"
                raise ValueError(msg)
    return read


class TokenSettings(StrictSettings):
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


class EvmNetworkSettings(StrictSettings):
    """One EVM network: endpoints, our addresses, what we accept and how sure we want to be."""

    network: str
    """Name on the wire; 'base' and 'base-sepolia' are what stock clients know."""
    chain_id: int
    """Every endpoint must serve this chain, or the gateway does not start."""
    rpc: list[SecretStr] = []
    """JSON-RPC endpoints, best first; they often hold an access key, so they are never logged whole. Unset: from
    `[vault]` or `[aws]`."""
    merchant_wallet: str | None = None
    """Where invoices are paid; the refund key's address by default, a cold wallet if you like."""
    merchant_private_key: SecretStr | None = None
    """The refund float's key, 32 bytes in hex."""
    signer: str | None = Field(default=None, pattern=SIGNER_PATTERN)
    """Where that key is: `local` (the setting), `vault` or `aws` (its `keys/<network>`), `vault-transit:<key>` (signs
    in Vault; ed25519 only), or a key that never leaves its keeper: `aws-kms:<id or ARN>`, `google-kms:projects/…/
    cryptoKeyVersions/<n>`, `azure-keyvault:https://<vault>/keys/<key>/<version>`, `pkcs11:<label>`. Unset: `local` when
    the key is set, else the source of secrets that is configured."""
    earlier_signers: list[Annotated[str, Field(pattern=f"^{KMS_PATTERN}$")]] = []
    """Keys that signed before, at their keepers, newest first: each finishes what it signed, and signs nothing else."""
    collector_private_key: SecretStr | None = None
    """The key, 32 bytes in hex, of an account that holds nothing but gas: it brings to the chain what x402 clients have
    signed. Never the refund key. This and `collector_signer` unset: no x402 on this network."""
    collector_signer: str | None = Field(default=None, pattern=f"^{KMS_PATTERN}$")
    """Where that key is, when it never leaves its keeper: as `signer`, instead of `collector_private_key`."""
    tokens: list[TokenSettings] = []
    """Tokens that invoices may ask for, besides the network's own coin."""
    confirmations: int = Field(default=1, ge=1)
    """Blocks, its own included, before a payment opens a session."""
    large_above: dict[str, int] = {}
    """By asset: payments above this many smallest units, or coins as in `{USDC = "500 USDC"}`, wait for
    `large_confirmations`."""
    large_confirmations: int = Field(default=12, ge=1)
    """Blocks before a large payment opens a session."""
    final_after: int | None = Field(default=None, ge=1)
    """Blocks after which a payment is final, for chains without the `finalized` tag; unset: ask the chain."""
    agree_above: dict[str, int] = {}
    """By asset: above this, two endpoints must agree on the transfer. Written as `large_above`."""
    max_fee_gwei: int = Field(default=100, ge=1)
    """Never pay more than this per gas for a refund."""
    min_refund: dict[str, int] = {}
    """By asset: smaller debts are kept as credit. Unset: what delivering costs now, for the native coin; else 0.
    Written as `large_above`."""
    hourly_limit: dict[str, int] = {}
    """By asset: the key sends at most this much an hour; the rest waits. Written as `large_above`."""
    poll_seconds: float = Field(default=1.0, gt=0)
    """How often to ask for new blocks."""
    rpc_timeout_seconds: float = Field(default=5.0, gt=0)
    """After this long an endpoint counts as away and the next one is asked."""
    proxy: SecretStr | None = None
    """HTTP proxy through which the RPC endpoints are reached, `http://user:password@host:port`. The environment's
    proxies are not used."""

    @model_validator(mode="before")
    @classmethod
    def _coins(cls, data: Any) -> Any:
        return _in_smallest_units(data, "ETH", 18)


class SplTokenSettings(StrictSettings):
    """A Solana token that invoices may ask for; nothing else is accepted."""

    symbol: str
    """Name on the wire, such as USDC."""
    mint: str
    """Address of the mint. Of Token-2022, mints whose extensions can take, hide or refuse money are not accepted."""
    decimals: int = Field(ge=0, le=18)
    """Places after the point of one whole token; checked against the mint."""


class SolanaNetworkSettings(StrictSettings):
    """One Solana cluster: endpoints, our addresses, what we accept and how sure we want to be."""

    network: str = Field(pattern=r"^solana(-[a-z0-9-]+)?$")
    """Name on the wire: 'solana', 'solana-devnet', 'solana-testnet', or 'solana-localnet' for one of your own."""
    genesis_hash: str | None = None
    """Every endpoint must serve this cluster, or the gateway does not start. Known for the public ones; unset for a
    cluster of your own: whichever all endpoints serve, if it is no public one."""
    rpc: list[SecretStr] = []
    """JSON-RPC endpoints, best first; they often hold an access key, so they are never logged whole. Unset: from
    `[vault]` or `[aws]`."""
    merchant_wallet: str | None = None
    """Where invoices are paid; the refund key's address by default, a cold wallet if you like."""
    private_key: SecretStr | None = None
    """The refund float's ed25519 key: an array of 64 numbers as the Solana CLI writes it, the path of such a file,
    base58, or the 32 bytes of the seed in hex."""
    signer: str | None = Field(default=None, pattern=SIGNER_PATTERN)
    """Where that key is: `local` (the setting), `vault` or `aws` (its `keys/<network>`), `vault-transit:<key>` (signs
    in Vault), or a key that never leaves its keeper: `aws-kms:<id or ARN>`, `google-kms:projects/…/cryptoKeyVersions/
    <n>`, `pkcs11:<label>`. Unset: `local` when the key is set, else the source of secrets that is configured."""
    earlier_signers: list[Annotated[str, Field(pattern=f"^{KMS_PATTERN}$")]] = []
    """Keys that signed before, at their keepers, newest first: each finishes what it signed, and signs nothing else."""
    tokens: list[SplTokenSettings] = []
    """Tokens that invoices may ask for, besides SOL."""
    large_above: dict[str, int] = {}
    """By asset: payments above this many smallest units, or coins as in `{SOL = "5 SOL"}`, open a session only when
    they are finalized; others when they are confirmed."""
    agree_above: dict[str, int] = {}
    """By asset: above this, two endpoints must agree on the transfer. Written as `large_above`."""
    require_memo: bool = False
    """Payments must carry the memo that their invoice names, and no other, besides the reference key."""
    max_priority_fee: int = Field(default=200_000, ge=0)
    """Never bid more than this many micro-lamports per compute unit for a refund (a refund takes about 10,000)."""
    daily_fees: int | None = Field(default=100_000_000, ge=0)
    """Lamports that refunds may cost in 24 hours, rent of created accounts included; further ones wait."""
    create_token_accounts: bool = False
    """Unsafe: make a payer's closed token account anew, at our cost, to refund to it. Else such refunds are held."""
    min_refund: dict[str, int] = {}
    """By asset: smaller debts are kept as credit. Unset: what delivering costs now, for SOL; else 0. Written as
    `large_above`."""
    hourly_limit: dict[str, int] = {}
    """By asset: the key sends at most this much an hour; the rest waits. Written as `large_above`."""
    poll_seconds: float = Field(default=1.0, gt=0)
    """How often to ask for new transactions."""
    rpc_timeout_seconds: float = Field(default=5.0, gt=0)
    """After this long an endpoint counts as away and the next one is asked."""
    proxy: SecretStr | None = None
    """HTTP proxy through which the RPC endpoints are reached, `http://user:password@host:port`. The environment's
    proxies are not used."""

    @model_validator(mode="before")
    @classmethod
    def _coins(cls, data: Any) -> Any:
        return _in_smallest_units(data, "SOL", 9)

    @model_validator(mode="after")
    def _genesis(self) -> Self:
        known = SOLANA_GENESIS.get(self.network)
        if known is not None and self.genesis_hash not in (None, known):
            msg = f"'{self.network}' has the genesis hash {known}; name another cluster otherwise"
            raise ValueError(msg)
        return self


NetworkSettings = EvmNetworkSettings | SolanaNetworkSettings
"""One network of any kind."""
