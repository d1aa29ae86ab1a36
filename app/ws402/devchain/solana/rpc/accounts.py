"""Accounts and token accounts."""
# ruff: noqa: D102, N802 - the methods are named, and described, by the API.

from __future__ import annotations

from typing import Any

from solders.account import Account
from solders.pubkey import Pubkey

from ws402.devchain.jsonrpc import invalid
from ws402.devchain.solana import parameters
from ws402.devchain.solana.account_shapes import account_body
from ws402.devchain.solana.engine import Block
from ws402.devchain.solana.programs import TOKEN_PROGRAMS
from ws402.devchain.solana.rpc.base import Methods, in_context
from ws402.devchain.solana.tokens import read_account, read_mint, ui_amount

MAX_ACCOUNTS = 100


class Accounts(Methods):
    """Accounts and token accounts."""

    def getBalance(self, address: object, config: object = None) -> dict[str, Any]:
        wanted = parameters.pubkey(address)
        block = parameters.bank(self._engine, parameters.config(config))
        account = self._engine.account(wanted, block)
        return in_context(block, account.lamports if account else 0)

    def getAccountInfo(self, address: object, config: object = None) -> dict[str, Any]:
        wanted = parameters.pubkey(address)
        settings = parameters.config(config)
        block = parameters.bank(self._engine, settings)
        return in_context(block, self._body(wanted, block, settings))

    def getMultipleAccounts(self, addresses: object, config: object = None) -> dict[str, Any]:
        wanted = [parameters.pubkey(each) for each in parameters.texts(addresses, MAX_ACCOUNTS)]
        settings = {"encoding": "base64"} | parameters.config(config)
        block = parameters.bank(self._engine, settings)
        return in_context(block, [self._body(each, block, settings) for each in wanted])

    def getProgramAccounts(self, program: object, config: object = None) -> Any:
        wanted = parameters.pubkey(program)
        settings = parameters.config(config)
        block = parameters.bank(self._engine, settings)
        tests = parameters.texts(settings.get("filters") or [], 4)
        found = [
            {"pubkey": str(address), "account": self._shape(account, block, settings)}
            for address, account in self._engine.owned_by(wanted, block)
            if all(parameters.matches(test, account.data) for test in tests)
        ]
        return in_context(block, found) if settings.get("withContext") else found

    def getTokenAccountBalance(self, address: object, config: object = None) -> dict[str, Any]:
        wanted = parameters.pubkey(address)
        block = parameters.bank(self._engine, parameters.config(config))
        account = self._engine.account(wanted, block)
        if account is None:
            raise invalid("Invalid param: could not find account")
        state = read_account(account)
        if state is None:
            raise invalid("Invalid param: not a Token account")
        return in_context(block, ui_amount(state.amount, self._decimals(state.mint, block)))

    def getTokenSupply(self, mint: object, config: object = None) -> dict[str, Any]:
        wanted = parameters.pubkey(mint)
        block = parameters.bank(self._engine, parameters.config(config))
        account = self._engine.account(wanted, block)
        if account is None:
            raise invalid("Invalid param: could not find account")
        state = read_mint(account)
        if state is None:
            raise invalid("Invalid param: mint could not be unpacked")
        return in_context(block, ui_amount(state.supply, state.decimals))

    def getTokenAccountsByOwner(self, owner: object, which: object, config: object = None) -> dict[str, Any]:
        return self._token_accounts(owner, which, config, delegate=False)

    def getTokenAccountsByDelegate(self, delegate: object, which: object, config: object = None) -> dict[str, Any]:
        return self._token_accounts(delegate, which, config, delegate=True)

    def _token_accounts(self, holder: object, which: object, config: object, *, delegate: bool) -> dict[str, Any]:
        wanted = parameters.pubkey(holder)
        settings = parameters.config(config)
        block = parameters.bank(self._engine, settings)
        mint, programs = self._choice(parameters.config(which), block)
        found: list[dict[str, Any]] = []
        for program in programs:
            for address, account in self._engine.owned_by(program, block):
                state = read_account(account)
                if state is None or (mint is not None and state.mint != mint):
                    continue
                if wanted == (state.delegate if delegate else state.owner):
                    found.append({"pubkey": str(address), "account": self._shape(account, block, settings)})
        return in_context(block, found)

    def _choice(self, which: dict[str, Any], block: Block) -> tuple[Pubkey | None, list[Pubkey]]:
        """The mint and the programs that `mint` or `programId` asks for."""
        if "mint" in which:
            mint = parameters.pubkey(which["mint"])
            account = self._engine.account(mint, block)
            if account is None:
                raise invalid("Invalid param: could not find mint")
            if read_mint(account) is None:
                raise invalid("Invalid param: Token mint could not be unpacked")
            return mint, [account.owner]
        program = parameters.pubkey(which.get("programId"))
        if program not in TOKEN_PROGRAMS:
            raise invalid("Invalid param: unrecognized Token program id")
        return None, [program]

    def _body(self, address: Pubkey, block: Block, settings: dict[str, Any]) -> dict[str, Any] | None:
        account = self._engine.account(address, block)
        return None if account is None else self._shape(account, block, settings)

    def _shape(self, account: Account, block: Block, settings: dict[str, Any]) -> dict[str, Any]:
        return account_body(account, settings, lambda mint: self._decimals(mint, block))

    def _decimals(self, mint: Pubkey, block: Block) -> int:
        state = read_mint(self._engine.account(mint, block))
        if state is None:
            raise invalid("Invalid param: could not find mint")
        return int(state.decimals)
