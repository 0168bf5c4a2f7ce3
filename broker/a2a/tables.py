"""The table of what agents asked for. Times are Unix milliseconds, hex is lower case.

`asker` is the address that asked (`RateLimits.client_of`). `payer` and `nonce` name the authorization that a
task is being paid with. Whether it was, and which job it came to, stands in the payments table alone.
"""

from sqlalchemy import BigInteger, Column, Index, Integer, String, Table, Text

from broker.tables import metadata

a2a_tasks = Table(
    "a2a_tasks",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("operation", String(16), nullable=False),
    Column("request_hash", String(64), nullable=False),
    Column("label", String(128)),
    Column("provider", String(64), nullable=False),
    Column("quote", Text, nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("payer", String(42)),
    Column("nonce", String(66)),
    Column("claimed_at", BigInteger),
    Column("body", Text, nullable=False),
    Column("asker", String(64)),
    # How much is stored for nothing, and for whom, is known from this index alone.
    Index("a2a_tasks_unpaid", "payer", "asker", "size_bytes"),
    Index("a2a_tasks_by_expiry", "expires_at"),
)
