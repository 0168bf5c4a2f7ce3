"""What unpaid jobs left behind is remembered until it was taken back."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    due = sa.text("undo_due IS NOT NULL")
    op.add_column("jobs", sa.Column("undo_due", sa.BigInteger()))
    op.create_index("jobs_undo_due", "jobs", ["undo_due"], sqlite_where=due, postgresql_where=due)
