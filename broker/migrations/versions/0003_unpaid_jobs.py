"""Unpaid results are found without looking at every job."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    unpaid = sa.text("status = 'unpaid'")
    op.create_index(
        "jobs_unpaid", "jobs", ["request_hash", "requester"], sqlite_where=unpaid, postgresql_where=unpaid
    )
