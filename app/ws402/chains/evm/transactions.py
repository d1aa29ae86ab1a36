"""Building and signing EIP-1559 transactions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import rlp
from eth_utils.crypto import keccak

from ws402.chains.base import SignedTransaction
from ws402.chains.evm.address import address_of, raw
from ws402.chains.evm.fees import Fees
from ws402.keys import secp256k1
from ws402.keys.base import Signer, SignerUnavailableError

TYPE: Final = b"\x02"


@dataclass(frozen=True, slots=True)
class Draft:
    """An unsigned transaction. Fees are wei per gas, `value` is wei, `data` is hex with 0x."""

    chain_id: int
    nonce: int
    tip: int
    max_fee: int
    gas: int
    to: str
    value: int
    data: str

    def fields(self) -> list[object]:
        """The fields that are signed, in order (EIP-1559)."""
        data = bytes.fromhex(self.data[2:])
        return [self.chain_id, self.nonce, self.tip, self.max_fee, self.gas, raw(self.to), self.value, data, []]


async def sign(draft: Draft, signer: Signer) -> tuple[str, bytes]:
    """The transaction's hash and signed bytes. Raises SignerUnavailableError, also for what is not its signature."""
    fields = draft.fields()
    digest = keccak(TYPE + rlp.encode(fields))
    signature = await signer.sign(digest)
    try:
        recovered = secp256k1.recover(digest, signature)
    except ValueError:
        recovered = b""
    if recovered != signer.public_key:
        raise SignerUnavailableError(f"The keeper of the key {signer.key_id} answered with no signature of that key.")
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big")
    encoded = TYPE + rlp.encode([*fields, signature[64], r, s])
    return "0x" + keccak(encoded).hex(), encoded


async def signed(draft: Draft, signer: Signer, fees: Fees, *, publishings: int) -> SignedTransaction:
    """The transaction as it is stored before it is sent. Raises SignerUnavailableError, ChainUnavailableError.

    `publishings`: what publishing one on the parent chain costs now counts so many times in the highest fee, for that
    price may rise until the block.
    """
    tx, encoded = await sign(draft, signer)
    publishing = (await fees.quote()).publishing
    return SignedTransaction(
        tx=tx,
        raw=encoded,
        sender=address_of(signer),
        nonce=draft.nonce,
        valid_until=None,
        max_fee=draft.gas * draft.max_fee + publishings * publishing,
        fee={"maxFeePerGas": draft.max_fee, "maxPriorityFeePerGas": draft.tip, "gas": draft.gas},
    )
