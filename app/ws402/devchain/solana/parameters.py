"""Reading JSON-RPC parameters. Each function raises RpcError (-32602) in Agave's words where clients see them."""

from __future__ import annotations

import base64
import binascii
import string
from typing import Any, Final

from solders.hash import Hash
from solders.message import MessageV0, MessageV1, from_bytes_versioned
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from ws402.devchain.jsonrpc import RpcError, invalid
from ws402.devchain.solana import base58
from ws402.devchain.solana.engine import CONFIRMED, FINALIZED, PROCESSED, Block, Engine
from ws402.devchain.solana.errors import MIN_CONTEXT_SLOT
from ws402.devchain.solana.message import AnyMessage

MAX_TRANSACTION: Final = 1232
"""Bytes of a transaction (Agave's PACKET_DATA_SIZE)."""
MAX_ENCODED: Final = {"base58": 1683, "base64": 1644}
BASE64: Final = frozenset(string.ascii_letters + string.digits + "+/=")
OLD_NAMES: Final = {
    "recent": PROCESSED,
    "single": CONFIRMED,
    "singleGossip": CONFIRMED,
    "root": FINALIZED,
    "max": FINALIZED,
}


def config(value: object) -> dict[str, Any]:
    """A configuration object; none is an empty one."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise invalid(f"Invalid params: invalid type: {_kind(value)}, expected a configuration object.")
    return value


def word(settings: dict[str, Any], name: str) -> str | None:
    """A setting that is a text, or is not given."""
    value = settings.get(name)
    if value is not None and not isinstance(value, str):
        raise invalid(f"Invalid params: invalid type: {_kind(value)}, expected a string.")
    return value


def newest_version(settings: dict[str, Any]) -> int | None:
    """The newest transaction version that the caller can read; None: only legacy ones."""
    value = settings.get("maxSupportedTransactionVersion")
    return None if value is None else integer(value)


def encoding_config(value: object) -> dict[str, Any]:
    """The configuration of what shows transactions; a text is an encoding alone, as it was once."""
    settings: dict[str, Any] = {"encoding": value} if isinstance(value, str) else config(value)
    if word(settings, "encoding") not in {None, "binary", "base64", "base58", "json", "jsonParsed"}:
        raise invalid("Invalid params: data did not match any variant of untagged enum RpcEncodingConfigWrapper.")
    return settings


def level(settings: dict[str, Any], name: str = "commitment", default: str = FINALIZED) -> str:
    """A commitment. Words that mean none are taken for none, as Agave does."""
    value = settings.get(name)
    value = OLD_NAMES.get(value, value) if isinstance(value, str) else None
    return value if value in {PROCESSED, CONFIRMED, FINALIZED} else default


def stored_level(settings: dict[str, Any]) -> str:
    """The commitment of what is looked up in the ledger, which has no `processed`."""
    commitment = level(settings)
    if commitment == PROCESSED:
        raise invalid("Method does not support commitment below `confirmed`")
    return commitment


def bank(engine: Engine, settings: dict[str, Any]) -> Block:
    """The block that a call's `commitment` and `minContextSlot` ask for."""
    block = engine.bank(level(settings))
    check_slot(block, settings)
    return block


def check_slot(block: Block, settings: dict[str, Any]) -> None:
    """Refuse when the block is older than `minContextSlot`."""
    least = settings.get("minContextSlot")
    if least is not None and integer(least) > block.slot:
        raise RpcError("Minimum context slot has not been reached", MIN_CONTEXT_SLOT, {"contextSlot": block.slot})


def pubkey(value: object) -> Pubkey:
    """32 bytes in base58."""
    return Pubkey.from_bytes(_fixed(value, 32))


def signature(value: object) -> Signature:
    """64 bytes in base58."""
    return Signature.from_bytes(_fixed(value, 64))


def blockhash(value: object) -> Hash:
    """32 bytes in base58."""
    return Hash.from_bytes(_fixed(value, 32))


def _fixed(value: object, size: int) -> bytes:
    if not isinstance(value, str):
        raise invalid(f"Invalid params: invalid type: {_kind(value)}, expected a string.")
    try:
        decoded = base58.decode(value)
    except ValueError:
        raise invalid("Invalid param: Invalid") from None
    if len(decoded) != size:
        raise invalid("Invalid param: WrongSize")
    return decoded


