"""API keys in the database: made, listed and revoked while gateways run."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import select, update

from ws402.errors import ConfigurationError, InvalidRequestError, NotFoundError
from ws402.gateway.auth.keys import Authenticator, Scope, split_key
from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.ids import digest, new_id, new_token
from ws402.gateway.ledger.tables import api_keys
from ws402.jobs import Job

REFRESH_SECONDS: Final = 2.0
"""A key that is made or revoked anywhere counts here this much later."""

PATIENCE_SECONDS: Final = 60.0
"""A gateway that could not read the keys for this long is not ready."""


class StoredKeys:
    """Keeps an authenticator up to date with the table of API keys."""

    def __init__(self, database: Database, authenticator: Authenticator) -> None:
        self._database = database
        self._authenticator = authenticator
        self.job = Job("api keys", self.refresh, REFRESH_SECONDS, patience=PATIENCE_SECONDS)
        """Keeps them: a revoked key must not stay valid because nobody looks any more."""

    async def start(self) -> None:
        """Read the keys, and again every `REFRESH_SECONDS`."""
        await self.refresh()
        self.job.start()

    async def close(self) -> None:
        """Stop reading."""
        await self.job.close()

    async def refresh(self) -> None:
        """Read the keys once. Raises UnavailableError."""
        query = select(*api_keys.c["id", "key_hash", "tenant", "name", "scopes"]).where(api_keys.c.revoked_at.is_(None))
        async with self._database.read() as connection:
            rows = [(row.id, row.key_hash, row.tenant, row.name, row.scopes) for row in await connection.execute(query)]
        self._authenticator.replace_stored(rows)


async def issue_key(
    database: Database,
    *,
    tenant: str,
    name: str,
    scopes: frozenset[Scope] = frozenset({Scope.PAYMENTS}),
    dry_run: bool = False,
) -> tuple[str, str]:
    """Make a key: its id, and the key itself, which is shown here and never again. Raises InvalidRequestError."""
    if not scopes:
        raise InvalidRequestError("A key needs a scope.", remedy=f"Use some of: {', '.join(Scope)}.")
    key = new_token()
    try:
        split_key(f"{tenant}:{key}", "The new key")
    except ConfigurationError as error:
        raise InvalidRequestError(error.message, remedy=error.remedy) from None
    key_id = new_id("key")
    row = {
        "id": key_id,
        "tenant": tenant,
        "name": name,
        "key_hash": digest(key),
        "scopes": " ".join(sorted(scopes)),
        "created_at": database.now_ms(),
    }
    async with database.begin(dry_run=dry_run) as connection:
        await connection.execute(api_keys.insert(), row)
    return key_id, key


async def revoke_key(database: Database, key_id: str, *, dry_run: bool = False) -> None:
    """End a key's validity everywhere, within seconds. Raises NotFoundError."""
    change = update(api_keys).where(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))
    async with database.begin(dry_run=dry_run) as connection:
        if (await connection.execute(change.values(revoked_at=database.now_ms()))).rowcount == 0:
            raise NotFoundError(f"There is no valid key '{key_id}'.")


async def list_keys(database: Database) -> list[dict[str, Any]]:
    """All keys, without their hashes; oldest first."""
    columns = api_keys.c["id", "tenant", "name", "scopes", "created_at", "revoked_at"]
    async with database.read() as connection:
        result = await connection.execute(select(*columns).order_by(api_keys.c.created_at, api_keys.c.id))
        return [dict(row._mapping) for row in result]  # noqa: SLF001 - SQLAlchemy's documented name
