"""The text of the file that `ws402 init` writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

DEV: Final = "dev"
DEV_SOLANA: Final = "dev-solana"


@dataclass(frozen=True, slots=True)
class Network:
    """A network to be paid on: a public endpoint, which is slow and may refuse, and Circle's USDC."""

    name: str
    rpc: str
    usdc: str
    chain_id: int | None = None
    """Of an EVM network."""
    worth: bool = True
    """Whether its coins are worth something."""

    @property
    def solana(self) -> bool:
        """Whether it is a cluster of Solana."""
        return self.chain_id is None

    @property
    def price(self) -> str:
        """A price to begin with."""
        return (
            "0.36 USDC per hour"
            if self.worth
            else "0.00002 SOL per second"
            if self.solana
            else "0.00001 ETH per second"
        )


NETWORKS: Final = {
    each.name: each
    for each in (
        Network(
            "base-sepolia",
            "https://sepolia.base.org",
            "0x036CbD53842c5426634e7929541eC2318f3dCF7e",
            chain_id=84532,
            worth=False,
        ),
        Network("base", "https://mainnet.base.org", "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913", chain_id=8453),
        Network(
            "solana-devnet",
            "https://api.devnet.solana.com",
            "4zMMC9srt5Ri5X14GAgXhaHii3GnPAERYPJgZJDncDU",
            worth=False,
        ),
        Network("solana", "https://api.mainnet-beta.solana.com", "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"),
    )
}
"""USDC: https://developers.circle.com/stablecoins/usdc-contract-addresses."""

_TOP: Final = """\
# WS402, for the gateway and the server: export WS402_CONFIG={path}; ws402 gateway; ws402 server.
# Keys are in here: keep it to yourself (chmod 600), and out of version control.
# Every setting: docs/configuration.md. Keys from Vault or AWS, or in a KMS or an HSM, instead: docs/secrets.md.

# --- the gateway: private, holds the keys and the ledger -------------------------------------------------------------

# Where the ledger is: it is the money's only record, so back it up (ws402 ledger backup), or use PostgreSQL.
database_url = "sqlite:///data/ws402.db"

# Servers show the first key, operators (ws402 ops) the second.
gateway_api_key = "{api_key}"
gateway_admin_key = "{admin_key}"

# Makes the audit log one that nobody can rewrite who has only the database.
audit_log_key = "{audit_key}"
"""

_SERVER: Final = """\

# --- the server: public, holds no key --------------------------------------------------------------------------------

gateway_url = "http://127.0.0.1:4029"

# How clients reach it, behind your proxy that has the certificate.
# public_url = "https://stream.example.com"

# The longest session, in seconds: the most that one can pay at once.
max_session_duration = 3600
"""

_DEV: Final = """\

# DEVELOPMENT ONLY: the chain of `ws402 devchain evm`, a key that everybody knows; the page pays from test accounts.
base_network = "base-sepolia"
base_rpc = "http://127.0.0.1:8545"
merchant_private_key = "{key}"
dev_rpc_url = "http://127.0.0.1:8545"
"""

_DEV_SOLANA: Final = """\

# DEVELOPMENT ONLY: the chain of `ws402 devchain solana`, and the same for it.
solana_network = "solana-localnet"
solana_rpc = "http://127.0.0.1:8899"
solana_private_key = "{key}"
dev_solana_rpc_url = "http://127.0.0.1:8899"
"""

_NETWORK: Final = """\

[[{table}]]
network = "{name}"
{chain}# A public endpoint, to begin with: it is slow, and refuses at times. Use your own, and a second one behind it.
rpc = ["{rpc}"]
# The refund float, {address}: refunds are sent from it, and cost their fees in {coin}.
{key_name} = "{key}"
# Where payments go, if not to the float: an account whose key is not here. Then fill the float yourself.
# merchant_wallet = "…"
# At most this much leaves the float in an hour: further refunds wait, a single one above it is held for you.
hourly_limit = {{ {coin} = "{coin_limit} {coin}", USDC = "500 USDC" }}
# Larger payments wait for more blocks before their session opens.
large_above = {{ USDC = "100 USDC" }}
tokens = [{{ symbol = "USDC", {contract} = "{usdc}", decimals = 6 }}]
"""

_RESOURCE: Final = """\

[[resources]]
id = "{id}"
name = "{title}"
kind = "ticker" # a built-in one, to try it
network = "{network}"
price = "{price}"
"""

_YOURS: Final = """
# Yours: a function, a file, or a service behind this server (docs/guides/sell.md).
# [[resources]]
# id = "answers"
# kind = "python" # async def stream(stream), in answers.py
# target = "answers:stream"
# network = "{network}"
# price = "{price}"
"""


@dataclass(frozen=True, slots=True)
class Float:
    """A network and the account that sends its refunds."""

    network: Network
    address: str
    key: str


def write(
    *,
    path: str,
    api_key: str,
    admin_key: str,
    audit_key: str,
    floats: list[Float],
    dev: str | None,
    dev_solana: str | None,
) -> str:
    """The whole file: plain settings first, as TOML wants them. `dev`, `dev_solana`: keys on the embedded chains."""
    parts = [_TOP.format(path=path, api_key=api_key, admin_key=admin_key, audit_key=audit_key)]
    sold: list[tuple[str, str]] = []
    if dev is not None:
        parts.append(_DEV.format(key=dev))
        sold.append(("base-sepolia", "0.00001 ETH per second"))
    if dev_solana is not None:
        parts.append(_DEV_SOLANA.format(key=dev_solana))
        sold.append(("solana-localnet", "0.00002 SOL per second"))
    parts.append(_SERVER)
    for each in floats:
        network = each.network
        parts.append(
            _NETWORK.format(
                table="solana_networks" if network.solana else "evm_networks",
                name=network.name,
                chain="" if network.solana else f"chain_id = {network.chain_id}\n",
                rpc=network.rpc,
                address=each.address,
                coin="SOL" if network.solana else "ETH",
                coin_limit="2" if network.solana else "0.1",
                key_name="private_key" if network.solana else "merchant_private_key",
                key=each.key,
                contract="mint" if network.solana else "contract",
                usdc=network.usdc,
            )
        )
        sold.append((network.name, network.price))
    for at, (name, price) in enumerate(sold):
        parts.append(
            _RESOURCE.format(
                id="ticker" if at == 0 else f"ticker-{name}", title=f"Ticker, paid on {name}", network=name, price=price
            )
        )
    parts.append(_YOURS.format(network=sold[0][0], price=sold[0][1]))
    return "".join(parts)