def integer(value: object) -> int:
    """A number of 64 bits without sign."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**64:
        raise invalid(f"Invalid params: invalid type: {_kind(value)}, expected u64.")
    return value


def texts(value: object, most: int) -> list[Any]:
    """A list, not too long."""
    if not isinstance(value, list):
        raise invalid(f"Invalid params: invalid type: {_kind(value)}, expected a sequence.")
    if len(value) > most:
        raise invalid(f"Too many inputs provided; max {most}")
    return value


def transaction(value: object, settings: dict[str, Any]) -> VersionedTransaction:
    """A transaction in base58 (the default) or base64."""
    raw = _decode(value, word(settings, "encoding") or "base58", "versioned::VersionedTransaction")
    try:
        decoded = VersionedTransaction.from_bytes(raw)
    except ValueError as error:
        raise _unreadable("versioned::VersionedTransaction", error) from None
    if bytes(decoded) != raw or not decoded.signatures:
        raise _unreadable("versioned::VersionedTransaction", ValueError("trailing or missing bytes"))
    if isinstance(decoded.message, MessageV1):
        raise _unreadable("versioned::VersionedTransaction", ValueError("message version 1 is not taken"))
    try:
        decoded.sanitize()
    except ValueError as error:
        raise invalid(f"invalid transaction: {error}") from None
    return decoded


def message(value: object) -> AnyMessage:
    """A message in base64."""
    raw = _decode(value, "base64", "VersionedMessage")
    try:
        decoded = from_bytes_versioned(raw)
        if isinstance(decoded, MessageV0):
            decoded.sanitize()
    except ValueError as error:
        raise _unreadable("VersionedMessage", error) from None
    return decoded


def _decode(value: object, encoding: str, what: str) -> bytes:
    if not isinstance(value, str):
        raise invalid(f"Invalid params: invalid type: {_kind(value)}, expected a string.")
    if encoding not in MAX_ENCODED:
        raise invalid(f"unsupported encoding: {encoding}. Supported encodings: base58, base64")
    most = MAX_ENCODED[encoding]
    if len(value) > most:
        raise invalid(
            f"{encoding} encoded solana_transaction::{what} too large: {len(value)} bytes "
            f"(max: encoded/raw {most}/{MAX_TRANSACTION})"
        )
    if encoding == "base58":
        try:
            raw = base58.decode(value)
        except ValueError as error:
            place = error.args[0]
            bad = f"InvalidCharacter {{ character: {value[place]!r}, index: {place} }}"
            raise invalid(f"invalid base58 encoding: {bad}") from None
    else:
        try:
            raw = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            wrong = next((at for at, letter in enumerate(value) if letter not in BASE64), None)
            reason = "InvalidPadding" if wrong is None else f"InvalidByte({wrong}, {ord(value[wrong])})"
            raise invalid(f"invalid base64 encoding: {reason}") from None
    if len(raw) > MAX_TRANSACTION:
        raise invalid(f"decoded solana_transaction::{what} too large: {len(raw)} bytes (max: {MAX_TRANSACTION} bytes)")
    return raw


def _unreadable(what: str, error: ValueError) -> RpcError:
    return invalid(f"failed to deserialize solana_transaction::{what}: {error}")


def _kind(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return f"boolean `{str(value).lower()}`"
    if isinstance(value, int):
        return f"integer `{value}`"
    if isinstance(value, str):
        return f'string "{value[:80]}"'
    return "sequence" if isinstance(value, list) else "map"


def matches(test: object, data: bytes) -> bool:
    """Whether an account's data pass a filter of getProgramAccounts: `dataSize`, or bytes at an offset (`memcmp`)."""
    settings = config(test)
    if "dataSize" in settings:
        return len(data) == integer(settings["dataSize"])
    compared = config(settings.get("memcmp"))
    offset = integer(compared.get("offset"))
    wanted = compared.get("bytes")
    if not isinstance(wanted, str):
        raise invalid(f"Invalid params: invalid type: {_kind(wanted)}, expected a string.")
    try:
        if compared.get("encoding") == "base64":
            expected = base64.b64decode(wanted, validate=True)
        else:
            expected = base58.decode(wanted)
    except ValueError:
        raise invalid("Invalid param: Invalid") from None
    return data[offset : offset + len(expected)] == expected
