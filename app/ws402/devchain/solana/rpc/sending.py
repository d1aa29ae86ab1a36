"""Sending and simulating transactions, airdrops, and the `dev_` methods by which tests provoke trouble."""
# ruff: noqa: D102, N802 - the methods are named, and described, by the API.

from __future__ import annotations

import contextlib
from typing import Any, Final

from solders.compute_budget import set_compute_unit_limit
from solders.keypair import Keypair
from solders.message import Message
from solders.system_program import TransferParams, transfer
from solders.transaction import VersionedTransaction

from ws402.devchain.jsonrpc import RpcError, invalid
from ws402.devchain.solana import parameters, shapes
from ws402.devchain.solana.account_shapes import account_body
from ws402.devchain.solana.engine import CONFIRMED, MAX_AGE, Block, Engine, Outcome, RefusedError
from ws402.devchain.solana.errors import SIGNATURE_FAILURE, preflight_failure
from ws402.devchain.solana.rpc.base import Methods, in_context
from ws402.devchain.solana.tokens import read_mint

FAUCET_UNITS: Final = 1_000


class Sending(Methods):
    """Sending and simulating transactions. Accepted ones run at once."""

    def __init__(self, engine: Engine, faucet: Keypair) -> None:
        super().__init__(engine)
        self._faucet = faucet
        self._airdrops = 0
        self._to_drop = 0

    def sendTransaction(self, transaction: object, config: object = None) -> str:
        settings = parameters.config(config)
        decoded = parameters.transaction(transaction, settings)
        level = parameters.level(settings, "preflightCommitment", parameters.level(settings))
        block = self._engine.bank(level)
        parameters.check_slot(block, settings)
        if settings.get("skipPreflight") is not True:
            _verify(decoded)
            outcome = self._engine.simulate(decoded, block)
            if outcome.err is not None:
                raise preflight_failure(outcome.err, _simulation(outcome))
        self._land(decoded)
        return str(decoded.signatures[0])

    def _land(self, transaction: VersionedTransaction) -> None:
        """As the network does: a transaction that cannot land is dropped without a word."""
        if self._to_drop:
            self._to_drop -= 1
        elif all(transaction.verify_with_results()):
            with contextlib.suppress(RefusedError):
                self._engine.submit(transaction)

    def simulateTransaction(self, transaction: object, config: object = None) -> dict[str, Any]:
        settings = parameters.config(config)
        decoded = parameters.transaction(transaction, settings)
        block = parameters.bank(self._engine, settings)
        verify, replace = settings.get("sigVerify") is True, settings.get("replaceRecentBlockhash") is True
        if verify and replace:
            raise invalid("sigVerify may not be used with replaceRecentBlockhash")
        if verify:
            _verify(decoded)
        outcome = self._engine.simulate(decoded, block, any_hash=replace, verify=verify)
        value = _simulation(outcome) | {
            "loadedAddresses": shapes.loaded_addresses(outcome),
            "preBalances": outcome.pre,
            "postBalances": outcome.post,
            "preTokenBalances": shapes.token_balances(outcome.pre_tokens),
            "postTokenBalances": shapes.token_balances(outcome.post_tokens),
        }
        if settings.get("innerInstructions") is True:
            value["innerInstructions"] = shapes.inner_instructions(outcome, parsed=True)
        if replace:
            value["replacementBlockhash"] = {
                "blockhash": str(block.hash),
                "lastValidBlockHeight": block.height + MAX_AGE,
            }
        if settings.get("accounts") is not None:
            value["accounts"] = self._accounts(parameters.config(settings["accounts"]), outcome, block)
        return in_context(block, value)

    def _accounts(self, settings: dict[str, Any], outcome: Outcome, block: Block) -> list[Any]:
        addresses = parameters.texts(settings.get("addresses"), len(outcome.keys))
        encoding = parameters.word(settings, "encoding") or "base64"
        if encoding in {"binary", "base58"}:
            raise invalid("base58 encoding not supported")

        def decimals(mint: Any) -> int:
            state = read_mint(outcome.accounts.get(mint) or self._engine.account(mint, block))
            return int(state.decimals) if state else 0

        bodies: list[Any] = []
        for each in addresses:
            wanted = parameters.pubkey(each)
            account = None if outcome.err is not None else outcome.accounts.get(wanted)
            bodies.append(account and account_body(account, {"encoding": encoding}, decimals))
        return bodies

    def requestAirdrop(self, address: object, lamports: object, config: object = None) -> str:
        """Lamports from the faucet, which is richer than any need."""
        wanted, amount = parameters.pubkey(address), parameters.integer(lamports)
        settings = parameters.config(config)
        recent = self._engine.bank(CONFIRMED).hash
        if settings.get("recentBlockhash") is not None:
            recent = parameters.blockhash(settings["recentBlockhash"])
        pay = transfer(TransferParams(from_pubkey=self._faucet.pubkey(), to_pubkey=wanted, lamports=amount))
        # A limit of its own makes each airdrop another transaction, even for the same account and amount.
        self._airdrops += 1
        limit = set_compute_unit_limit(FAUCET_UNITS + self._airdrops % 100_000)
        message = Message.new_with_blockhash([pay, limit], self._faucet.pubkey(), recent)
        transaction = VersionedTransaction(message, [self._faucet])
        self._land(transaction)
        return str(transaction.signatures[0])

    # --- Trouble, for tests --------------------------------------------------------------------------------------

    def dev_advanceSlots(self, slots: object) -> int:
        """Let this many slots pass now; answers the open slot."""
        self._engine.advance(parameters.integer(slots))
        return self._engine.head.slot

    def dev_dropSends(self, count: object) -> None:
        """Lose the next transactions: sendTransaction accepts them, and they never land."""
        self._to_drop = parameters.integer(count)

    def dev_fork(self, slots: object, config: object = None) -> int:
        """Give up the newest slots and what landed in them, `keepTransactions`: unless it still can land after it."""
        keep = parameters.config(config).get("keepTransactions") is True
        try:
            self._engine.fork(parameters.integer(slots), keep=keep)
        except ValueError as error:
            raise invalid(str(error)) from None
        return self._engine.head.slot


def _verify(transaction: VersionedTransaction) -> None:
    if not all(transaction.verify_with_results()):
        raise RpcError("Transaction signature verification failure", SIGNATURE_FAILURE)


def _simulation(outcome: Outcome) -> dict[str, Any]:
    """What every simulation tells; simulateTransaction fills in more."""
    return {
        "accounts": None,
        "err": outcome.err,
        "fee": outcome.fee,
        "innerInstructions": None,
        "loadedAccountsDataSize": outcome.data_size,
        "loadedAddresses": None,
        "logs": outcome.logs,
        "postBalances": None,
        "postTokenBalances": None,
        "preBalances": None,
        "preTokenBalances": None,
        "replacementBlockhash": None,
        "returnData": shapes.return_data(outcome),
        "unitsConsumed": outcome.units,
    }
