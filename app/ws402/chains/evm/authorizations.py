"""Collecting by EIP-3009: a payer signs a transfer, we bring it to the chain and pay its gas.

The signing domain comes from settings, never from what a payer sends. Only keys sign here: the signature of a contract
wallet (EIP-1271), or of one that is not deployed yet (ERC-6492), is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import rlp
from eth_utils.crypto import keccak

from ws402.chains.base import BroadcastRefusedError, ChainUnavailableError, SignedTransaction
from ws402.chains.collecting import Authorization, AuthorizationRefusedError, SigningDomain
from ws402.chains.evm import abi
from ws402.chains.evm.address import address_of, normalize_address, word
from ws402.chains.evm.fees import Bid, Fees
from ws402.chains.evm.replies import ReplyError
from ws402.chains.evm.signatures import recover
from ws402.chains.evm.transactions import Draft, signed
from ws402.chains.evm.transfers import number
from ws402.chains.rpc.pool import Pool
from ws402.errors import ConfigurationError
from ws402.keys.base import Signer
from ws402.settings import EvmNetworkSettings

MAX_GAS: Final = 200_000
"""A token that takes more than this for one transfer is not collected in. USDC takes 85,000 at most."""

EVENT_BLOCKS: Final = 1_000
"""Blocks whose events are asked for at once: providers refuse longer ranges, most from 2,000 on, some from 1,000."""

_DOMAIN_TYPE: Final = keccak(
    text="EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)  # EIP-712
_TRANSFER_TYPE: Final = keccak(
    text="TransferWithAuthorization(address from,address to,uint256 value,"
    "uint256 validAfter,uint256 validBefore,bytes32 nonce)"
)  # EIP-3009


class EvmAuthorizations:
    """See `ws402.chains.collecting.Authorizations`."""

    def __init__(self, settings: EvmNetworkSettings, pool: Pool, strangers: Pool, fees: Fees) -> None:
        """`strangers`: the endpoints' connections for what payers make us ask."""
        self._pool = pool
        self._strangers = strangers
        self._fees = fees
        self._network = settings.network
        self._chain_id = settings.chain_id
        self.domains: Mapping[str, SigningDomain] = {
            each.symbol: SigningDomain(
                name=each.eip712_name, version=each.eip712_version, contract=normalize_address(each.contract)
            )
            for each in settings.tokens
            if each.eip712_name is not None and each.eip712_version is not None
        }

    def tag(self, asset: str, payer: str, nonce: str) -> str:
        """See `Authorizations.tag`."""
        return abi.authorization_tag(self._network, self.domains[asset].contract, payer, nonce)

    # --- Domains -----------------------------------------------------------------------------------------------------

    async def check_domains(self) -> None:
        """See `Authorizations.check_domains`."""
        for symbol, domain in self.domains.items():
            shown = await self._ask(self._pool, domain.contract, abi.DOMAIN_SEPARATOR)
            if shown is None:
                raise ConfigurationError(
                    f"{symbol} on {self._network} has no DOMAIN_SEPARATOR(): it cannot be collected (EIP-3009).",
                    remedy="Remove its eip712_name and eip712_version.",
                )
            if bytes.fromhex(shown[2:]) == self._separator(domain):
                continue
            name, version = [await self._text(domain.contract, each) for each in (abi.NAME, abi.VERSION)]
            right = SigningDomain(name=name or "", version=version or "1", contract=domain.contract)
            known = bytes.fromhex(shown[2:]) == self._separator(right)
            hint = f"Set eip712_name = '{right.name}', eip712_version = '{right.version}'." if known else None
            raise ConfigurationError(
                f"{symbol} on {self._network} does not sign as '{domain.name}', version '{domain.version}'.",
                remedy=hint or "Ask the token's issuer for the name and version of its signing domain (EIP-712).",
            )

    def _separator(self, domain: SigningDomain) -> bytes:
        words = (keccak(text=domain.name), keccak(text=domain.version), self._chain_id.to_bytes(32, "big"))
        return bytes(keccak(_DOMAIN_TYPE + b"".join(words) + bytes.fromhex(word(domain.contract)[2:])))

    async def _text(self, contract: str, data: str) -> str | None:
        answer = await self._ask(self._pool, contract, data)
        if answer is None:
            return None
        raw = bytes.fromhex(answer[2:])
        return raw[64 : 64 + int.from_bytes(raw[32:64], "big")].decode("utf-8", "replace")

    async def _ask(self, pool: Pool, contract: str, data: str) -> str | None:
        """What a view answers; None when it reverts or answers nothing."""
        try:
            answer: str = await pool.call("eth_call", {"to": contract, "data": data}, "latest")
        except ReplyError as error:
            if error.reverted:
                return None
            raise ChainUnavailableError(f"{self._network} answered with an error: {error.message}.") from error
        return answer if answer != "0x" else None

    # --- Judging -----------------------------------------------------------------------------------------------------

    def check_signature(self, authorization: Authorization) -> None:
        """See `Authorizations.check_signature`."""
        signer = recover(self._digest(authorization), authorization.signature)
        if signer != authorization.payer:
            raise AuthorizationRefusedError(
                "The signature is not the payer's.", reason="invalid_exact_evm_payload_signature"
            )

    def _digest(self, each: Authorization) -> bytes:
        numbers = (each.amount, each.valid_after, each.valid_before)
        struct = b"".join(
            (
                _TRANSFER_TYPE,
                bytes.fromhex(word(each.payer)[2:]),
                bytes.fromhex(word(each.recipient)[2:]),
                *(value.to_bytes(32, "big") for value in numbers),
                bytes.fromhex(each.nonce),
            )
        )
        return bytes(keccak(b"\x19\x01" + self._separator(self.domains[each.asset]) + keccak(struct)))

    async def simulate(self, authorization: Authorization) -> None:
        """See `Authorizations.simulate`."""
        contract = self.domains[authorization.asset].contract
        call = {"to": contract, "data": _data(authorization), "gas": hex(MAX_GAS)}
        balance, result = await self._strangers.batch(
            [
                ("eth_call", [{"to": contract, "data": abi.balance_data(authorization.payer)}, "latest"]),
                ("eth_call", [call, "latest"]),
            ]
        )
        if isinstance(balance, ReplyError):
            raise ChainUnavailableError(f"{self._network} cannot tell a balance: {balance.message}") from balance
        if number(balance) < authorization.amount:
            raise AuthorizationRefusedError("The payer does not hold the amount.", reason="insufficient_funds")
        if isinstance(result, ReplyError):
            if not result.reverted:
                raise ChainUnavailableError(f"{self._network} cannot simulate: {result.message}") from result
            raise AuthorizationRefusedError(
                f"The token refuses the transfer: {result.message}", reason="invalid_transaction_state"
            )

    # --- The chain's word --------------------------------------------------------------------------------------------

    async def used(self, authorization: Authorization) -> bool:
        """See `Authorizations.used`."""
        contract = self.domains[authorization.asset].contract
        data = f"{abi.AUTHORIZATION_STATE_SELECTOR}{word(authorization.payer)[2:]}{authorization.nonce}"
        answer = await self._ask(self._strangers, contract, data)
        return answer is not None and number(answer) == 1

    async def find(self, authorization: Authorization, since: int) -> str | None:
        """See `Authorizations.find`."""
        query = {
            "address": self.domains[authorization.asset].contract,
            "topics": [abi.AUTHORIZATION_USED, word(authorization.payer), "0x" + authorization.nonce],
        }
        try:
            newest = number(await self._strangers.call("eth_blockNumber"))
            for first in range(max(0, since), max(0, since, newest) + 1, EVENT_BLOCKS):
                last = first + EVENT_BLOCKS - 1
                bounds = {"fromBlock": hex(first), "toBlock": hex(last) if last < newest else "latest"}
                logs: list[Mapping[str, Any]] = await self._strangers.call("eth_getLogs", query | bounds)
                if logs:
                    return str(logs[-1]["transactionHash"]).lower()
        except ReplyError as error:
            raise ChainUnavailableError(f"{self._network} cannot list events: {error.message}.") from error
        return None

    # --- Sending -----------------------------------------------------------------------------------------------------

    async def sign(self, authorization: Authorization, signer: Signer, *, nonce: int) -> SignedTransaction:
        """See `Authorizations.sign`."""
        contract, data = self.domains[authorization.asset].contract, _data(authorization)
        call = {"from": address_of(signer), "to": contract, "data": data, "gas": hex(MAX_GAS)}
        try:
            estimate = number(await self._pool.call("eth_estimateGas", call, "latest"))
        except ReplyError as error:
            if error.refusal == "insufficient_funds":
                raise BroadcastRefusedError("The collector does not hold its gas.", "insufficient_funds") from error
            if error.reverted:
                raise AuthorizationRefusedError(
                    f"The token refuses the transfer: {error.message}", reason="invalid_transaction_state"
                ) from error
            raise ChainUnavailableError(f"{self._network} cannot simulate: {error.message}") from error
        # The first unit of a recipient's balance costs 17,100 more, and may be spent meanwhile (EIP-2200).
        gas = min(MAX_GAS, estimate + max(estimate // 4, 20_000))
        bid = await self._fees.bid()
        draft = Draft(self._chain_id, nonce, bid.tip, bid.max_fee, gas, contract, 0, data)
        return await self._signed(draft, signer)

    async def outbid(self, replaces: SignedTransaction, signer: Signer) -> SignedTransaction:
        """See `Authorizations.outbid`."""
        bid = await self._fees.outbid(Bid(replaces.fee["maxFeePerGas"], replaces.fee["maxPriorityFeePerGas"]))
        if bid is None:
            return replaces
        fields: Any = rlp.decode(replaces.raw[1:])
        nonce, gas = int.from_bytes(fields[1], "big"), int.from_bytes(fields[4], "big")
        to, data = normalize_address("0x" + fields[5].hex()), "0x" + fields[7].hex()
        return await self._signed(Draft(self._chain_id, nonce, bid.tip, bid.max_fee, gas, to, 0, data), signer)

    async def _signed(self, draft: Draft, signer: Signer) -> SignedTransaction:
        # Calldata of this length costs more than twice a refund's.
        return await signed(draft, signer, self._fees, publishings=4)


def _data(each: Authorization) -> str:
    """Calldata of transferWithAuthorization with v, r, s (EIP-3009)."""
    numbers = "".join(f"{value:064x}" for value in (each.amount, each.valid_after, each.valid_before))
    r, s, v = each.signature[:32], each.signature[32:64], each.signature[64]
    v = v + 27 if v < 27 else v
    parties = word(each.payer)[2:] + word(each.recipient)[2:]
    return f"{abi.TRANSFER_WITH_AUTHORIZATION_SELECTOR}{parties}{numbers}{each.nonce}{v:064x}{r.hex()}{s.hex()}"
