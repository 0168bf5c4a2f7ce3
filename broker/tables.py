"""The broker's tables. Amounts are atomic units, times are Unix milliseconds, hex is lower case.

A payment in flight is leased by the broker that works on it (`owner`, `lease_until`); one whose lease has
run out belongs to nobody and is taken up by the reconciler. `settle` is `after` or `before` the work.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData()

offers = Table(
    "offers",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("request_hash", String(64), nullable=False),
    Column("price_atomic", BigInteger, nullable=False),
    Column("provider", String(64), nullable=False),
    Column("quote", Text, nullable=False),
    Column("max_timeout_s", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Index("offers_by_request", "request_hash", "expires_at"),
    Index("offers_by_expiry", "expires_at"),
)

UNPAID = text("status = 'unpaid'")
"""Jobs whose result is withheld. Not a bound parameter, so that `jobs_unpaid` is used."""

UNDO = text("undo_due IS NOT NULL")
"""Jobs that left something behind and are not paid for: it is to be taken back at `undo_due`."""

HELD = text("expired_at IS NULL AND response_hash IS NOT NULL")
"""Jobs whose result is kept; only after a hash of it was, which is what a receipt needs for good."""
TO_ERASE = text("expired_at IS NOT NULL AND response_file IS NOT NULL")
"""Jobs whose result is not kept any more, but for a file that is to be deleted."""

SETTLED = text("payments.state = 'settled'")
OWED = text("refunds.state = 'owed'")
"""Conditions in queries; without the table's name below, as an index wants them."""
_SETTLED_ROWS, _OWED_ROWS = text("state = 'settled'"), text("state = 'owed'")

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("operation", String(16), nullable=False),
    Column("request_hash", String(64), nullable=False),
    Column("requester", String(64), nullable=False),
    Column("label", String(128)),
    Column("provider", String(64), nullable=False),
    Column("status", String(32), nullable=False),
    Column("quote", Text, nullable=False),
    Column("task", Text),
    Column("time_limit_ms", Integer, nullable=False),
    Column("response", Text),
    Column("response_file", String(64)),
    Column("response_hash", String(64)),
    Column("error", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("undo_due", BigInteger),
    Column("expired_at", BigInteger),
    Index("jobs_held", "updated_at", sqlite_where=HELD, postgresql_where=HELD),
    Index("jobs_to_erase", "expired_at", sqlite_where=TO_ERASE, postgresql_where=TO_ERASE),
    Index("jobs_undo_due", "undo_due", sqlite_where=UNDO, postgresql_where=UNDO),
    Index("jobs_unpaid", "request_hash", "requester", sqlite_where=UNPAID, postgresql_where=UNPAID),
    Index("jobs_by_time", "created_at", "id"),
)

payments = Table(
    "payments",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("chain_id", BigInteger, nullable=False),
    Column("asset", String(42), nullable=False),
    Column("payer", String(42), nullable=False),
    Column("nonce", String(66), nullable=False),
    Column("job_id", String(36), nullable=False),
    Column("request_hash", String(64), nullable=False),
    Column("offer_id", String(36), nullable=False),
    Column("state", String(16), nullable=False),
    Column("settle", String(8), nullable=False),
    Column("owner", String(32), nullable=False),
    Column("lease_until", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("amount_atomic", BigInteger, nullable=False),
    Column("pay_to", String(42), nullable=False),
    Column("valid_before", BigInteger, nullable=False),
    Column("x402_version", Integer, nullable=False),
    Column("payload", Text, nullable=False),
    Column("requirements", Text, nullable=False),
    Column("transaction_hash", String(80)),
    Column("reason", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    UniqueConstraint("chain_id", "asset", "payer", "nonce", name="payments_one_per_authorization"),
    Index("payments_by_job", "job_id"),
    Index("payments_by_payer", "payer", "state"),
    Index("payments_by_state", "state", "lease_until"),
    Index(
        "payments_settled", "state", "updated_at", sqlite_where=_SETTLED_ROWS, postgresql_where=_SETTLED_ROWS
    ),
)

refunds = Table(
    "refunds",
    metadata,
    Column("payment_id", String(36), primary_key=True),
    Column("job_id", String(36), nullable=False),
    Column("payer", String(42), nullable=False),
    Column("amount_atomic", BigInteger, nullable=False),
    Column("state", String(8), nullable=False),
    Column("reason", Text, nullable=False),
    Column("transaction_hash", String(80)),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Index("refunds_owed", "created_at", sqlite_where=_OWED_ROWS, postgresql_where=_OWED_ROWS),
)

identifiers = Table(
    "payment_identifiers",
    metadata,
    Column("payer", String(42), primary_key=True),
    Column("identifier", String(128), primary_key=True),
    Column("request_hash", String(64), nullable=False),
    Column("payment_id", String(36), nullable=False),
    Column("created_at", BigInteger, nullable=False),
)
