"""What can be subscribed to. Each watch is asked for news after every change of the chain."""

from __future__ import annotations

import abc
from collections.abc import Iterator
from typing import Any, ClassVar, Final

from solders.pubkey import Pubkey

from ws402.devchain.jsonrpc import RpcError, invalid
from ws402.devchain.solana import parameters
from ws402.devchain.solana.account_shapes import account_body, check_encoding
from ws402.devchain.solana.engine import FINALIZED, Block, Engine
from ws402.devchain.solana.tokens import read_mint


def in_context(block: Block, value: Any) -> dict[str, Any]:
    """News with the block that it is true for; unlike answers they name no version."""
    return {"context": {"slot": block.slot}, "value": value}


class Watch(abc.ABC):
    """A subscription. `name` is that of its methods; `over` ends it after its news."""

    least: ClassVar[int] = 0
    """Parameters that must be given."""

    def __init__(self, name: str, engine: Engine, params: list[Any]) -> None:
        if len(params) < self.least:
            raise invalid(f"`params` should have at least {self.least} argument(s)")
        self.name = name
        self.over = False
        self._engine = engine
        self._start(params)

    def _start(self, params: list[Any]) -> None:
        """Read the parameters. Raises RpcError."""
        del params

    @abc.abstractmethod
    def news(self) -> Iterator[Any]:
        """What happened since it was last asked."""


def _pubkey(value: object) -> Pubkey:
    try:
        return parameters.pubkey(value)
    except RpcError:
        raise invalid("Invalid Request: Invalid pubkey provided") from None


class SignatureWatch(Watch):
    """Tells once, when a transaction has reached a commitment."""

    least = 1

    def _start(self, params: list[Any]) -> None:
        try:
            self._signature = parameters.signature(params[0])
        except RpcError:
            raise invalid("Invalid Request: Invalid signature provided") from None
        settings = parameters.config(params[1] if len(params) > 1 else None)
        self._level = parameters.level(settings)
        self._tell_received = settings.get("enableReceivedNotification") is True

    def news(self) -> Iterator[Any]:
        """See Watch."""
        landed = self._engine.landed.get(self._signature)
        if landed is None or self.over:
            return
        block = self._engine.bank(self._level)
        if self._tell_received:
            self._tell_received = False
            yield in_context(self._engine.head, "receivedSignature")
        if landed.slot <= block.slot:
            self.over = True
            yield in_context(block, {"err": landed.outcome.err})


class SlotWatch(Watch):
    """Tells every slot."""

    def _start(self, params: list[Any]) -> None:
        del params
        self._told = self._engine.head.slot

    def news(self) -> Iterator[Any]:
        """See Watch."""
        head = self._engine.head
        root = self._engine.bank(FINALIZED).slot
        for slot in range(self._told + 1, head.slot + 1):
            if (block := self._engine.blocks.get(slot)) is not None:
                yield {"slot": slot, "parent": block.parent, "root": root}
        self._told = head.slot


class RootWatch(Watch):
    """Tells every slot that became final."""

    def _start(self, params: list[Any]) -> None:
        del params
        self._told = self._engine.bank(FINALIZED).slot

    def news(self) -> Iterator[Any]:
        """See Watch."""
        root = self._engine.bank(FINALIZED).slot
        yield from (slot for slot in range(self._told + 1, root + 1) if slot in self._engine.blocks)
        self._told = max(self._told, root)


class AccountWatch(Watch):
    """Tells an account whenever it has changed at a commitment."""

    least = 1

    def _start(self, params: list[Any]) -> None:
        self._address = _pubkey(params[0])
        self._settings = parameters.config(params[1] if len(params) > 1 else None)
        check_encoding(parameters.word(self._settings, "encoding") or "binary")
        self._level = parameters.level(self._settings)
        self._known = self._engine.account(self._address, self._engine.bank(self._level))

    def news(self) -> Iterator[Any]:
        """See Watch."""
        block = self._engine.bank(self._level)
        account = self._engine.account(self._address, block)
        if account == self._known:
            return
        self._known = account

        def decimals(mint: Any) -> int:
            state = read_mint(self._engine.account(mint, block))
            return int(state.decimals) if state else 0

        gone = {"lamports": 0, "owner": "1" * 32, "data": "", "executable": False, "rentEpoch": 0, "space": 0}
        yield in_context(block, account_body(account, self._settings, decimals) if account else gone)


class LogsWatch(Watch):
    """Tells the logs of transactions at a commitment: `all`, `allWithVotes`, or those that mention one account."""

    least = 1

    def _start(self, params: list[Any]) -> None:
        which = params[0]
        self._mentioned = None
        if isinstance(which, str) and which not in {"all", "allWithVotes"}:
            raise invalid(
                f"Invalid params: unknown variant `{which}`, expected one of `all`, `allWithVotes`, `mentions`."
            )
        if not isinstance(which, str):
            mentions = parameters.texts(parameters.config(which).get("mentions"), 256)
            if len(mentions) != 1:
                raise invalid("Invalid Request: Only 1 address supported")
            self._mentioned = _pubkey(mentions[0])
        self._level = parameters.level(parameters.config(params[1] if len(params) > 1 else None))
        self._told = self._place()

    def _place(self) -> tuple[int, int]:
        block = self._engine.bank(self._level)
        return block.slot, len(block.landed)

    def news(self) -> Iterator[Any]:
        """See Watch."""
        slot, index = self._told
        newest = self._engine.bank(self._level)
        for number in range(slot, newest.slot + 1):
            block = self._engine.blocks.get(number)
            for landed in block.landed[index:] if block else ():
                if self._mentioned is None or self._mentioned in landed.outcome.keys:
                    outcome = landed.outcome
                    value = {"signature": str(landed.signature), "err": outcome.err, "logs": outcome.logs}
                    yield in_context(block or newest, value)
            index = 0
        self._told = self._place()


WATCHES: Final[dict[str, type[Watch]]] = {
    "account": AccountWatch,
    "logs": LogsWatch,
    "root": RootWatch,
    "signature": SignatureWatch,
    "slot": SlotWatch,
}
