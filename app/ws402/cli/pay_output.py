"""What `ws402 pay` shows: a live meter for people, or one JSON object a line for programs."""

from __future__ import annotations

import base64
import json
import sys
import time
from typing import Any, Final, Protocol, TextIO

import msgspec

from ws402.client import Offer, Payment, Refund, Session, Settlement
from ws402.errors import WS402Error
from ws402.money import to_decimal, wire_amount
from ws402.protocol import BalanceLow, Draining, PaymentRejected, ServerMessage, UsageUpdate, price_terms

PLAIN_SECONDS: Final = 10
"""How often the meter is written where a line cannot be written over."""


class Output(Protocol):
    """Told what happens, in this order."""

    def note(self, text: str) -> None:
        """Something worth a line."""

    def offer(self, offer: Offer) -> None:
        """What is about to be paid."""

    def reused(self, payment: Payment) -> None:
        """A payment from before is used instead of a new one."""

    def payment(self, payment: Payment) -> None:
        """The payment is in a block."""

    def event(self, event: ServerMessage) -> None:
        """A message of the protocol."""

    def meter(self, session: Session) -> None:
        """Called a few times a second."""

    def message(self, message: str | bytes) -> None:
        """A message of the resource."""

    def settlement(self, settlement: Settlement) -> None:
        """The session's end."""

    def refund(self, refund: Refund | None) -> None:
        """Where the refund is; None: nobody tells."""

    def error(self, error: WS402Error) -> None:
        """What ended it all."""


