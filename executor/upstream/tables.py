"""The table of upstream payments.

A payment is `reserved` when it is signed (and maybe sent), `paid` when the provider did the work or told of a
settlement, `unknown` when it was sent and nobody knows more, `unused` when it is certain that it was never
used and never will be. Times are Unix seconds, amounts as named.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
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

COUNTS = text("state <> 'unused'")
"""Not a bound parameter, so that the partial index is used."""

payments = Table(
    "upstream_payments",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("job_id", String(128), nullable=False),
    Column("step", String(64), nullable=False),
    Column("provider", String(64), nullable=False),
    Column("url_host", String(255), nullable=False),
    Column("method", String(16), nullable=False),
    Column("x402_version", Integer, nullable=False),
    Column("chain_id", BigInteger, nullable=False),
    Column("asset", String(42), nullable=False),
    Column("payer", String(42), nullable=False),
    Column("nonce", String(66)),
    Column("pay_to", String(42), nullable=False),
    Column("amount_atomic", BigInteger, nullable=False),
    Column("amount", String(78), nullable=False),
    Column("valid_before", BigInteger),
    Column("state", String(16), nullable=False),
    Column("payload", Text),
    Column("transaction_hash", String(66)),
    Column("reason", String(255)),
    Column("takes", Integer, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    UniqueConstraint("chain_id", "asset", "payer", "nonce", name="upstream_payments_one_per_authorization"),
    Index(
        "upstream_payments_one_per_step",
        "job_id",
        "provider",
        "step",
        unique=True,
        sqlite_where=COUNTS,
        postgresql_where=COUNTS,
    ),
    Index("upstream_payments_by_state", "state", "valid_before"),
    Index("upstream_payments_by_age", "created_at"),
)
"""`amount_atomic` is 10^-6 USD, `amount` the asset's own units in decimal digits. `nonce`, `valid_before` and
`payload` (the header's value, to be sent again as it is) are of an authorization that we signed ourselves.
`takes` counts the calls that took the payment up to send it."""
