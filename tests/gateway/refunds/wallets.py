"""Contract wallets in the EVM's own code, so that these tests need no compiler."""

from __future__ import annotations

from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address
from tests.fixtures.evm import Evm

OPS = {
    "STOP": 0x00,
    "SUB": 0x03,
    "EQ": 0x14,
    "SHL": 0x1B,
    "SHR": 0x1C,
    "CALLVALUE": 0x34,
    "CALLDATALOAD": 0x35,
    "CALLDATASIZE": 0x36,
    "CALLDATACOPY": 0x37,
    "MSTORE": 0x52,
    "SLOAD": 0x54,
    "SSTORE": 0x55,
    "JUMPI": 0x57,
    "GAS": 0x5A,
    "JUMPDEST": 0x5B,
    "DUP1": 0x80,
    "DUP3": 0x82,
    "CALL": 0xF1,
    "RETURN": 0xF3,
    "REVERT": 0xFD,
}

WALLET = """
CALLDATASIZE 1 EQ @lock JUMPI
0 CALLDATALOAD 0xe0 SHR 0x1626ba7e EQ @sign JUMPI
CALLDATASIZE @forward JUMPI
0 SLOAD @refuse JUMPI
STOP
:lock 0 CALLDATALOAD 0xf8 SHR 0 SSTORE STOP
:sign 0x1626ba7e 0xe0 SHL 0 MSTORE 32 0 RETURN
:forward 32 CALLDATASIZE SUB DUP1 32 0 CALLDATACOPY
0 0 DUP3 0 CALLVALUE 0 CALLDATALOAD GAS CALL @done JUMPI
:refuse 0 0 REVERT
:done STOP
"""
"""Forwards value and data to the address in the first word; takes coins unless it is locked (one byte of data: 1 or 0);
answers every EIP-1271 question with yes.
"""


def assemble(source: str) -> bytes:
    """Two-byte jump targets, shortest pushes for numbers."""
    code = bytearray()
    labels: dict[str, int] = {}
    jumps: list[tuple[int, str]] = []
    for word in source.split():
        if word.startswith(":"):
            labels[word[1:]] = len(code)
            code.append(OPS["JUMPDEST"])
        elif word.startswith("@"):
            jumps.append((len(code) + 1, word[1:]))
            code += bytes([0x61, 0, 0])
        elif word in OPS:
            code.append(OPS[word])
        else:
            number = int(word, 0)
            size = max(1, (number.bit_length() + 7) // 8)
            code += bytes([0x5F + size]) + number.to_bytes(size, "big")
    for position, label in jumps:
        code[position : position + 2] = labels[label].to_bytes(2, "big")
    return bytes(code)


class Wallet:
    """A contract wallet that `owner` drives."""

    def __init__(self, evm: Evm, owner: LocalAccount) -> None:
        self.evm = evm
        self.owner = owner
        runtime = assemble(WALLET)
        size = len(runtime).to_bytes(2, "big")
        # PUSH2 size, PUSH1 14, PUSH1 0, CODECOPY, PUSH2 size, PUSH1 0, RETURN
        creation = b"\x61" + size + b"\x60\x0e\x60\x00\x39\x61" + size + b"\x60\x00\xf3" + runtime
        receipt = evm.receipt(evm.send(owner, None, data=creation))
        self.address = to_checksum_address(receipt["contractAddress"])

    def pay(self, to: str, amount: int) -> str:
        """Pay from inside the contract."""
        return self.evm.send(self.owner, self.address, value=amount, data=bytes(12) + bytes.fromhex(to[2:]))

    def lock(self, locked: bool, *, wait: bool = True) -> None:
        """Refuse coins from now on, or take them again; outbids what waits in the pool."""
        data = b"\x01" if locked else b"\x00"
        fee = {"maxFeePerGas": 60 * 10**9, "maxPriorityFeePerGas": 50 * 10**9, "gas": 60_000}
        raw = self.evm.sign(self.owner, self.address, data=data, **fee)
        tx = self.evm.submit(raw)
        if wait:
            self.evm.receipt(tx)
