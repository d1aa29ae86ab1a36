"""The sessions that run on this server now, by id and by HTTP token."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, ValuesView
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ws402.server.sessions.session import Session


class Live:
    """A session is here from the start of its meter to its end."""

    def __init__(self) -> None:
        self._by_id: dict[str, Session] = {}
        self._by_http_token: dict[str, Session] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterable[str]:
        return iter(self._by_id)

    def __contains__(self, session_id: str) -> bool:
        return session_id in self._by_id

    def __getitem__(self, session_id: str) -> Session:
        return self._by_id[session_id]

    def get(self, session_id: str) -> Session | None:
        """The session with this id, if it runs here."""
        return self._by_id.get(session_id)

    def values(self) -> ValuesView[Session]:
        """All of them; copy it before you end any."""
        return self._by_id.values()

    def add(self, session: Session) -> None:
        """A session begins here."""
        self._by_id[session.id] = session
        if session.resource.over_http:
            session.http_token = secrets.token_urlsafe(32)
            self._by_http_token[session.http_token] = session

    def forget(self, session: Session) -> None:
        """It ended or left; its HTTP token is worth nothing from now on."""
        if self._by_id.get(session.id) is session:
            del self._by_id[session.id]
        if session.http_token is not None:
            self._by_http_token.pop(session.http_token, None)

    def by_http_token(self, token: str) -> Session | None:
        """The live session that was given this token."""
        return self._by_http_token.get(token)