class TextOutput:
    """Messages on standard output, everything else on standard error; the meter rewrites its line on a terminal."""

    def __init__(self, decimals: int, symbol: str, *, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self._decimals = decimals
        self._symbol = symbol
        self._out = out or sys.stdout
        self._err = err or sys.stderr
        self._live = self._err.isatty()
        self._width = 0
        self._written = 0.0
        self._shown = ""
        self._reused: str | None = None

    def note(self, text: str) -> None:
        """A line."""
        self._line(text)

    def offer(self, offer: Offer) -> None:
        """Name, price and payee."""
        self._line(
            f"{plain(offer.name)}: {self._price(offer)}. "
            f"Paying {self._coins(offer.amount)} for {offer.duration} s to {offer.recipient} "
            f"on {plain(offer.network)} …"
        )

    def reused(self, payment: Payment) -> None:
        """Which payment, and that it is not made again."""
        self._reused = payment.id
        self._line(f"Using your payment of {self._coins(payment.amount)} from before, not paying again: {payment.tx}")

    def payment(self, payment: Payment) -> None:
        """The transaction."""
        if payment.id != self._reused:
            self._line(f"Paid {self._coins(payment.amount)}: {payment.tx}")

    def event(self, event: ServerMessage) -> None:
        """What a person must know."""
        match event:
            case BalanceLow(remaining_seconds=seconds):
                self._line(f"The balance lasts {seconds} s more.")
            case Draining():
                self._line("The server goes away; moving to another one …")
            case PaymentRejected(reason=reason):
                self._line(f"Refused: {plain(reason)}")

    def meter(self, session: Session) -> None:
        """One line: time, used, left."""
        if not session.live or not (self._live or time.monotonic() - self._written >= PLAIN_SECONDS):
            return
        left = session.balance
        used = session.paid - left
        price, usage = session.price, session.usage
        seconds = usage.elapsed_seconds if price.units else price.lasts_ms(used) // 1000
        lasts = f" ({_clock(price.lasts_ms(left) // 1000)})" if price.time else ""
        counted = [f"{count} {unit}" for unit, count in usage.units.items()]
        text = f"{_clock(seconds)}  used {self._coins(used)}  left {self._coins(left)}{lasts}  " + ", ".join(
            counted or [f"{usage.message_count} sent", f"{usage.bytes_transferred} bytes"]
        )
        self._written = time.monotonic()
        if self._live:
            self._show(text)
        else:
            self._err.write(text + "\n")
            self._err.flush()

    def message(self, message: str | bytes) -> None:
        """Text as a line; of binary messages only the size."""
        self._clear()
        text = message if isinstance(message, str) else f"<{len(message)} bytes>"
        self._out.write((plain(text) if self._out.isatty() else text) + "\n")
        self._out.flush()
        self._show(self._shown)

    def settlement(self, settlement: Settlement) -> None:
        """The bill."""
        about = "" if settlement.exact else "about "
        why = f" ({str(settlement.reason).replace('_', ' ')})" if settlement.reason else ""
        self._shown = ""
        self._line(
            f"Ended{why}: paid {self._coins(settlement.paid)}, used {about}{self._coins(settlement.consumed)}, "
            f"refund {about}{self._coins(settlement.refund)}."
        )

    def refund(self, refund: Refund | None) -> None:
        """Its transaction."""
        if refund is None:
            self._line("The server does not tell where the refund is; it comes to the paying account.")
        elif refund.tx_hash:
            seen = {True: ", seen on the chain", False: ", NOT found on the chain", None: ""}[refund.seen]
            self._line(f"Refund {self._coins(refund.amount)} {refund.state}{seen}: {plain(refund.tx_hash)}")
        else:
            self._line(f"Refund {self._coins(refund.amount)}: {plain(refund.state)}")

    def error(self, error: WS402Error) -> None:
        """One line with its remedy."""
        self._shown = ""
        self._line(f"ws402: {plain(str(error))}")

    def _price(self, offer: Offer) -> str:
        """As the seller wrote it, which was compared with what is charged; else by the second."""
        return plain(offer.price.text) or f"{self._coins(offer.price_per_second)} a second"

    def _coins(self, amount: int) -> str:
        return f"{to_decimal(amount, self._decimals)} {self._symbol}"

    def _line(self, text: str) -> None:
        self._clear()
        self._err.write(text + "\n")
        self._err.flush()
        self._show(self._shown)

    def _clear(self) -> None:
        if self._live and self._width:
            self._err.write("\r" + " " * self._width + "\r")
            self._width = 0

    def _show(self, text: str) -> None:
        """Write the meter's line over itself, in spaces rather than control codes."""
        self._shown = text
        if self._live and text:
            self._err.write("\r" + text.ljust(self._width))
            self._width = max(self._width, len(text))
            self._err.flush()


class JsonOutput:
    """One object a line on standard output. Amounts are smallest units: numbers up to 2^53-1, strings above."""

    def note(self, text: str) -> None:
        """`note`."""
        self._write("note", text=text)

    def offer(self, offer: Offer) -> None:
        """`offer`."""
        self._write(
            "offer",
            resourceId=offer.resource_id,
            amount=wire_amount(offer.amount),
            pricePerSecond=wire_amount(offer.price_per_second),
            **({} if offer.price.plain else {"price": msgspec.to_builtins(price_terms(offer.price))}),
            duration=offer.duration,
            recipient=offer.recipient,
            network=offer.network,
            asset=offer.symbol,
            token=offer.token,
        )

    def reused(self, payment: Payment) -> None:
        """`reused`: the payment that `paid` then tells of was made before."""
        self._write("reused", txHash=payment.tx, amount=wire_amount(payment.amount), paymentId=payment.id)

    def payment(self, payment: Payment) -> None:
        """`paid`. The reference is a secret and stays out."""
        self._write("paid", txHash=payment.tx, amount=wire_amount(payment.amount), paymentId=payment.id)

    def event(self, event: ServerMessage) -> None:
        """`usage`, and a note for what else matters."""
        match event:
            case UsageUpdate():
                self._write(
                    "usage",
                    elapsedSeconds=event.elapsed_seconds,
                    consumed=event.consumed_amount,
                    remaining=event.remaining_balance,
                    bytesTransferred=event.bytes_transferred,
                    messageCount=event.message_count,
                )
            case BalanceLow():
                self._write("balance_low", remainingSeconds=event.remaining_seconds)
            case Draining():
                self._write("draining", reconnectAfterMs=event.reconnect_after_ms)

    def meter(self, session: Session) -> None:
        """Nothing: `usage` has it."""

    def message(self, message: str | bytes) -> None:
        """`message` with `text` or `base64`."""
        if isinstance(message, str):
            self._write("message", text=message)
        else:
            self._write("message", base64=base64.b64encode(message).decode())

    def settlement(self, settlement: Settlement) -> None:
        """`settled`."""
        self._write(
            "settled",
            paid=wire_amount(settlement.paid),
            consumed=wire_amount(settlement.consumed),
            refund=wire_amount(settlement.refund),
            refundId=settlement.refund_id,
            reason=settlement.reason,
            exact=settlement.exact,
        )

    def refund(self, refund: Refund | None) -> None:
        """`refund`."""
        if refund is None:
            self._write("refund", state="unknown")
        else:
            self._write(
                "refund",
                state=refund.state,
                amount=wire_amount(refund.amount),
                txHash=refund.tx_hash,
                seenOnChain=refund.seen,
            )

    def error(self, error: WS402Error) -> None:
        """`error`."""
        self._write("error", code=error.code, message=error.message, remedy=error.remedy)

    def _write(self, event: str, **fields: Any) -> None:
        shown = {name: value for name, value in fields.items() if value is not None}
        sys.stdout.write(json.dumps({"event": event, **shown}, ensure_ascii=False) + "\n")
        sys.stdout.flush()


def plain(text: str) -> str:
    """Somebody else's text without what would steer a terminal."""
    return "".join(each if each.isprintable() or each in "\n\t" else "�" for each in text)


def _clock(seconds: int) -> str:
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes:02d}:{seconds:02d}"
