"""Reading JSON-RPC parameters. Each function raises RpcError (-32602) with what was wrong."""

from __future__ import annotations

from dataclasses import dataclass

from ws402.devchain.jsonrpc import invalid

ZERO = bytes(20)


@dataclass(frozen=True, slots=True)
class CallFields:
    """A call or transaction object. `to` is empty for a creation."""

    sender: bytes
    to: bytes
    value: int
    data: bytes
    gas: int | None
    nonce: int | None
    max_fee: int | None
    tip: int | None


def hex_data(value: object, *, size: int | None = None) -> bytes:
    """Bytes in hex with 0x."""
    if not isinstance(value, str) or not value.startswith("0x"):
        raise invalid(f"cannot unmarshal {_short(value)}: hex string without 0x prefix")
    try:
        decoded = bytes.fromhex(value[2:])
    except ValueError:
        raise invalid(f"cannot unmarshal {_short(value)}: invalid hex string") from None
    if size is not None and len(decoded) != size:
        raise invalid(f"hex string has length {len(value) - 2}, want {2 * size}")
    return decoded


def address(value: object) -> bytes:
    """20 bytes in hex."""
    return hex_data(value, size=20)


def integer(value: object) -> int:
    """A hex quantity; plain numbers are taken too."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str):
        try:
            return int(value, 16 if value.startswith("0x") else 10)
        except ValueError:
            pass
    raise invalid(f"cannot unmarshal {_short(value)}: invalid quantity")


def flag(value: object) -> bool:
    """A boolean."""
    if not isinstance(value, bool):
        raise invalid(f"cannot unmarshal {_short(value)}: not a boolean")
    return value


def block_number(tag: object, *, head: int, final: int) -> int:
    """A height, from a tag, a quantity or EIP-1898's object."""
    if isinstance(tag, dict):
        tag = tag.get("blockNumber")
    named = {"latest": head, "pending": head, "safe": final, "finalized": final, "earliest": 0}
    if isinstance(tag, str) and tag in named:
        return named[tag]
    number = integer(tag)
    if number < 0:
        raise invalid("block numbers are not negative")
    return number


def call_fields(value: object) -> CallFields:
    """A call or transaction object."""
    if not isinstance(value, dict):
        raise invalid("missing call object")

    def number(*names: str) -> int | None:
        found = next((value[name] for name in names if value.get(name) is not None), None)
        return None if found is None else integer(found)

    payload = value.get("input") or value.get("data") or "0x"
    return CallFields(
        sender=address(value["from"]) if value.get("from") else ZERO,
        to=address(value["to"]) if value.get("to") else b"",
        value=number("value") or 0,
        data=hex_data(payload),
        gas=number("gas"),
        nonce=number("nonce"),
        max_fee=number("maxFeePerGas", "gasPrice"),
        tip=number("maxPriorityFeePerGas", "gasPrice"),
    )


def _short(value: object) -> str:
    return repr(value)[:80]
