"""Faults on demand for the mock: delays, errors, lost answers and refusals, by call and number of times."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, get_args

from ws402.errors import UnavailableError, WS402Error
from ws402.protocol import RejectCode

Call = Literal[
    "*",
    "generate",
    "verify",
    "checkpoint",
    "settle",
    "release",
    "resume",
    "refund",
    "refund_status",
    "session",
    "payment_status",
    "ready",
]
"""What a fault applies to; `*`: every call."""

CALLS: Final = get_args(Call)


@dataclass(slots=True)
class _Fault:
    call: Call
    times: int | None
    error: Callable[[], WS402Error]
    after: bool


class Faults:
    """Knobs of a mock. `times` counts the calls that a fault hits; None: every call until `clear`."""

    def __init__(self) -> None:
        self._faults: list[_Fault] = []
        self._rejects: list[tuple[RejectCode, str | None, int | None]] = []
        self._delays: dict[str, float] = {}
        self.calls: dict[str, int] = {}
        """How often each call was made, repetitions included."""

    def reject(self, code: RejectCode | str, *, times: int | None = 1, reason: str | None = None) -> None:
        """Refuse the next payment proofs with this code, claiming nothing."""
        self._rejects.append((RejectCode(code), reason, times))

    def fail(self, call: Call, error: WS402Error, *, times: int | None = 1) -> None:
        """Raise this error instead of doing the call."""
        self._add(call, times, lambda: error, after=False)

    def unavailable(self, call: Call = "*", *, times: int | None = 1) -> None:
        """The gateway cannot be reached: `UnavailableError`, and nothing was done."""
        self._add(call, times, lambda: UnavailableError("The mock gateway is away, as asked."), after=False)

    def lose_answer(self, call: Call = "*", *, times: int | None = 1) -> None:
        """The work is done and its answer lost: `UnavailableError`; a repeated call must get that answer."""
        self._add(call, times, lambda: UnavailableError("The mock gateway's answer was lost, as asked."), after=True)

    def delay(self, seconds: float, call: Call = "*") -> None:
        """Every such call takes this much longer, until `clear`."""
        _check(call)
        self._delays[call] = seconds

    def clear(self) -> None:
        """Work well again."""
        self._faults.clear()
        self._rejects.clear()
        self._delays.clear()

    async def before(self, call: Call) -> None:
        """Delay, then raise, as asked."""
        self.calls[call] = self.calls.get(call, 0) + 1
        if seconds := self._delays.get(call, self._delays.get("*", 0)):
            await asyncio.sleep(seconds)
        if (error := self._take(call, after=False)) is not None:
            raise error

    def lost(self, call: Call) -> WS402Error | None:
        """The error to raise instead of the answer, if it is to be lost."""
        return self._take(call, after=True)

    def refusal(self) -> tuple[RejectCode, str | None] | None:
        """The refusal for the next payment proof, if one was asked for."""
        if not self._rejects:
            return None
        code, reason, times = self._rejects[0]
        if times is None:
            return code, reason
        if times <= 1:
            self._rejects.pop(0)
        else:
            self._rejects[0] = (code, reason, times - 1)
        return code, reason

    def _add(self, call: Call, times: int | None, error: Callable[[], WS402Error], *, after: bool) -> None:
        _check(call)
        self._faults.append(_Fault(call, times, error, after))

    def _take(self, call: Call, *, after: bool) -> WS402Error | None:
        for fault in self._faults:
            if fault.after == after and fault.call in ("*", call):
                if fault.times is not None:
                    fault.times -= 1
                    if fault.times <= 0:
                        self._faults.remove(fault)
                return fault.error()
        return None


def _check(call: str) -> None:
    if call not in CALLS:
        msg = f"'{call}' is no call; use one of: {', '.join(CALLS)}"
        raise ValueError(msg)
