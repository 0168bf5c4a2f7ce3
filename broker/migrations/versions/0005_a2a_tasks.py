"""What agents asked for is kept until it is paid."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "a2a_tasks",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("operation", sa.String(16), nullable=False),
        sa.Column("request_hash", sa.String(64), nullable=False),
        sa.Column("label", sa.String(128)),
        sa.Column("provider", sa.String(64), nullable=False),
        sa.Column("quote", sa.Text, nullable=False),
        sa.Column("size_bytes", sa.Integer, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("payer", sa.String(42)),
        sa.Column("nonce", sa.String(66)),
        sa.Column("claimed_at", sa.BigInteger),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_index("a2a_tasks_by_payer", "a2a_tasks", ["payer", "size_bytes"])
    op.create_index("a2a_tasks_by_expiry", "a2a_tasks", ["expires_at"])
