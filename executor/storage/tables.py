"""The store's tables. Times are Unix seconds, sizes bytes; a CID has 59 characters."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    text,
)

metadata = MetaData()

HERE = text("state = 'here'")

blobs = Table(
    "storage_blobs",
    metadata,
    Column("name", String(80), primary_key=True),
    Column("cid", String(64), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("state", String(8), nullable=False),
    Column("owner", String(32), nullable=False),
    Column("changed_at", Float, nullable=False),
    Index("storage_blobs_by_state", "state", "changed_at"),
    # The same content is kept once.
    Index("storage_blobs_here", "cid", unique=True, sqlite_where=HERE, postgresql_where=HERE),
)
"""Content at a place. `arriving`: being put there by `owner`; `here`: whole; `leaving`: to be deleted."""

holds = Table(
    "storage_holds",
    metadata,
    Column("id", String(128), primary_key=True),
    Column("state", String(8), nullable=False),
    Column("cid", String(64), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("name", String(255), nullable=False),
    Column("content_type", String(255), nullable=False),
    Column("permanent", Boolean, nullable=False),
    Column("expires_at", Float),
    Column("changed_at", Float, nullable=False),
    Index("storage_holds_by_cid", "cid", "state"),
    Index("storage_holds_by_expiry", "state", "expires_at"),
    Index("storage_holds_by_change", "state", "changed_at"),
)
"""Who keeps content until when. `uploaded`: not bought yet, `id` is the upload's; `held`: bought, `id` is the
job's; `expired` and `undone`: what is remembered of it. `expires_at` is null for what is kept for good."""

usage = Table(
    "storage_usage",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("size_bytes", BigInteger, nullable=False),
)
"""One row: what all blobs take, so that a quota holds without adding them up."""
