"""Results can be kept for a time; the index finds those whose time is over without a scan."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("expired_at", sa.BigInteger))
    held = sa.text("expired_at IS NULL AND response_hash IS NOT NULL")
    to_erase = sa.text("expired_at IS NOT NULL AND response_file IS NOT NULL")
    op.create_index("jobs_held", "jobs", ["updated_at"], sqlite_where=held, postgresql_where=held)
    op.create_index("jobs_to_erase", "jobs", ["expired_at"], sqlite_where=to_erase, postgresql_where=to_erase)
