"""Offers, jobs and payments."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "offers",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("request_hash", sa.String(64), nullable=False),
        sa.Column("price_atomic", sa.BigInteger, nullable=False),
        sa.Column("provider", sa.String(64), nullable=False),
        sa.Column("quote", sa.Text, nullable=False),
        sa.Column("max_timeout_s", sa.Integer, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
    )
    op.create_index("offers_by_request", "offers", ["request_hash", "expires_at"])
    op.create_index("offers_by_expiry", "offers", ["expires_at"])
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("operation", sa.String(16), nullable=False),
        sa.Column("request_hash", sa.String(64), nullable=False),
        sa.Column("requester", sa.String(64), nullable=False),
        sa.Column("label", sa.String(128)),
        sa.Column("provider", sa.String(64), nullable=False),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("quote", sa.Text, nullable=False),
        sa.Column("task", sa.Text),
        sa.Column("time_limit_ms", sa.Integer, nullable=False),
        sa.Column("response", sa.Text),
        sa.Column("response_file", sa.String(64)),
        sa.Column("response_hash", sa.String(64)),
        sa.Column("error", sa.Text),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "payments",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("chain_id", sa.BigInteger, nullable=False),
        sa.Column("asset", sa.String(42), nullable=False),
        sa.Column("payer", sa.String(42), nullable=False),
        sa.Column("nonce", sa.String(66), nullable=False),
        sa.Column("job_id", sa.String(36), nullable=False),
        sa.Column("request_hash", sa.String(64), nullable=False),
        sa.Column("offer_id", sa.String(36), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("settle", sa.String(8), nullable=False),
        sa.Column("owner", sa.String(32), nullable=False),
        sa.Column("lease_until", sa.BigInteger, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("amount_atomic", sa.BigInteger, nullable=False),
        sa.Column("pay_to", sa.String(42), nullable=False),
        sa.Column("valid_before", sa.BigInteger, nullable=False),
        sa.Column("x402_version", sa.Integer, nullable=False),
        sa.Column("payload", sa.Text, nullable=False),
        sa.Column("requirements", sa.Text, nullable=False),
        sa.Column("transaction_hash", sa.String(80)),
        sa.Column("reason", sa.Text),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("chain_id", "asset", "payer", "nonce", name="payments_one_per_authorization"),
    )
    op.create_index("payments_by_job", "payments", ["job_id"])
    op.create_index("payments_by_payer", "payments", ["payer", "state"])
    op.create_index("payments_by_state", "payments", ["state", "lease_until"])
    op.create_table(
        "refunds",
        sa.Column("payment_id", sa.String(36), primary_key=True),
        sa.Column("job_id", sa.String(36), nullable=False),
        sa.Column("payer", sa.String(42), nullable=False),
        sa.Column("amount_atomic", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("transaction_hash", sa.String(80)),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "payment_identifiers",
        sa.Column("payer", sa.String(42), primary_key=True),
        sa.Column("identifier", sa.String(128), primary_key=True),
        sa.Column("request_hash", sa.String(64), nullable=False),
        sa.Column("payment_id", sa.String(36), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("payment_identifiers")
    op.drop_table("refunds")
    op.drop_table("payments")
    op.drop_table("jobs")
    op.drop_table("offers")
