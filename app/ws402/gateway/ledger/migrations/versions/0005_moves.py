"""The moves of states that are allowed, and payments that stay as they are.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"

MOVES = {
    "transfers": "seen>owed seen>orphaned owed>orphaned orphaned>seen orphaned>owed",
    "sessions": "live>released live>ended live>reversed released>live released>ended released>reversed ended>reversed",
    "refunds": (
        "waiting>due waiting>held waiting>void due>credit due>in_flight due>held due>void "
        "credit>in_flight credit>held credit>waiting credit>void "
        "in_flight>confirmed in_flight>final in_flight>due in_flight>held "
        "confirmed>in_flight confirmed>final confirmed>due confirmed>held "
        "held>waiting held>resolved held>void void>waiting"
    ),
    "deliveries": (
        "signed>included signed>reverted signed>final signed>failed "
        "included>signed included>reverted included>final included>failed "
        "reverted>signed reverted>included reverted>final reverted>failed"
    ),
}
"""What a state may become, by table; as `ledger.states` says it."""

OWED_TWICE = """
UPDATE transfers SET state = 'owed' WHERE state = 'seen' AND EXISTS (
  SELECT 1 FROM refunds
  WHERE refunds.network = transfers.network AND refunds.tx = transfers.tx AND refunds.idx = transfers.idx
  AND refunds.state <> 'void')
"""
"""Before this revision a reorg could make a transfer claimable again that has a refund."""


def _triggers(dialect: str) -> list[str]:
    made = []
    if dialect == "postgresql":
        made.append(
            """CREATE FUNCTION ws402_no_move() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION '% do not move from % to %', TG_TABLE_NAME, OLD.state, NEW.state
            USING ERRCODE = 'check_violation'; END $$"""
        )
    for table, moves in MOVES.items():
        allowed = ", ".join(f"'{each}'" for each in moves.split())
        refused = f"OLD.state <> NEW.state AND OLD.state || '>' || NEW.state NOT IN ({allowed})"
        if dialect == "sqlite":
            made.append(
                f"CREATE TRIGGER {table}_moves BEFORE UPDATE OF state ON {table} WHEN {refused} "
                f"BEGIN SELECT RAISE(ABORT, '{table} do not move so'); END"
            )
        else:
            made.append(
                f"CREATE TRIGGER {table}_moves BEFORE UPDATE OF state ON {table} FOR EACH ROW WHEN ({refused}) "
                "EXECUTE FUNCTION ws402_no_move()"
            )
    if dialect == "sqlite":
        made += [
            f"CREATE TRIGGER payments_no_{event.lower()} BEFORE {event} ON payments "
            "BEGIN SELECT RAISE(ABORT, 'payments is append-only'); END"
            for event in ("UPDATE", "DELETE")
        ]
    else:
        made.append(
            "CREATE TRIGGER payments_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON payments "
            "FOR EACH STATEMENT EXECUTE FUNCTION ws402_append_only()"
        )
    return made


def upgrade() -> None:
    """Mend what was owed and claimable, then forbid it."""
    op.execute(OWED_TWICE)
    for statement in _triggers(op.get_bind().dialect.name):
        op.execute(statement)
