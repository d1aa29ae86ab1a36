"""Reading transfers to us out of a transaction (getTransaction, encoding json). Pure; malformed answers raise KeyError,
IndexError, TypeError or ValueError.

What counts: transfers of SOL by the system program, and of accepted mints by the token programs, to our accounts, at
top level or by a program's call; of a failed transaction nothing. They must add up to what our account really gained:
what instructions we do not know brought is reported without a tag, and nothing is reported that left again.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ws402.chains.base import Movement, Sent, Transfer
from ws402.chains.solana import programs
from ws402.chains.solana.address import token_account
from ws402.chains.solana.details import memo_of
from ws402.chains.solana.mints import Mint

RESIDUE: Final = -1
"""`Transfer.index`, counted down by asset, of what our account gained by no transfer that we know."""

NOBODYS: Final = "f" * 64
"""A tag that no invoice has: the transfer names an invoice in a way that does not count."""

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Ours:
    """What belongs to us on one cluster. `mints` by our token account.

    `owners` has the wallet of each of our accounts, itself included: of more than one after a rotation of the key that
    is paid.
    """

    network: str
    native: str
    mints: dict[str, Mint]
    owners: dict[str, str] = field(default_factory=dict)
    memo: bool = False

    def add(self, wallet: str, mints: Iterable[Mint]) -> None:
        """Count transfers to one more wallet and its token accounts."""
        self.owners[wallet] = wallet
        for mint in mints:
            account = token_account(wallet, mint.address, mint.program)
            self.mints[account] = mint
            self.owners[account] = wallet

    @property
    def accounts(self) -> list[str]:
        """Whose transactions must be read."""
        return list(self.owners)


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction with its keys resolved. `index`: 256 × its position, plus its number below that when called."""

    index: int
    program: str
    keys: tuple[str, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class Move:
    """A transfer; `source` and `target` are SOL or token accounts, `extra` the keys that it did not need."""

    index: int
    program: str
    source: str
    target: str
    amount: int
    extra: tuple[str, ...]


class Reading:
    """One transaction that is in a block."""

    def __init__(self, transaction: Json, ours: Ours, block_hash: str) -> None:
        """`transaction`: the answer of getTransaction."""
        meta = transaction["meta"]
        message = transaction["transaction"]["message"]
        self._ours = ours
        self._meta = meta
        self.tx: str = transaction["transaction"]["signatures"][0]
        self.slot: int = transaction["slot"]
        self.block_hash = block_hash
        self.block_time: int = transaction["blockTime"] * 1000
        self.failed = meta["err"] is not None
        self.keys = _keys(message, meta)
        self.signers = frozenset(self.keys[: message["header"]["numRequiredSignatures"]])
        self.instructions = tuple(_instructions(message, meta, self.keys))

    def transfers(self) -> list[Transfer]:
        """What it paid us, in the order of its instructions."""
        ours = self._ours
        if self.failed or not self.signers.isdisjoint(ours.owners):
            return []  # what our own key signs is booked by whoever made it
        return [each for account in ours.accounts for each in self._to(account)]

    def elsewhere(self) -> tuple[str, ...]:
        """What a transaction without a transfer to us did instead: 'asset', 'recipient' or both."""
        reasons = []
        mints = {each.address for each in self._ours.mints.values()}
        balances = self._meta.get("postTokenBalances") or []
        if any(each.get("owner") in self._ours.owners and each["mint"] not in mints for each in balances):
            reasons.append("asset")
        if any(move.amount for move in self._moves()):
            reasons.append("recipient")
        return tuple(reasons)

    def memos(self) -> list[str]:
        """Every memo, at top level or called."""
        found = [each.data for each in self.instructions if each.program in programs.MEMO_PROGRAMS]
        return [each.decode(errors="replace") for each in found]

    def held(self, account: str, mint: Mint | None, side: str) -> int:
        """Lamports of an account, or tokens in a token account; `side`: 'pre' or 'post'. 0 for what is not there."""
        if account not in self.keys:
            return 0
        position = self.keys.index(account)
        if mint is None:
            return int(self._meta[f"{side}Balances"][position])
        for each in self._meta.get(f"{side}TokenBalances") or ():
            if each["accountIndex"] == position and each["mint"] == mint.address:
                return int(each["uiTokenAmount"]["amount"])
        return 0

    def sent(self, sender: str) -> tuple[str, int, int]:
        """Of a refund by our account `sender`: asset, amount, and what it cost in lamports besides the amount."""
        asset, amount = self._ours.native, 0
        for move in self._moves():
            if move.index & 0xFF:
                continue  # called: the rent of an account that was made
            if move.program == programs.SYSTEM and move.source == sender:
                amount = move.amount
            for mint in self._ours.mints.values():
                if move.source == token_account(sender, mint.address, mint.program):
                    asset, amount = mint.asset.symbol, move.amount
        paid = self.held(sender, None, "pre") - self.held(sender, None, "post")
        cost = paid - amount if asset == self._ours.native and not self.failed else paid
        return asset, amount, cost

    def sends(self) -> Sent:
        """What this transaction of our account, which paid its fee, moved out of it."""
        sender, native = self.keys[0], self._ours.native
        moves: list[Movement] = []
        for move in () if self.failed else self._moves():
            if move.index & 0xFF or not move.amount:
                continue  # called: the rent of an account that was made
            if move.program == programs.SYSTEM and move.source == sender:
                moves.append(Movement(recipient=move.target, asset=native, amount=move.amount))
            for mint in self._ours.mints.values():
                if move.source == token_account(sender, mint.address, mint.program):
                    to = self._owner(move.target, mint, "post")
                    moves.append(Movement(recipient=to, asset=mint.asset.symbol, amount=move.amount))
                    break  # a mint is there once for each of our wallets
        paid = self.held(sender, None, "pre") - self.held(sender, None, "post")
        return Sent(
            tx=self.tx,
            block=self.slot,
            block_time=self.block_time,
            sender=sender,
            nonce=None,
            fee=paid - sum(each.amount for each in moves if each.asset == native),
            moves=tuple(moves),
        )

    # --- Parts -------------------------------------------------------------------------------------------------------

    def _moves(self) -> Iterator[Move]:
        for each in self.instructions:
            move = _move(each)
            if move is not None:
                yield move

    def _to(self, account: str) -> list[Transfer]:
        mint = self._ours.mints.get(account)
        gained = self.held(account, mint, "post") - self.held(account, mint, "pre")
        if gained <= 0:
            return []
        program = programs.SYSTEM if mint is None else mint.program
        moves = [
            each
            for each in self._moves()
            if each.target == account and each.program == program and each.source != account and each.amount > 0
        ]
        if sum(each.amount for each in moves) > gained:
            moves = []  # some of it left again
        repeated = {
            key for key, count in Counter(key for each in moves for key in set(each.extra)).items() if count > 1
        }
        owner = self._ours.owners[account]
        found = [self._transfer(each, owner, mint, self._tags(each, repeated)) for each in moves]
        rest = gained - sum(each.amount for each in moves)
        if rest:
            found.append(self._made(RESIDUE - self._position(account), self.keys[0], owner, mint, rest, ()))
        return found

    def _position(self, account: str) -> int:
        """A number for one of our accounts in this transaction, whichever of our wallets is the first one today."""
        owners = self._ours.owners
        wallets = list(dict.fromkeys(owners[key] for key in self.keys if key in owners))
        own = [each for each, wallet in owners.items() if wallet == owners[account]]
        return own.index(account) + len(own) * wallets.index(owners[account])

    def _tags(self, move: Move, repeated: set[str]) -> tuple[str, ...]:
        """Hashes of the keys that name invoices; a key on several transfers of one transaction names none (A28)."""
        if not move.extra:
            return ()
        memos = self.memos()
        named = [
            hashlib.sha256(key.encode()).hexdigest()
            for key in move.extra
            if key not in repeated and (not self._ours.memo or memos == [memo_of(key)])
        ]
        return tuple(dict.fromkeys(named)) or (NOBODYS,)

    def _transfer(self, move: Move, owner: str, mint: Mint | None, tags: tuple[str, ...]) -> Transfer:
        return self._made(move.index, self._payer(move, mint), owner, mint, move.amount, tags)

    def _payer(self, move: Move, mint: Mint | None) -> str:
        """The wallet, when its associated token account paid; another token account stands for itself, so that a refund
        goes back to where the money came from.
        """
        return move.source if mint is None else self._owner(move.source, mint, "pre")

    def _owner(self, account: str, mint: Mint, side: str) -> str:
        """The wallet whose associated token account this is; any other token account stands for itself."""
        position = self.keys.index(account)
        for each in self._meta.get(f"{side}TokenBalances") or ():
            if each["accountIndex"] == position and each["mint"] == mint.address:
                owner = each.get("owner")
                if owner and token_account(owner, mint.address, mint.program) == account:
                    return str(owner)
        return account

    def _made(
        self, index: int, sender: str, owner: str, mint: Mint | None, amount: int, tags: tuple[str, ...]
    ) -> Transfer:
        ours = self._ours
        return Transfer(
            network=ours.network,
            tx=self.tx,
            index=index,
            block=self.slot,
            block_hash=self.block_hash,
            block_time=self.block_time,
            sender=sender,
            recipient=owner,
            asset=ours.native if mint is None else mint.asset.symbol,
            amount=amount,
            tags=tags,
        )


def _keys(message: Json, meta: Json) -> tuple[str, ...]:
    """All keys, those of look-up tables resolved by the node. Raises ValueError when they are not (A29)."""
    keys: list[str] = list(message["accountKeys"])
    lookups: Sequence[Json] = message.get("addressTableLookups") or ()
    loaded = meta.get("loadedAddresses") or {"writable": [], "readonly": []}
    if (
        sum(len(each["writableIndexes"]) for each in lookups) != len(loaded["writable"])
        or sum(len(each["readonlyIndexes"]) for each in lookups) != len(loaded["readonly"])
        or len(meta["preBalances"]) != len(keys) + len(loaded["writable"]) + len(loaded["readonly"])
    ):
        raise ValueError("the node did not resolve a look-up table")
    return tuple(keys) + tuple(loaded["writable"]) + tuple(loaded["readonly"])


def _instructions(message: Json, meta: Json, keys: Sequence[str]) -> Iterator[Instruction]:
    called: dict[int, Sequence[Json]] = {
        each["index"]: each["instructions"] for each in meta.get("innerInstructions") or ()
    }
    for position, outer in enumerate(message["instructions"]):
        yield _instruction(position << 8, outer, keys)
        for number, inner in enumerate(called.get(position, ())):
            yield _instruction((position << 8) + number + 1, inner, keys)


def _instruction(index: int, compiled: Json, keys: Sequence[str]) -> Instruction:
    return Instruction(
        index=index,
        program=keys[compiled["programIdIndex"]],
        keys=tuple(keys[each] for each in compiled["accounts"]),
        data=base58(compiled["data"]),
    )


def _move(each: Instruction) -> Move | None:
    """What a transfer instruction moves; None for any other."""
    data, keys = each.data, each.keys
    kind = int.from_bytes(data[:4], "little")
    if each.program == programs.SYSTEM and len(data) >= 12 and len(keys) >= 2:
        amount = int.from_bytes(data[4:12], "little")
        if kind == programs.SYSTEM_TRANSFER:
            return Move(each.index, each.program, keys[0], keys[1], amount, keys[2:])
        if kind == programs.SYSTEM_TRANSFER_WITH_SEED and len(keys) >= 3:
            return Move(each.index, each.program, keys[0], keys[2], amount, keys[3:])
    if each.program in programs.TOKEN_PROGRAMS and len(data) >= 9:
        amount = int.from_bytes(data[1:9], "little")
        if data[0] == programs.TOKEN_TRANSFER and len(keys) >= 3:
            return Move(each.index, each.program, keys[0], keys[1], amount, keys[3:])
        if data[0] == programs.TOKEN_TRANSFER_CHECKED and len(keys) >= 4:
            return Move(each.index, each.program, keys[0], keys[2], amount, keys[4:])
    return None


_ALPHABET: Final = {
    char: position for position, char in enumerate("123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz")
}


def base58(text: str) -> bytes:
    """Bytes of any length (solders reads base58 of keys and signatures only). Raises KeyError for other characters."""
    number = 0
    for char in text:
        number = number * 58 + _ALPHABET[char]
    zeros = len(text) - len(text.lstrip("1"))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")
