"""One address may not take all the room for tasks that nobody has paid for."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("a2a_tasks", sa.Column("asker", sa.String(64)))
    op.drop_index("a2a_tasks_by_payer", "a2a_tasks")
    op.create_index("a2a_tasks_unpaid", "a2a_tasks", ["payer", "asker", "size_bytes"])
