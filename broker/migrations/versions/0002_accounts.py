"""Sign-in nonces, sessions, the broker's keys; payments can be listed by time."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "signin_nonces",
        sa.Column("nonce", sa.String(64), primary_key=True),
        sa.Column("address", sa.String(42), nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
    )
    op.create_index("signin_nonces_by_expiry", "signin_nonces", ["expires_at"])
    op.create_table(
        "sessions",
        sa.Column("token_hash", sa.String(64), primary_key=True),
        sa.Column("address", sa.String(42), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
    )
    op.create_index("sessions_by_expiry", "sessions", ["expires_at"])
    op.create_table(
        "broker_keys",
        sa.Column("name", sa.String(16), primary_key=True),
        sa.Column("private_key", sa.String(66), nullable=False),
        sa.Column("address", sa.String(42), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_index("payments_of_payer_by_time", "payments", ["payer", "created_at", "id"])
    op.create_index("payments_by_time", "payments", ["created_at", "id"])


def downgrade() -> None:
    op.drop_index("payments_by_time", "payments")
    op.drop_index("payments_of_payer_by_time", "payments")
    op.drop_table("broker_keys")
    op.drop_table("sessions")
    op.drop_table("signin_nonces")
