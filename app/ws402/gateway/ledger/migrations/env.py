"""What Alembic runs: the caller gives its connection, and the transaction is the caller's."""

from __future__ import annotations

from alembic import context

from ws402.gateway.ledger import challenge_tables, event_tables  # noqa: F401 - their tables are in the metadata, too
from ws402.gateway.ledger.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
