"""Alembic environment of the broker's tables; run through `Database.migrate`."""

import broker.a2a.tables
import broker.accounts.tables  # noqa: F401 - these declare their tables
from broker.tables import metadata
from shared.database import run_migrations

run_migrations(metadata)
