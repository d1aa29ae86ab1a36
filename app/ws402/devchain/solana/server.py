"""The running chain: funded accounts, a token, slots by time, HTTP and WebSocket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from solders.account import Account
from solders.pubkey import Pubkey
from solders.token.associated import get_associated_token_address

from ws402.devchain.service import DevChain, listen
from ws402.devchain.solana.accounts import DevAccount, derive, mint, token_account, wallet
from ws402.devchain.solana.engine import Engine
from ws402.devchain.solana.rpc import Rpc
from ws402.devchain.solana.rpc.sending import Sending
from ws402.devchain.solana.subscriptions import Connection
from ws402.errors import ConfigurationError

SOL: Final = 10**9
"""Lamports."""
FAUCET_BALANCE: Final = 500_000_000 * SOL
WALLET_RENT, MINT_RENT, TOKEN_RENT = 890_880, 1_461_600, 2_039_280
"""Lamports that accounts with no data, a mint's and a token account's must hold."""


class DevToken(msgspec.Struct, frozen=True):
    """The demo token: a dollar of 6 decimals of the SPL Token program. Everybody has the key of its mint authority."""

    mint: str
    """Address of the mint."""
    authority: DevAccount
    symbol: str = "DUSD"
    decimals: int = 6


class SolanaDevChain(DevChain[Rpc]):
    """A Solana chain with funded accounts at `rpc_url` and `ws_url`; `with` or `async with` starts and ends it.

    `slot_time` seconds lie between slots, 0 lets none pass by time (then `advance`). A slot is `confirmed` and
    `finalized` that many slots later. `balance` is in lamports, `tokens` in the token's smallest unit, each account's.
    `port` 0 takes a free one. WebSocket is answered on the same port and, as clients expect, on the next.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        slot_time: float = 0.4,
        confirm_after: int = 1,
        finalize_after: int = 32,
        accounts: int = 10,
        balance: int = 10_000 * SOL,
        tokens: int = 1_000_000 * 10**6,
    ) -> None:
        if slot_time < 0:
            raise ConfigurationError("The slot time is negative.", remedy="Give seconds, or 0 for none.")
        if not 0 <= confirm_after <= finalize_after:
            raise ConfigurationError(
                "A slot cannot be finalized before it is confirmed.", remedy="Give more slots until it is finalized."
            )
        super().__init__(host, port)
        self.accounts: Sequence[DevAccount] = [derive(f"account {index}") for index in range(accounts)]
        self.faucet = derive("faucet")
        self.token = DevToken(derive("token").address, derive("token authority"))
        self._slot_time = slot_time
        self._confirm_after = confirm_after
        self._finalize_after = finalize_after
        self._balance = balance
        self._tokens = tokens

    @property
    def ws_url(self) -> str:
        """Where subscriptions are answered."""
        return f"ws://{self.host}:{self.port + 1}"

    def token_account(self, owner: str) -> str:
        """The associated account of the demo token for a wallet."""
        mint_address = Pubkey.from_string(self.token.mint)
        return str(get_associated_token_address(Pubkey.from_string(owner), mint_address))

    # --- Without HTTP --------------------------------------------------------------------------------------------

    def advance(self, slots: int = 1) -> None:
        """Let slots pass now."""
        self._on_loop(lambda rpc: rpc.engine.advance(slots))

    def fork(self, slots: int, *, keep: bool = False) -> None:
        """Give up the newest slots; `keep`: their transactions land again if they can. ValueError for final slots."""
        self._on_loop(lambda rpc: rpc.engine.fork(slots, keep=keep))

    def drop_sends(self, count: int) -> None:
        """Lose the next transactions that are sent, without a word."""
        self.rpc("dev_dropSends", count)

    # --- The thread ----------------------------------------------------------------------------------------------

    def _listen(self) -> list[socket.socket]:
        """The port and the one after it; a free pair when any port will do."""
        for attempt in range(50):
            first = listen(self.host, self.port)
            port = first.getsockname()[1]
            try:
                second = listen(self.host, port + 1)
            except ConfigurationError:
                first.close()
                if self.port or attempt == 49:
                    raise
                continue
            self.port = port
            return [first, second]
        raise AssertionError

    def _create(self) -> Rpc:
        engine = Engine(self._genesis(), confirm_after=self._confirm_after, finalize_after=self._finalize_after)
        return Rpc(engine, Sending(engine, self.faucet.keypair))

    def _genesis(self) -> dict[Pubkey, Account]:
        token, authority = Pubkey.from_string(self.token.mint), Pubkey.from_string(self.token.authority.address)
        accounts = {
            Pubkey.from_string(self.faucet.address): wallet(FAUCET_BALANCE),
            authority: wallet(self._balance),
            token: mint(authority, self._tokens * len(self.accounts), self.token.decimals, MINT_RENT),
        }
        for each in self.accounts:
            owner = Pubkey.from_string(each.address)
            accounts[owner] = wallet(self._balance)
            held = token_account(token, owner, self._tokens, TOKEN_RENT)
            accounts[get_associated_token_address(owner, token)] = held
        return accounts

    async def _keep_time(self, rpc: Rpc) -> None:
        """A slot every `slot_time`, without drift."""
        if not self._slot_time:
            await asyncio.Event().wait()
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due = max(due + self._slot_time, loop.time())
            await asyncio.sleep(due - loop.time())
            rpc.engine.advance()

    async def _converse(self, rpc: Rpc, receive: Any, send: Any) -> None:
        await Connection(rpc, receive, send).serve()
