"""The operator's page finds the latest jobs, what was settled lately, and what is owed, without a scan."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    settled, owed = sa.text("state = 'settled'"), sa.text("state = 'owed'")
    op.create_index("jobs_by_time", "jobs", ["created_at", "id"])
    op.create_index(
        "payments_settled",
        "payments",
        ["state", "updated_at"],
        sqlite_where=settled,
        postgresql_where=settled,
    )
    op.create_index("refunds_owed", "refunds", ["created_at"], sqlite_where=owed, postgresql_where=owed)
