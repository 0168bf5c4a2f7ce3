"""Tables of sign-ins and of the broker's own keys. Times are Unix milliseconds, hex is lower case."""

from sqlalchemy import BigInteger, Column, Index, String, Table, Text

from broker.tables import metadata, payments

signin_nonces = Table(
    "signin_nonces",
    metadata,
    Column("nonce", String(64), primary_key=True),
    Column("address", String(42), nullable=False),
    Column("message", Text, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Index("signin_nonces_by_expiry", "expires_at"),
)

sessions = Table(
    "sessions",
    metadata,
    Column("token_hash", String(64), primary_key=True),
    Column("address", String(42), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Index("sessions_by_expiry", "expires_at"),
)

broker_keys = Table(
    "broker_keys",
    metadata,
    Column("name", String(16), primary_key=True),
    Column("private_key", String(66), nullable=False),
    Column("address", String(42), nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

# Newest first, for one payer and for the operator.
Index("payments_of_payer_by_time", payments.c.payer, payments.c.created_at, payments.c.id)
Index("payments_by_time", payments.c.created_at, payments.c.id)
