"""The ledger's schema, revision by revision (Alembic). A revision never destroys what an older one recorded."""
