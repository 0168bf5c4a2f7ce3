"""Alembic environment of the broker's tables; run through `Database.migrate`."""

from broker.tables import metadata
from shared.database import run_migrations

run_migrations(metadata)
