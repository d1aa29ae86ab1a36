"""What clients write to us rather than to the resource: proofs, resumes, top-ups, the end of a session."""

from __future__ import annotations

from typing import Final

import msgspec

from ws402.protocol import EndReason, EndSessionMessage, PaymentProofMessage, ResumeMessage
from ws402.server.sessions.opening import Opening, reject
from ws402.server.sessions.session import Session
from ws402.server.sockets.socket import Socket

CONTROL_BYTES: Final = 16_384
"""A longer message in a live session is never one of ours."""


class _Head(msgspec.Struct):
    type: str


_head = msgspec.json.Decoder(_Head)
_proof = msgspec.json.Decoder(PaymentProofMessage)
_resume = msgspec.json.Decoder(ResumeMessage)
_end = msgspec.json.Decoder(EndSessionMessage)

_BAD_JSON: Final = (msgspec.DecodeError, RecursionError)
"""What msgspec raises for what is not JSON of this form, or nested too deeply."""


class Inbox:
    """Parses, and hands on."""

    def __init__(self, opening: Opening) -> None:
        self._opening = opening

    def greet(self, socket: Socket, text: str) -> None:
        """A text message before the payment: a proof, a resume, or nothing that concerns us."""
        try:
            kind = _head.decode(text).type
        except msgspec.DecodeError:
            return
        except RecursionError:
            reject(socket, "The message is nested too deeply; a proof is two objects.", "malformed_proof")
            return
        if kind == "payment_proof":
            try:
                message = _proof.decode(text)
            except _BAD_JSON:
                reject(socket, "The proof needs txHash, reference and senderAddress as strings.", "malformed_proof")
                return
            self._opening.begin(socket, self._opening.pay(socket, message))
        elif kind == "resume":
            try:
                resume = _resume.decode(text)
            except _BAD_JSON:
                reject(socket, "A resume needs the token as a string.", "resume_refused")
                return
            self._opening.begin(socket, self._opening.resume(socket, resume))

    def control(self, session: Session, text: str) -> bool:
        """Whether a message of a live session was for us: a top-up or the end. Everything else is the resource's."""
        if len(text) > CONTROL_BYTES or text[:1] not in "{ \t\r\n":
            return False
        if '"payment_proof"' not in text and '"end_session"' not in text:
            return False
        try:
            kind = _head.decode(text).type
            if kind == "end_session":
                _end.decode(text)
                session.finish(EndReason.CLIENT_ENDED, text="session ended")
                return True
            if kind != "payment_proof":
                return False
            message = _proof.decode(text)
        except _BAD_JSON:
            return False
        self._opening.top_up(session, message)
        return True
