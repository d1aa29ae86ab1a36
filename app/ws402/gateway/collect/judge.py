"""What is checked of a signed transfer before anything is recorded: against our own settings, never against itself."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import msgspec
from eth_utils.crypto import keccak

from ws402.chains.base import Chain, Head
from ws402.chains.collecting import Authorization, AuthorizationRefusedError, Authorizations, CollectingChain
from ws402.errors import InvalidRequestError
from ws402.money import parse_amount, wire_amount
from ws402.prices import Price, check_decimals
from ws402.protocol import CollectRequest, TokenTerms, stated_price
from ws402.settings import EvmNetworkSettings, GatewaySettings

LEAST_SECONDS: Final = 20
"""An authorization must be good for this much longer, to come into a block."""

MOST_SECONDS: Final = 3600
"""And for no longer than this: its invoice waits for it."""

_NONCE: Final = re.compile(r"0[xX][0-9a-fA-F]{64}")
_SIGNATURE: Final = re.compile(r"0[xX][0-9a-fA-F]{130}")


@dataclass(slots=True, frozen=True)
class Signed:
    """A request that may be collected, as far as settings and the signature tell."""

    chain: Chain
    rules: Authorizations
    authorization: Authorization
    price: Price
    request: CollectRequest

    @property
    def tag(self) -> str:
        """What ties the transfer to its invoice."""
        each = self.authorization
        return self.rules.tag(each.asset, each.payer, each.nonce)

    @property
    def payload_hash(self) -> str:
        """Of all that was asked for; the same payment again has the same."""
        each, asked = self.authorization, self.request
        parts: list[str | int | None] = [each.recipient, each.amount, each.valid_after, each.valid_before]
        parts += [asked.resource_id, asked.duration, asked.mode, asked.secret]
        parts += [f"{rate.amount}/{rate.per} {rate.unit}" for rate in self.price.rates]
        return sha256(msgspec.json.encode(parts)).hexdigest()


class Judge:
    """Knows what is collected on which network."""

    def __init__(self, settings: GatewaySettings, chains: Mapping[str, Chain], networks: Mapping[str, object]) -> None:
        """`networks`: those that have a collector."""
        self._settings = settings
        self._chains = chains
        self._networks = networks
        self._chain_ids = {
            each.network: each.chain_id for each in settings.networks() if isinstance(each, EvmNetworkSettings)
        }

    def rules(self, network: str) -> Authorizations | None:
        """How a network collects; None: not at all."""
        if network not in self._networks or not self._settings.x402.enabled:
            return None
        chain: object = self._chains.get(network)
        return chain.authorizations if isinstance(chain, CollectingChain) else None

    def terms(self) -> list[TokenTerms]:
        """All tokens that are collected, the default network's first."""
        found = []
        for network, chain in self._chains.items():
            rules = self.rules(network)
            for symbol, domain in (rules.domains if rules is not None else {}).items():
                found.append(
                    TokenTerms(
                        network=network,
                        chain_id=self._chain_ids[network],
                        asset=symbol,
                        contract=domain.contract,
                        decimals=chain.assets[symbol].decimals,
                        recipient=chain.recipient,
                        name=domain.name,
                        version=domain.version,
                        min_amount=wire_amount(self._least(chain, symbol)),
                    )
                )
        return found

    def _least(self, chain: Chain, symbol: str) -> int:
        given = self._settings.x402.min_amount.get(symbol)
        return given if given is not None else max(1, 10 ** (chain.assets[symbol].decimals - 2))

    def read(self, request: CollectRequest) -> Signed:
        """Check a request against settings, and its signature.

        Raises InvalidRequestError for what cannot be read, AuthorizationRefusedError for what is not what we ask for.
        """
        rules, chain = self.rules(request.network), self._chains.get(request.network)
        if rules is None or chain is None:
            raise AuthorizationRefusedError(f"Nothing is collected on {request.network}.", reason="invalid_network")
        if request.asset not in rules.domains:
            raise AuthorizationRefusedError(f"{request.asset} is not collected.", reason="invalid_payment_requirements")
        if not request.resource_id or len(request.resource_id) > 256:
            raise InvalidRequestError("'resourceId' must have 1 to 256 characters.")
        if not 0 < request.duration <= 31_536_000:
            raise InvalidRequestError("'duration' must be between 1 second and a year.")
        signed, price = request.transfer, stated_price(request.price_per_second, request.price)
        assert price is not None  # noqa: S101 - pricePerSecond is always there
        check_decimals(price, chain.assets[request.asset])
        if not _NONCE.fullmatch(signed.nonce) or not _SIGNATURE.fullmatch(signed.signature):
            raise AuthorizationRefusedError(
                "The nonce has 32 bytes and the signature 65, in hex.", reason="invalid_exact_evm_payload_signature"
            )
        authorization = Authorization(
            asset=request.asset,
            payer=chain.normalize_address(signed.payer.lower()),
            recipient=chain.normalize_address(signed.recipient.lower()),
            amount=parse_amount(signed.amount, field="value"),
            valid_after=signed.valid_after,
            valid_before=signed.valid_before,
            nonce=signed.nonce[2:].lower(),
            signature=bytes.fromhex(signed.signature[2:]),
        )
        if authorization.recipient != chain.recipient:
            raise AuthorizationRefusedError(
                "It pays somebody else.", reason="invalid_exact_evm_payload_recipient_mismatch"
            )
        due = price.quote(request.duration)
        if authorization.amount != due or due < self._least(chain, request.asset):
            raise AuthorizationRefusedError(
                f"{authorization.amount} was signed, {due} is asked for.",
                reason="invalid_exact_evm_payload_authorization_value_mismatch",
            )
        if request.realm is not None and authorization.nonce not in _bound(request.secret or "", request.realm):
            raise AuthorizationRefusedError("The nonce is of another challenge.", reason="invalid_transaction_state")
        rules.check_signature(authorization)
        return Signed(chain, rules, authorization, price, request)


def _bound(challenge_id: str, realm: str) -> tuple[str, str]:
    """The nonces that bind a transfer to an MPP challenge: stock clients hash id and realm in one of two ways."""
    pair = json.dumps([challenge_id, realm], separators=(",", ":"), ensure_ascii=False)
    return keccak(text=challenge_id + realm).hex(), keccak(text=pair).hex()


def check_times(authorization: Authorization, head: Head) -> None:
    """By the chain's clock: it can be used now, for a while. Raises AuthorizationRefusedError."""
    now = head.block_time // 1000
    if authorization.valid_after > now:
        raise AuthorizationRefusedError(
            "It is not valid yet.", reason="invalid_exact_evm_payload_authorization_valid_after"
        )
    if not now + LEAST_SECONDS <= authorization.valid_before <= now + MOST_SECONDS:
        raise AuthorizationRefusedError(
            f"It must be valid for {LEAST_SECONDS} to {MOST_SECONDS} more seconds.",
            reason="invalid_exact_evm_payload_authorization_valid_before",
        )
