"""Transactions, their metadata and blocks as the RPC API writes them."""

from __future__ import annotations

import base64
from typing import Any, Final

from solders.instruction import CompiledInstruction
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from ws402.devchain.solana import base58
from ws402.devchain.solana import message as messages
from ws402.devchain.solana.engine import Block, Landed, Outcome
from ws402.devchain.solana.errors import unsupported_version
from ws402.devchain.solana.parsed import parse_instruction
from ws402.devchain.solana.programs import MEMO, MEMO_V1
from ws402.devchain.solana.tokens import TokenBalance, ui_amount

PAGE: Final = 32 * 1024
"""Agave charges 8 cost units for each 32 KiB of account data that a transaction loads."""


def status(err: Any) -> dict[str, Any]:
    """The old form of an error."""
    return {"Ok": None} if err is None else {"Err": err}


def transaction_body(landed: Landed, encoding: str, most: int | None, *, rewards: bool = True) -> dict[str, Any]:
    """`transaction`, `meta` and, for callers that know versions, `version`. Raises RpcError for a newer version."""
    version = messages.version(landed.transaction)
    if version == 0 and most is None:
        raise unsupported_version(0)
    body = {
        "transaction": encode_transaction(landed.transaction, landed.outcome, encoding),
        "meta": meta(landed, parsed=encoding == "jsonParsed") | ({} if rewards else {"rewards": None}),
    }
    return body | ({"version": version} if most is not None else {})


def encode_transaction(transaction: VersionedTransaction, outcome: Outcome, encoding: str) -> Any:
    """In one of the four encodings."""
    if encoding == "base64":
        return [base64.b64encode(bytes(transaction)).decode(), "base64"]
    if encoding == "base58":
        return [base58.encode(bytes(transaction)), "base58"]
    if encoding == "binary":
        return base58.encode(bytes(transaction))
    message = transaction.message
    body: dict[str, Any] = {"recentBlockhash": str(message.recent_blockhash)}
    if encoding == "json":
        header = message.header
        body["accountKeys"] = [str(key) for key in message.account_keys]
        body["header"] = {
            "numRequiredSignatures": header.num_required_signatures,
            "numReadonlySignedAccounts": header.num_readonly_signed_accounts,
            "numReadonlyUnsignedAccounts": header.num_readonly_unsigned_accounts,
        }
        body["instructions"] = [_compiled(each, 1) for each in message.instructions]
    else:
        body["accountKeys"] = _parsed_keys(transaction, outcome)
        body["instructions"] = [parse_instruction(each, outcome.keys, 1) for each in message.instructions]
    if isinstance(message, MessageV0):
        body["addressTableLookups"] = [
            {
                "accountKey": str(each.account_key),
                "writableIndexes": list(each.writable_indexes),
                "readonlyIndexes": list(each.readonly_indexes),
            }
            for each in message.address_table_lookups
        ]
    return {"signatures": [str(each) for each in transaction.signatures], "message": body}


def _parsed_keys(transaction: VersionedTransaction, outcome: Outcome) -> list[dict[str, Any]]:
    message = transaction.message
    writable = messages.writable(message, outcome.loaded)
    return [
        {
            "pubkey": str(key),
            "signer": index < message.header.num_required_signatures,
            "source": "transaction" if index < len(message.account_keys) else "lookupTable",
            "writable": writable[index],
        }
        for index, key in enumerate(outcome.keys)
    ]


def _compiled(each: CompiledInstruction, height: int | None) -> dict[str, Any]:
    return {
        "programIdIndex": each.program_id_index,
        "accounts": list(each.accounts),
        "data": base58.encode(each.data),
        "stackHeight": height,
    }


def meta(landed: Landed, *, parsed: bool) -> dict[str, Any]:
    """The metadata of a transaction."""
    outcome = landed.outcome
    body: dict[str, Any] = {
        "err": outcome.err,
        "status": status(outcome.err),
        "fee": outcome.fee,
        "preBalances": outcome.pre,
        "postBalances": outcome.post,
        "innerInstructions": inner_instructions(outcome, parsed=parsed),
        "logMessages": outcome.logs,
        "preTokenBalances": token_balances(outcome.pre_tokens),
        "postTokenBalances": token_balances(outcome.post_tokens),
        "rewards": [],
        "computeUnitsConsumed": outcome.units,
        "costUnits": cost_units(landed),
    }
    if not parsed:
        body["loadedAddresses"] = loaded_addresses(outcome)
    if outcome.return_data is not None:
        body["returnData"] = return_data(outcome)
    return body


def loaded_addresses(outcome: Outcome) -> dict[str, list[str]]:
    """Keys from lookup tables."""
    return {
        "writable": [str(key) for key in outcome.loaded.writable],
        "readonly": [str(key) for key in outcome.loaded.readonly],
    }


def return_data(outcome: Outcome) -> dict[str, Any] | None:
    """What the last program returned."""
    if outcome.return_data is None:
        return None
    program, data = outcome.return_data
    return {"programId": str(program), "data": [base64.b64encode(data).decode(), "base64"]}


def inner_instructions(outcome: Outcome, *, parsed: bool) -> list[dict[str, Any]]:
    """Calls between programs, by the top-level instruction that led to them."""
    return [
        {
            "index": index,
            "instructions": [
                parse_instruction(each.instruction(), outcome.keys, each.stack_height())
                if parsed
                else _compiled(each.instruction(), each.stack_height())
                for each in calls
            ],
        }
        for index, calls in enumerate(outcome.inner)
        if calls
    ]


def token_balances(balances: list[TokenBalance]) -> list[dict[str, Any]]:
    """What accounts held of tokens."""
    return [
        {
            "accountIndex": each.index,
            "mint": str(each.mint),
            "owner": str(each.owner),
            "programId": str(each.program),
            # The ledger's storage cannot tell a zero from none.
            "uiTokenAmount": ui_amount(each.amount, each.decimals) | ({} if each.amount else {"uiAmount": None}),
        }
        for each in balances
    ]


def cost_units(landed: Landed) -> int:
    """What a transaction takes of its block's limit, by Agave's cost model."""
    message, outcome = landed.transaction.message, landed.outcome
    locks = sum(messages.writable(message, outcome.loaded))
    data = sum(len(each.data) for each in message.instructions)
    pages = -(-outcome.data_size // PAGE)
    return 720 * message.header.num_required_signatures + 300 * locks + data // 4 + outcome.units + 8 * pages


def memo(landed: Landed) -> str | None:
    """The memos of a transaction as getSignaturesForAddress tells them: `[bytes] text`, joined by semicolons."""
    keys = landed.outcome.keys
    found = [
        f"[{len(each.data)}] {bytes(each.data).decode('utf-8', 'replace')}"
        for each in landed.transaction.message.instructions
        if keys[each.program_id_index] in {MEMO, MEMO_V1}
    ]
    return "; ".join(found) or None


def written(landed: Landed) -> set[Pubkey]:
    """The accounts that the transaction may write."""
    flags = messages.writable(landed.transaction.message, landed.outcome.loaded)
    return {key for key, writes in zip(landed.outcome.keys, flags, strict=True) if writes}


def block_head(block: Block, previous: Block | None) -> dict[str, Any]:
    """A block without its transactions."""
    return {
        "blockhash": str(block.hash),
        "previousBlockhash": str(previous.hash if previous else block.hash),
        "parentSlot": block.parent,
        "blockTime": block.time,
        "blockHeight": block.height,
    }
